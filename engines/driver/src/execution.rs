//! One plan under way: which requests go out next, and what their answers mean. Pure; whoever owns a transport sends.
//!
//! Invariant: steps are carried out in order, runs of creates in batches that double (so that a quota that is used up
//! costs one refusal, not hundreds), runs of deletes together. The first failure skips what follows, except writes of
//! status, which tell of it. What a step takes for given is confirmed by the server before the step is sent.
//! Certificates are signed on the way, by whoever was given to do it.

use crate::facts::{Probe, probes};
use crate::recorder::Occurrence;
use crate::requests::{request_of, verb_text};
use corten_api::Object;
use corten_api::certificates::v1::CertificateSigningRequestStatus;
use corten_api::core::v1::ObjectReference;
use corten_client::{Error, Request};
use corten_controllers::plan::value_of;
use corten_controllers::{Failure, Note, Plan, Step, Target, Told, Write};
use corten_core::{Str, Time, Value};
use corten_meta::{GroupVersionResource, Revision, Snapshot};
use std::collections::VecDeque;
use std::sync::Arc;

/// How a plan ended.
#[derive(Debug, Default)]
pub struct Executed {
    /// The revisions written, by resource.
    pub written: Vec<(GroupVersionResource, Revision)>,
    /// The first failure.
    pub failure: Option<Failure>,
    /// The failure came from a plan that was made from an older state: plan again, nothing is wrong.
    pub stale: bool,
    /// When the key must be looked at again.
    pub wake_at: Option<Time>,
}

/// One request of a plan.
#[derive(Debug)]
pub struct Job {
    /// What the server has to confirm first.
    pub probes: Vec<Probe>,
    /// The write.
    pub request: Request,
    told: Option<Told>,
}

/// Signs a certificate request (PEM) for usages and seconds; answers the certificate (PEM), or what is wrong.
pub type Sign = Arc<dyn Fn(&[u8], &[Str], i64) -> Result<Vec<u8>, String> + Send + Sync>;

/// See the module's description.
pub struct Execution {
    sign: Option<Sign>,
    steps: VecDeque<Step>,
    notes: Vec<Note>,
    batch_size: usize,
    executed: Executed,
}

#[derive(Clone, Copy, PartialEq)]
enum BatchKind {
    Create,
    Delete,
    Single,
}

fn batch_kind(write: &Write) -> BatchKind {
    match write {
        Write::Create { .. } => BatchKind::Create,
        Write::Delete { .. } => BatchKind::Delete,
        _ => BatchKind::Single,
    }
}

fn is_status(write: &Write) -> bool {
    matches!(write, Write::Patch { subresource, .. } if *subresource == "status")
}

impl Execution {
    /// Begins to carry out `plan`.
    pub fn new(plan: Plan) -> Execution {
        Execution {
            sign: None,
            steps: plan.steps.into(),
            notes: plan.events,
            batch_size: 1,
            executed: Executed {
                wake_at: plan.wake_at,
                ..Executed::default()
            },
        }
    }

    /// Has certificates signed by `sign`.
    pub fn signing_with(mut self, sign: Option<Sign>) -> Execution {
        self.sign = sign;
        self
    }

    /// The requests to send now, all at once; none when the plan is carried out. `snapshot` is as new as can be and
    /// `followed` gives the resources that it shows.
    pub fn next(
        &mut self,
        snapshot: &Snapshot,
        followed: impl Fn() -> Vec<GroupVersionResource>,
    ) -> Vec<Job> {
        while let Some(first) = self.steps.pop_front() {
            if self.executed.failure.is_some() && !is_status(&first.write) {
                continue;
            }
            let first = match self.signed(first) {
                Ok(first) => first,
                Err(message) => {
                    self.executed.failure.get_or_insert(Failure {
                        verb: "sign",
                        reason: String::new(),
                        message,
                    });
                    continue;
                }
            };
            let kind = batch_kind(&first.write);
            let limit = match kind {
                BatchKind::Delete => usize::MAX,
                BatchKind::Create => self.batch_size,
                BatchKind::Single => 1,
            };
            let mut batch = vec![first];
            while batch.len() < limit
                && let Some(next) = self
                    .steps
                    .pop_front_if(|next| batch_kind(&next.write) == kind)
            {
                batch.push(next);
            }
            self.batch_size = match kind {
                BatchKind::Create => self.batch_size * 2,
                _ => 1,
            };
            let job = |step: Step| {
                tracing::debug!(because = step.write.because(), write = ?Brief(&step.write), "write");
                Job {
                    probes: probes(&step.given, snapshot, &followed),
                    request: request_of(step.write, snapshot),
                    told: step.told,
                }
            };
            return batch.into_iter().map(job).collect();
        }
        Vec::new()
    }

    /// A step that asks for a signature becomes the write of the certificate.
    fn signed(&self, mut step: Step) -> Result<Step, String> {
        let Write::Sign {
            target,
            request,
            usages,
            seconds,
            because,
        } = step.write
        else {
            return Ok(step);
        };
        let sign = self.sign.as_ref();
        let sign = sign.ok_or("there is no key to sign certificates with")?;
        let status = CertificateSigningRequestStatus {
            certificate: sign(&request, &usages, seconds)?.as_slice().into(),
            ..Default::default()
        };
        let mut patch = Value::map();
        patch.set(&["status"], value_of(&status));
        step.write = Write::Patch {
            target,
            subresource: "status",
            patch,
            because,
        };
        Ok(step)
    }

    /// Takes in how a job ended, and gives what to record about it.
    pub fn settle(&mut self, job: &Job, result: Result<Arc<Object>, Error>) -> Option<Occurrence> {
        let request = &job.request;
        match result {
            Ok(object) => {
                let meta = object.has_meta().then(|| object.meta());
                let revision = meta.and_then(|m| Revision::parse(&m.resource_version));
                let written = revision.map(|r| (request.resource.clone(), r));
                self.executed.written.extend(written);
                let name = match request.name.as_str() {
                    "" => object.meta().name.clone(),
                    name => Str::from(name),
                };
                let told = job.told.as_ref()?;
                occurrence(told, &told.done, &name, "")
            }
            // The object is gone already, which is all that a delete wants.
            Err(error) if error.is_not_found() && verb_text(request.verb) == "delete" => None,
            Err(error) => self.refused(job, &error),
        }
    }

    fn refused(&mut self, job: &Job, error: &Error) -> Option<Occurrence> {
        let (request, message) = (&job.request, error.to_string());
        let stale = error.is_conflict() || error.is_not_found();
        tracing::debug!(
            verb = verb_text(request.verb),
            resource = %request.resource,
            name = %request.name,
            %error,
            "a write was refused"
        );
        let told = job.told.as_ref().filter(|_| !stale);
        let occurrence =
            told.and_then(|told| occurrence(told, &told.failed, &request.name, &message));
        if self.executed.failure.is_none() {
            self.executed.stale = stale;
            let reason = error
                .status()
                .map_or_else(String::new, |s| s.reason.clone());
            self.executed.failure = Some(Failure {
                verb: verb_text(request.verb),
                reason,
                message,
            });
        }
        occurrence
    }

    /// How it ended, and the plan's own events, which are recorded only when nothing failed.
    pub fn end(self) -> (Executed, Vec<Occurrence>) {
        let notes = match self.executed.failure {
            None => self.notes.into_iter().map(noted).collect(),
            Some(_) => Vec::new(),
        };
        (self.executed, notes)
    }
}

fn occurrence(
    told: &Told,
    (reason, text): &(&'static str, String),
    name: &str,
    error: &str,
) -> Option<Occurrence> {
    if reason.is_empty() {
        return None;
    }
    let event_type = match error.is_empty() {
        true => "Normal",
        false => "Warning",
    };
    let message = text.replace("{name}", name).replace("{error}", error);
    Some(Occurrence {
        about: reference(&told.about, told.kind),
        event_type,
        reason: (*reason).into(),
        message,
    })
}

fn noted(note: Note) -> Occurrence {
    Occurrence {
        about: reference(&note.about, note.kind),
        event_type: note.event_type,
        reason: note.reason.into(),
        message: note.message,
    }
}

fn reference(target: &Target, kind: &str) -> ObjectReference {
    ObjectReference {
        kind: kind.into(),
        api_version: target.resource.api_version().into(),
        namespace: target.key.namespace.clone(),
        name: target.key.name.clone(),
        uid: target.uid.clone(),
        resource_version: target.resource_version.clone().unwrap_or_default(),
        ..Default::default()
    }
}

/// Verb and object of a write, for logs.
struct Brief<'a>(&'a Write);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Write::Create {
                resource, object, ..
            } => {
                write!(
                    f,
                    "create {} {}",
                    resource.resource,
                    object.meta().full_name()
                )
            }
            Write::Patch {
                target,
                subresource,
                ..
            } => {
                write!(
                    f,
                    "patch {} {} {subresource}",
                    target.resource.resource, target.key
                )
            }
            Write::Delete { target, .. } => {
                write!(f, "delete {} {}", target.resource.resource, target.key)
            }
            Write::Bind { target, node, .. } => write!(f, "bind {} to {node}", target.key),
            Write::Evict { target, .. } => write!(f, "evict {}", target.key),
            Write::Sign { target, .. } => write!(f, "sign {}", target.key),
        }
    }
}
