//! What users do with stateful sets, daemon sets and jobs, and what must hold of these at rest.
//!
//! Invariant: their pods are small, so that they always fit beside those of deployments.

use crate::env::Env;
use crate::node::ENDS;
use crate::server::Request;
use crate::user::{NODES, change, count, create, delete, parse, some};
use corten_api::Object;
use corten_api::apps::v1::{DaemonSet, StatefulSet};
use corten_api::batch::v1::Job;
use corten_api::core::v1::{Namespace, Node, Pod};
use corten_core::Str;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Workloads of these kinds that exist at once.
const WORKLOADS_MAX: usize = 4;

fn is_one(object: &Object) -> bool {
    object.downcast_ref::<StatefulSet>().is_some()
        || object.downcast_ref::<DaemonSet>().is_some()
        || object.downcast_ref::<Job>().is_some()
}

fn template(labels: &str, image: u64, restart: &str) -> String {
    format!(
        r#""template":{{"metadata":{{"labels":{{{labels}}}}},"spec":{{{restart}"containers":[{{"name":"c","image":"image-{image}",
        "resources":{{"requests":{{"cpu":"10m"}}}}}}]}}}}"#
    )
}

/// A new workload of one of the kinds.
pub fn create_one(env: &mut Env) -> Option<Request> {
    if count(env, is_one) >= WORKLOADS_MAX {
        return None;
    }
    let namespace = some::<Namespace>(env)?.meta().name.clone();
    let number = env.rng.below(3);
    match env.rng.below(3) {
        0 => {
            let name = format!("set-{number}");
            let replicas = env.rng.between(0, 3);
            let policy = *env.rng.pick(&["OrderedReady", "Parallel"])?;
            let label = format!(r#""app":"{name}""#);
            let template = template(&label, 0, "");
            Some(create::<StatefulSet>(parse(&format!(
                r#"{{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{{"name":"{name}","namespace":"{namespace}"}},
                "spec":{{"replicas":{replicas},"podManagementPolicy":"{policy}","selector":{{"matchLabels":{{{label}}}}},{template}}}}}"#
            ))))
        }
        1 => {
            let name = format!("agent-{number}");
            let label = format!(r#""app":"{name}""#);
            let template = template(&label, 0, "");
            Some(create::<DaemonSet>(parse(&format!(
                r#"{{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{{"name":"{name}","namespace":"{namespace}"}},
                "spec":{{"selector":{{"matchLabels":{{{label}}}}},{template}}}}}"#
            ))))
        }
        _ => {
            let (completions, parallelism) = (env.rng.between(1, 4), env.rng.between(1, 2));
            let mode = *env.rng.pick(&["NonIndexed", "Indexed"])?;
            let label = format!(r#""{ENDS}":"true""#);
            let template = template(&label, 0, r#""restartPolicy":"Never","#);
            Some(create::<Job>(parse(&format!(
                r#"{{"apiVersion":"batch/v1","kind":"Job","metadata":{{"name":"task-{number}","namespace":"{namespace}"}},
                "spec":{{"completions":{completions},"parallelism":{parallelism},"completionMode":"{mode}","backoffLimit":1000,{template}}}}}"#
            ))))
        }
    }
}

/// A resize or a new image.
pub fn change_one(env: &mut Env) -> Option<Request> {
    let image = format!("image-{}", env.rng.below(3));
    let patched = |patch: &mut corten_core::Value| {
        let text = format!(
            r#"[{{"name":"c","image":"{image}","resources":{{"requests":{{"cpu":"10m"}}}}}}]"#
        );
        let containers = corten_codec::json::decode_value(text.as_bytes());
        let containers = containers.expect("the script's patches are valid");
        patch.set(&["spec", "template", "spec", "containers"], containers);
    };
    match env.rng.below(4) {
        0 => change::<StatefulSet>(env, |env, patch| {
            patch.set(&["spec", "replicas"], env.rng.between(0, 3) as i64);
        }),
        1 => change::<StatefulSet>(env, |_, patch| patched(patch)),
        2 => change::<DaemonSet>(env, |_, patch| patched(patch)),
        _ => change::<Job>(env, |env, patch| {
            patch.set(&["spec", "parallelism"], env.rng.between(1, 3) as i64);
        }),
    }
}

/// Deletes one of them.
pub fn delete_one(env: &mut Env) -> Option<Request> {
    match env.rng.below(3) {
        0 => delete::<StatefulSet>(env),
        1 => delete::<DaemonSet>(env),
        _ => delete::<Job>(env),
    }
}

fn active<'a>(objects: &'a [Arc<Object>], owner: &'a Str) -> Vec<&'a Pod> {
    let pods = objects.iter().filter_map(|o| o.downcast_ref::<Pod>());
    let active = pods.filter(|p| {
        let finished = p.status.phase == "Succeeded" || p.status.phase == "Failed";
        p.metadata.controlled_by(owner) && !finished && !p.metadata.deleting()
    });
    active.collect()
}

fn images(pods: &[&Pod]) -> BTreeSet<Str> {
    let containers = pods.iter().flat_map(|p| p.spec.containers.iter());
    containers.map(|c| c.image.clone()).collect()
}

/// What does not hold of an object at rest. `is_exact` when nothing in the run makes counts inexact.
pub fn check(object: &Object, objects: &[Arc<Object>], is_exact: bool) -> Option<String> {
    if let Some(set) = object.downcast_ref::<StatefulSet>() {
        return check_set(set, objects);
    }
    if let Some(set) = object.downcast_ref::<DaemonSet>() {
        return check_daemons(set, objects);
    }
    check_job(object.downcast_ref::<Job>()?, objects, is_exact)
}

/// Each ordinal has its one pod, of the current template.
fn check_set(set: &StatefulSet, objects: &[Arc<Object>]) -> Option<String> {
    let pods = active(objects, &set.metadata.uid);
    let names: BTreeSet<String> = pods.iter().map(|p| p.metadata.name.to_string()).collect();
    let wanted = set.spec.replicas.unwrap_or(1);
    let ordinals = (0..wanted).map(|i| format!("{}-{i}", set.metadata.name));
    let wanted_names: BTreeSet<String> = ordinals.collect();
    let image = set.spec.template.spec.containers[0].image.clone();
    let holds = names == wanted_names
        && images(&pods).iter().all(|i| *i == image)
        && set.status.replicas == wanted
        && set.status.ready_replicas == wanted
        && set.status.observed_generation == set.metadata.generation;
    (!holds).then(|| {
        format!(
            "stateful set {} wants {wanted} of {image}, has {names:?} of {:?} and says {:?}",
            set.metadata.full_name(),
            images(&pods),
            set.status
        )
    })
}

/// Each node has its one pod, of the current template.
fn check_daemons(set: &DaemonSet, objects: &[Arc<Object>]) -> Option<String> {
    let pods = active(objects, &set.metadata.uid);
    let nodes: BTreeSet<&str> = pods.iter().map(|p| p.spec.node_name.as_str()).collect();
    let all = objects
        .iter()
        .filter(|o| o.downcast_ref::<Node>().is_some());
    let all = all.count();
    let image = set.spec.template.spec.containers[0].image.clone();
    let holds = pods.len() == all
        && nodes.len() == all
        && images(&pods).iter().all(|i| *i == image)
        && set.status.number_ready == all as i32
        && set.status.updated_number_scheduled == all as i32
        && set.status.observed_generation == set.metadata.generation;
    (!holds).then(|| {
        format!(
            "daemon set {} of {image} on {all} of {NODES} nodes has {} pods on {nodes:?} of {:?} and says {:?}",
            set.metadata.full_name(),
            pods.len(),
            images(&pods),
            set.status
        )
    })
}

/// It is complete, with exactly as many successes as were wanted, and keeps no pod from going.
fn check_job(job: &Job, objects: &[Arc<Object>], is_exact: bool) -> Option<String> {
    let wanted = job.spec.completions.unwrap_or(1);
    let status = &job.status;
    let complete = status
        .conditions
        .iter()
        .any(|c| c.type_ == "Complete" && c.status == "True");
    let pods = objects.iter().filter_map(|o| o.downcast_ref::<Pod>());
    let held = pods
        .filter(|p| p.metadata.controlled_by(&job.metadata.uid))
        .filter(|p| !p.metadata.finalizers.is_empty())
        .count();
    let indexed = job.spec.completion_mode.as_deref() == Some("Indexed");
    let counted = match is_exact || indexed {
        true => status.succeeded == wanted,
        false => status.succeeded >= wanted,
    };
    let holds = complete && counted && held == 0 && status.active == 0;
    (!holds).then(|| {
        format!(
            "job {} wants {wanted} successes, keeps {held} pods and says {status:?}",
            job.metadata.full_name()
        )
    })
}
