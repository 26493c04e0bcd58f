//! Eviction: a pod is deleted if its disruption budget allows. Invariant: a budget is charged by compare and swap
//! before the pod goes, so that evictions at the same time never take more than it allows.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};

use corten_api::core::v1::{Pod, PodCondition};
use corten_api::meta::v1::Condition;
use corten_api::policy::v1::{Eviction, PodDisruptionBudget};
use corten_api::{Gvk, Kind, Object};
use corten_client::{Cause, Status, Target};
use corten_core::Time;
use corten_meta::Selector;

use crate::body::Answer;
use crate::catalog::Served;
use crate::http::{self, Call};
use crate::negotiate::Media;
use crate::options::{DeleteOptions, FieldValidation, WriteOptions};
use crate::pods::{created, rewrite};
use crate::resource::body_media;
use crate::server::Server;
use crate::write::Aim;
use crate::{admit, decode, delete, read, tracking, typed};

/// Evictions that a budget may wait to see confirmed.
const DISRUPTED_MAX: usize = 2000;
const RETRIES_MAX: usize = 20;
const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// `pods/eviction`: deletes a pod if its disruption budgets allow.
pub(crate) async fn evict(
    server: &Arc<Server>,
    served: &Arc<Served>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let media = body_media(request.headers())?;
    let body = http::read_body(request).await?;
    let gvk = Gvk {
        group: "policy",
        version: "v1",
        kind: "Eviction",
    };
    let eviction = read_eviction(gvk, media, &body)?;
    let mut object = Object::from(eviction);
    let aim = crate::resource::aim(served, &call);
    let sent = WriteOptions::parse(&call.query, call.agent(), "CreateOptions")?;
    admit::admit_created(server, &call.user, &aim, gvk, &mut object, &sent).await?;
    let eviction = object
        .downcast_ref::<Eviction>()
        .cloned()
        .unwrap_or_default();
    if !eviction.metadata.name.is_empty() && eviction.metadata.name != call.info.name {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let asked = eviction.delete_options.as_deref();
    let mut options = DeleteOptions::default();
    if let Some(asked) = asked {
        options.dry_run =
            crate::options::dry_run(asked.dry_run.iter().map(|d| d.as_str()), "DeleteOptions")?;
        options.grace_seconds = asked.grace_period_seconds;
        options.uid = asked
            .preconditions
            .as_ref()
            .and_then(|p| p.uid.as_ref())
            .map(|u| u.to_string());
        options.resource_version = asked
            .preconditions
            .as_ref()
            .and_then(|p| p.resource_version.as_ref())
            .map(|v| v.to_string());
    }
    options.dry_run |= crate::options::dry_run(call.query.all("dryRun"), "CreateOptions")?;
    evict_pod(
        server,
        served,
        &call.user,
        &call.info.namespace,
        &call.info.name,
        &options,
    )
    .await?;
    Ok(created(&call))
}

/// The eviction in a body, also under its old version, which drains of old clients still use.
fn read_eviction(gvk: Gvk<'_>, media: Media, body: &Bytes) -> Result<Eviction, Status> {
    let newer = match decode::object_of(gvk, false, media, body, FieldValidation::Ignore) {
        Ok((object, _)) => {
            return Ok(object
                .downcast_ref::<Eviction>()
                .cloned()
                .unwrap_or_default());
        }
        Err(newer) => newer,
    };
    let older = Gvk {
        version: "v1beta1",
        ..gvk
    };
    let read = decode::object_of(older, false, media, body, FieldValidation::Ignore);
    let object = read.map_err(|_| newer)?.0;
    let old = object
        .downcast_ref::<corten_api::policy::v1beta1::Eviction>()
        .cloned()
        .unwrap_or_default();
    Ok(Eviction {
        metadata: old.metadata,
        delete_options: old.delete_options,
        ..Eviction::default()
    })
}

/// Deletes a pod if its disruption budgets allow.
pub(crate) async fn evict_pod(
    server: &Server,
    served: &Arc<Served>,
    user: &corten_access::UserInfo,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let aim = Aim {
        served,
        namespace,
        name,
        subresource: "",
    };
    for _ in 0..RETRIES_MAX {
        let entry = read::get(server, served, namespace, name, "").await?;
        let object = typed::object(&entry)?;
        let pod = object
            .downcast_ref::<Pod>()
            .ok_or_else(|| Status::internal("the stored pod is no pod"))?;
        let guard = guard(server, pod)?;
        let mut options = options.clone();
        let asked = options.resource_version.is_some();
        // What was decided holds for this version of the pod only.
        if !asked && guard.pins() {
            options.resource_version = Some(entry.mod_revision().to_string());
        }
        if let Guard::Charge(budget) = &guard {
            charge(server, pod, budget, options.dry_run).await?;
        }
        match mark_and_delete(server, user, &aim, &options).await {
            Err(status) if status.is_conflict() && !asked && guard.pins() => match guard {
                Guard::Unhealthy(budget) => return Err(still_processed(&budget)),
                _ => continue,
            },
            other => return other,
        }
    }
    Err(Status::modified(aim.target()))
}

/// What stands between a pod and its eviction.
enum Guard {
    /// Nothing, whatever becomes of the pod.
    Free,
    /// Nothing while it is pending.
    Pending,
    /// It is not ready, and this budget lets such pods go.
    Unhealthy(String),
    /// This budget is charged.
    Charge(String),
}

impl Guard {
    /// Whether the pod must be the same when it is deleted.
    fn pins(&self) -> bool {
        matches!(self, Guard::Pending | Guard::Unhealthy(_))
    }
}

fn guard(server: &Server, pod: &Pod) -> Result<Guard, Status> {
    let phase = pod.status.phase.as_str();
    if matches!(phase, "Succeeded" | "Failed") || pod.metadata.deletion_timestamp.is_some() {
        return Ok(Guard::Free);
    }
    if phase == "Pending" {
        return Ok(Guard::Pending);
    }
    let view = server.typed.view();
    let selects = |budget: &&PodDisruptionBudget| {
        Selector::from_label_selector(budget.spec.selector.as_deref())
            .is_ok_and(|s| s.matches(&pod.metadata.labels))
    };
    let budgets = view
        .snapshot
        .list_in::<PodDisruptionBudget>(&pod.metadata.namespace);
    let matching: Vec<&PodDisruptionBudget> = budgets.filter(selects).collect();
    let budget = match matching.as_slice() {
        [] => return Ok(Guard::Free),
        [one] => *one,
        _ => {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                        support.";
            return Err(Status::new(500, "", text));
        }
    };
    let name = budget.metadata.name.to_string();
    let ready = pod
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let always = budget
        .spec
        .unhealthy_pod_eviction_policy
        .as_ref()
        .is_some_and(|p| *p == "AlwaysAllow");
    let status = &budget.status;
    let enough = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
    Ok(if !ready && (always || enough) {
        Guard::Unhealthy(name)
    } else {
        Guard::Charge(name)
    })
}

/// Takes one disruption from a budget.
async fn charge(server: &Server, pod: &Pod, name: &str, dry_run: bool) -> Result<(), Status> {
    let served = server
        .catalog()
        .stored_kind(PodDisruptionBudget::GROUP, PodDisruptionBudget::KIND)
        .ok_or_else(|| Status::internal("disruption budgets are not served"))?;
    let now = server.now();
    let manager = WriteOptions {
        manager: "kube-apiserver".into(),
        ..WriteOptions::default()
    };
    let change = |object: &mut Object| -> Result<(), Status> {
        let old = object.clone();
        let budget = object
            .downcast_mut::<PodDisruptionBudget>()
            .ok_or_else(|| Status::internal("the stored disruption budget is none"))?;
        take(budget, &pod.metadata.name, now)?;
        tracking::update(&served, Some(&old), object, &manager, "status", now);
        Ok(())
    };
    let namespace = pod.metadata.namespace.as_str();
    let aim = Aim {
        served: &served,
        namespace,
        name,
        subresource: "status",
    };
    if dry_run {
        let entry = read::get(server, &served, namespace, name, "").await?;
        return change(&mut (*typed::object(&entry)?).clone());
    }
    rewrite(server, &aim, change).await.map(|_| ())
}

fn take(budget: &mut PodDisruptionBudget, pod: &str, now: Time) -> Result<(), Status> {
    let name = budget.metadata.name.to_string();
    if budget.status.observed_generation < budget.metadata.generation {
        return Err(still_processed(&name));
    }
    let target = Target {
        group: PodDisruptionBudget::GROUP,
        resource: "poddisruptionbudget",
        name: &name,
    };
    if budget.status.disruptions_allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(Status::forbidden(target, why));
    }
    if budget.status.disrupted_pods.len() > DISRUPTED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(target, why));
    }
    if budget.status.disruptions_allowed == 0 {
        return Err(refusal(why_none(budget), 0));
    }
    budget.status.disruptions_allowed -= 1;
    if budget.status.disruptions_allowed == 0 {
        let generation = budget.metadata.generation;
        let conditions = &mut budget.status.conditions;
        if !conditions.iter().any(|c| c.type_ == "DisruptionAllowed") {
            conditions.push(Condition {
                type_: "DisruptionAllowed".into(),
                ..Condition::default()
            });
        }
        let allowed = conditions
            .iter_mut()
            .find(|c| c.type_ == "DisruptionAllowed" && c.status != "False");
        if let Some(condition) = allowed {
            condition.status = "False".into();
            condition.reason = "InsufficientPods".into();
            condition.message = "".into();
            condition.observed_generation = generation;
            condition.last_transition_time = now;
        }
    }
    budget.status.disrupted_pods.insert(pod, now);
    Ok(())
}

/// Why a budget allows no disruption.
fn why_none(budget: &PodDisruptionBudget) -> String {
    let name = &budget.metadata.name;
    let status = &budget.status;
    let refusing = status
        .conditions
        .iter()
        .find(|c| c.type_ == "DisruptionAllowed")
        .filter(|c| c.status == "False" && !c.message.is_empty());
    match refusing {
        Some(c) if c.reason == "SyncFailed" => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            c.message
        ),
        _ if status.current_healthy <= status.desired_healthy => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status.desired_healthy, status.current_healthy
        ),
        Some(c) => format!(
            "The disruption budget {name} does not allow evicting pods currently ({}): {}",
            c.reason, c.message
        ),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn still_processed(budget: &str) -> Status {
    let cause = format!("The disruption budget {budget} is still being processed by the server.");
    refusal(cause, 10)
}

fn refusal(cause: String, retry_after_seconds: i32) -> Status {
    let mut status = Status::too_many_requests(REFUSAL, retry_after_seconds);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "DisruptionBudget".into(),
            message: cause,
            field: String::new(),
        });
    }
    status
}

/// Notes on the pod that it is being evicted, then deletes it.
async fn mark_and_delete(
    server: &Server,
    user: &corten_access::UserInfo,
    aim: &Aim<'_>,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let mut options = options.clone();
    if !options.dry_run {
        let now = server.now();
        let marked = rewrite(server, aim, |object| {
            check(object, aim.name, &options)?;
            if let Some(pod) = object.downcast_mut::<Pod>() {
                mark(pod, now);
            }
            Ok(())
        });
        let marked = marked.await?;
        if options.resource_version.is_some() {
            options.resource_version = Some(marked.meta().resource_version.to_string());
        }
    }
    delete::delete(server, user, aim, &options)
        .await
        .map(|_| ())
}

fn check(object: &Object, name: &str, options: &DeleteOptions) -> Result<(), Status> {
    let target = Target {
        group: "",
        resource: "Pod",
        name,
    };
    let meta = object.meta();
    if let Some(uid) = options.uid.as_ref().filter(|u| meta.uid != u.as_str()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            meta.uid
        );
        return Err(Status::conflict(target, &why));
    }
    let version = options.resource_version.as_ref();
    if let Some(version) = version.filter(|v| meta.resource_version != v.as_str()) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            meta.resource_version
        );
        return Err(Status::conflict(target, &why));
    }
    Ok(())
}

fn mark(pod: &mut Pod, now: Time) {
    let conditions = &mut pod.status.conditions;
    let since = conditions
        .iter()
        .find(|c| c.type_ == "DisruptionTarget" && c.status == "True")
        .map_or(now, |c| c.last_transition_time);
    conditions.retain(|c| c.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: "EvictionByEvictionAPI".into(),
        message: "Eviction API: evicting".into(),
        last_transition_time: since,
        ..PodCondition::default()
    });
}
