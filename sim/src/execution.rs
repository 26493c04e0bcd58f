//! Carries out one plan on virtual time, with the driver's own code.
//!
//! Invariant: what a step takes for given is asked in one turn and the step is sent in a later one, so that the world may
//! change between. A finished plan waits until its mirror shows what it wrote.

use crate::env::Env;
use crate::mirror::Mirror;
use crate::server::{self, Body, Call, Refused, Request};
use corten_api::Object;
use corten_client::{Details, Error, Status};
use corten_controllers::Plan;
use corten_core::Str;
use corten_driver::{Executed, Execution as Steps, Job, Probe};
use std::sync::Arc;

/// Own writes that the mirror does not show after so long are not waited for any longer, milliseconds.
const OWN_WRITES_WAIT: u64 = 5_000;

enum Stage {
    /// Its facts are to be confirmed.
    Asked(Job),
    /// They were.
    Confirmed(Job),
    Sent(Job, Box<Call>),
}

/// A plan under way.
pub struct Execution {
    actor: Str,
    steps: Option<Steps>,
    stages: Vec<Stage>,
    executed: Executed,
    waits_until: Option<u64>,
}

impl Execution {
    /// Begins to carry out `plan` for `actor`.
    pub fn new(actor: &str, plan: Plan) -> Execution {
        Execution {
            actor: actor.into(),
            steps: Some(Steps::new(plan)),
            stages: Vec::new(),
            executed: Executed::default(),
            waits_until: None,
        }
    }

    /// Goes on; true when everything is done and seen.
    pub fn advance(&mut self, env: &mut Env, mirror: &Mirror) -> bool {
        if let Some(until) = self.waits_until {
            let mut written = self.executed.written.iter();
            return env.millis() >= until || written.all(|(r, at)| mirror.has_seen(r, *at));
        }
        let Some(mut steps) = self.steps.take() else {
            return true;
        };
        for stage in std::mem::take(&mut self.stages) {
            match stage {
                Stage::Asked(job) => match confirm(env, &job) {
                    Ok(()) => self.stages.push(Stage::Confirmed(job)),
                    Err(error) => drop(steps.settle(&job, Err(error))),
                },
                Stage::Confirmed(job) => self.send(env, job),
                Stage::Sent(job, mut call) => match call.poll(env) {
                    None => self.stages.push(Stage::Sent(job, call)),
                    Some(answer) => {
                        let answer = answer.map_err(|r| error_of(r, &job.request.name));
                        drop(steps.settle(&job, answer));
                    }
                },
            }
        }
        if self.stages.is_empty() {
            for job in steps.next(&mirror.snapshot(), || mirror.resources()) {
                match job.probes.is_empty() {
                    true => self.send(env, job),
                    false => self.stages.push(Stage::Asked(job)),
                }
            }
            if self.stages.is_empty() {
                (self.executed, _) = steps.end();
                self.waits_until = Some(env.millis() + OWN_WRITES_WAIT);
                return false;
            }
        }
        self.steps = Some(steps);
        false
    }

    /// When it goes on although nothing happens.
    pub fn deadline(&self) -> Option<u64> {
        self.waits_until
    }

    /// How it ended.
    pub fn end(self) -> Executed {
        self.executed
    }

    fn send(&mut self, env: &mut Env, job: Job) {
        let request = Request::of(&self.actor, &job.request);
        watch_collector(env, &request);
        let call = Box::new(Call::send(env, request));
        self.stages.push(Stage::Sent(job, call));
    }
}

fn confirm(env: &Env, job: &Job) -> Result<(), Error> {
    for probe in &job.probes {
        match probe {
            // Nobody is kept from anything there.
            Probe::Allowed(_) => {}
            Probe::Gone(request, _) | Probe::Present(request, _) => {
                let found: Result<Arc<Object>, Refused> = server::get(env, request);
                probe.judge_object(found.map_err(|r| error_of(r, &request.name)))?;
            }
            Probe::Empty(request) | Probe::Followed(request, _) => {
                let listed = server::list(env, request);
                probe.judge_list(listed.map_err(|r| error_of(r, "")))?;
            }
        }
    }
    Ok(())
}

fn error_of(refused: Refused, name: &str) -> Error {
    let code = match refused.reason {
        "NotFound" => 404,
        "Conflict" | "AlreadyExists" => 409,
        "Forbidden" => 403,
        _ => 503,
    };
    let mut status = Status::new(code, refused.reason, refused.message);
    status.details = Some(Box::new(Details {
        name: name.to_owned(),
        ..Details::default()
    }));
    status.into()
}

/// The garbage collector must not delete what a living owner keeps.
fn watch_collector(env: &mut Env, request: &Request) {
    let Body::Delete { uid, .. } = &request.body else {
        return;
    };
    if request.actor != "garbage-collector" {
        return;
    }
    let doomed = env.storage.audit.state().find(|o| o.meta().uid == *uid);
    let kept = doomed.and_then(|o| env.storage.audit.living_owner(&o));
    if let Some(owner) = kept {
        let what = format!("{} {}", request.resource.resource, request.key);
        env.violation(format!(
            "the garbage collector deletes {what} although its owner {owner} lives"
        ));
    }
}
