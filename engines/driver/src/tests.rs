//! Plans under way, without a server: what goes out when, what is asked first, and what an end leads to.

use crate::{Executed, Execution, Job, Moment, Probe, Reconciler};
use corten_api::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionVersion,
};
use corten_api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use corten_api::certificates::v1::CertificateSigningRequest;
use corten_api::core::v1::{ConfigMap, Namespace, Node, Pod};
use corten_api::{Kind, Object};
use corten_client::{Body, Error, ListAnswer, Status, Verb};
use corten_controllers::plan::Cluster;
use corten_controllers::{Fact, Plan, Target, Write, serviceaccount};
use corten_core::{Str, Time};
use corten_meta::{GroupVersionResource, ObjectKey, Revision, Snapshot};
use std::sync::Arc;

const MOMENT: Moment = Moment {
    millis: 0,
    now: Time::ZERO,
};

fn create(name: &str) -> Write {
    Write::create(ConfigMap::namespaced("a", name), "a test")
}

fn followed() -> Vec<GroupVersionResource> {
    vec![
        GroupVersionResource::of::<ConfigMap>(),
        GroupVersionResource::of::<Node>(),
        GroupVersionResource::of::<CustomResourceDefinition>(),
        GroupVersionResource::new("example.com", "v1", "things"),
    ]
}

fn next(execution: &mut Execution) -> Vec<Job> {
    execution.next(&Snapshot::new(), followed)
}

fn written(at: &str) -> Result<Arc<Object>, Error> {
    let mut map = ConfigMap::namespaced("a", "x");
    map.metadata.resource_version = at.into();
    Ok(Arc::new(Object::from(map)))
}

fn refused(code: u16, reason: &str) -> Result<Arc<Object>, Error> {
    Err(Status::new(code, reason, "no").into())
}

#[test]
fn creates_go_in_batches_that_double_until_one_fails() {
    let mut plan = Plan::default();
    for i in 0..10 {
        plan.write(create(&format!("m{i}")));
    }
    let (old, mut new) = (Pod::namespaced("a", "p"), Pod::namespaced("a", "p"));
    new.status.phase = "Running".into();
    plan.write_if(Write::patch_status(&old, &new, "a test"));
    let mut execution = Execution::new(plan);
    let mut sizes = Vec::new();
    loop {
        let jobs = next(&mut execution);
        if jobs.is_empty() {
            break;
        }
        sizes.push(jobs.len());
        for job in &jobs {
            // The fourth batch is refused.
            let fails = sizes.len() == 4 && job.request.verb == Verb::Create;
            let answer = if fails {
                refused(403, "Forbidden")
            } else {
                written("7")
            };
            assert!(execution.settle(job, answer).is_none());
        }
    }
    assert_eq!(
        sizes,
        [1, 2, 4, 3, 1],
        "and the status is told all the same"
    );
    let (executed, _) = execution.end();
    let failure = executed.failure.unwrap();
    assert_eq!(
        (failure.verb, failure.reason.as_str()),
        ("create", "Forbidden")
    );
    assert!(!executed.stale);
    assert_eq!(executed.written.len(), 8);
}

#[test]
fn a_conflict_is_a_stale_plan_and_a_deletion_of_nothing_is_fine() {
    for (code, reason, stale) in [
        (409, "Conflict", true),
        (404, "NotFound", true),
        (500, "InternalError", false),
    ] {
        let mut plan = Plan::default();
        plan.write(create("m"));
        let mut execution = Execution::new(plan);
        let job = next(&mut execution).remove(0);
        execution.settle(&job, refused(code, reason));
        assert_eq!(execution.end().0.stale, stale, "{reason}");
    }
    let mut plan = Plan::default();
    plan.write(Write::delete(&Pod::namespaced("a", "p"), "a test"));
    let mut execution = Execution::new(plan);
    let job = next(&mut execution).remove(0);
    execution.settle(&job, refused(404, "NotFound"));
    assert!(execution.end().0.failure.is_none());
}

fn probes(fact: Fact) -> Vec<Probe> {
    let mut plan = Plan::default();
    plan.write_given(create("m"), vec![fact]);
    let mut snapshot = Snapshot::new();
    snapshot.put(definition("things"));
    Execution::new(plan)
        .next(&snapshot, followed)
        .remove(0)
        .probes
}

fn definition(plural: &str) -> CustomResourceDefinition {
    let mut definition = CustomResourceDefinition::named(&format!("{plural}.example.com"));
    definition.spec.group = "example.com".into();
    definition.spec.scope = "Namespaced".into();
    definition.spec.names.plural = plural.into();
    definition
        .spec
        .versions
        .push(CustomResourceDefinitionVersion {
            name: "v1".into(),
            served: true,
            storage: true,
            ..Default::default()
        });
    definition
        .status
        .conditions
        .push(CustomResourceDefinitionCondition {
            type_: "Established".into(),
            status: "True".into(),
            ..Default::default()
        });
    definition
}

#[test]
fn absence_is_asked_of_the_server() {
    let mut owner = ConfigMap::namespaced("a", "x");
    owner.metadata.uid = "u".into();
    let probes = probes(Fact::Gone(Target::of(&owner)));
    let [probe @ Probe::Gone(request, _)] = probes.as_slice() else {
        panic!("{probes:?}");
    };
    assert_eq!(
        (
            request.verb,
            request.namespace.as_str(),
            request.name.as_str()
        ),
        (Verb::Get, "a", "x")
    );
    let found = |owner: &ConfigMap| Ok(Arc::new(Object::from(owner.clone())));
    let conflict = probe.judge_object(found(&owner)).unwrap_err();
    assert!(conflict.is_conflict(), "it lives");
    owner.metadata.uid = "another".into();
    assert!(
        probe.judge_object(found(&owner)).is_ok(),
        "its name was given again"
    );
    let named = corten_client::Target {
        group: "",
        resource: "configmaps",
        name: "x",
    };
    assert!(
        probe
            .judge_object(Err(Status::not_found(named).into()))
            .is_ok()
    );
    let unserved = probe.judge_object(Err(Status::no_such_path().into()));
    assert!(
        unserved.is_err(),
        "its resource is not served, which says nothing"
    );
    assert!(
        probe
            .judge_object(refused(503, "ServiceUnavailable"))
            .is_err()
    );
}

#[test]
fn presence_is_asked_of_the_server() {
    let mut owner = ConfigMap::namespaced("a", "x");
    owner.metadata.uid = "u".into();
    let probes = probes(Fact::Present(Target::of(&owner)));
    let [probe] = probes.as_slice() else {
        panic!("{probes:?}");
    };
    let found = |owner: &ConfigMap| Ok(Arc::new(Object::from(owner.clone())));
    assert!(probe.judge_object(found(&owner)).is_ok());
    owner.metadata.uid = "another".into();
    let conflict = probe.judge_object(found(&owner)).unwrap_err();
    assert!(conflict.is_conflict(), "its name was given again");
    let named = corten_client::Target {
        group: "",
        resource: "configmaps",
        name: "x",
    };
    let conflict = probe.judge_object(Err(Status::not_found(named).into()));
    assert!(conflict.unwrap_err().is_conflict(), "it went");
}

#[test]
fn a_right_is_there_when_the_server_says_so() {
    let spec = SubjectAccessReviewSpec {
        user: "someone".into(),
        ..SubjectAccessReviewSpec::default()
    };
    let probes = probes(Fact::Allowed(Box::new(spec)));
    let [probe] = &probes[..] else {
        panic!("one question: {probes:?}")
    };
    let Probe::Allowed(request) = probe else {
        panic!("a review: {probe:?}")
    };
    assert_eq!(request.resource.resource, "subjectaccessreviews");
    let answer = |allowed| {
        let mut review = SubjectAccessReview::default();
        review.status.allowed = allowed;
        Ok(Arc::new(Object::from(review)))
    };
    assert!(probe.judge_object(answer(true)).is_ok());
    let refused = probe.judge_object(answer(false)).unwrap_err();
    assert_eq!(refused.status().map(|s| s.code), Some(403));
}

#[test]
fn a_namespace_is_empty_when_every_resource_says_so() {
    let probes = probes(Fact::Empty {
        namespace: "a".into(),
    });
    let asked: Vec<String> = probes
        .iter()
        .map(|probe| match probe {
            Probe::Empty(r) => format!("{} in {}", r.resource.resource, r.namespace),
            Probe::Followed(r, _) => format!("all {}", r.resource.resource),
            Probe::Gone(..) | Probe::Present(..) | Probe::Allowed(_) => "an object".to_owned(),
        })
        .collect();
    // Nodes lie in no namespace; things do, as their definition says.
    assert_eq!(
        asked,
        [
            "all customresourcedefinitions",
            "configmaps in a",
            "things in a"
        ]
    );
    let answer = |items: Vec<Object>| {
        Ok(ListAnswer {
            revision: Revision(1),
            items: items.into_iter().map(Arc::new).collect(),
        })
    };
    let left = answer(vec![ConfigMap::namespaced("a", "x").into()]);
    assert!(probes[1].judge_list(left).unwrap_err().is_conflict());
    assert!(probes[1].judge_list(answer(Vec::new())).is_ok());
    assert!(
        probes[0]
            .judge_list(answer(vec![definition("things").into()]))
            .is_ok()
    );
    let unseen = answer(vec![definition("others").into()]);
    assert!(
        probes[0].judge_list(unseen).unwrap_err().is_conflict(),
        "it may have objects"
    );
}

#[test]
fn a_signature_becomes_the_requests_status() {
    let sign = || {
        let mut plan = Plan::default();
        plan.write(Write::Sign {
            target: Target::of(&CertificateSigningRequest::named("r")),
            request: b"asked".as_slice().into(),
            usages: vec!["client auth".into()],
            seconds: 600,
            because: "a test".to_owned(),
        });
        Execution::new(plan)
    };
    let mut execution = sign().signing_with(Some(Arc::new(
        |request: &[u8], usages: &[Str], seconds: i64| {
            assert_eq!(
                (request, usages.len(), seconds),
                (b"asked".as_slice(), 1, 600)
            );
            Ok(b"signed".to_vec())
        },
    )));
    let job = next(&mut execution).remove(0);
    assert_eq!(job.request.subresource, "status");
    let Body::Patch(_, patch) = &job.request.body else {
        panic!("{:?}", job.request);
    };
    assert_eq!(
        std::str::from_utf8(patch).unwrap(),
        r#"{"status":{"certificate":"c2lnbmVk"}}"#
    );
    let mut keyless = sign();
    assert!(next(&mut keyless).is_empty());
    assert_eq!(keyless.end().0.failure.unwrap().verb, "sign");
}

#[test]
fn a_key_is_looked_at_again_after_its_plan_wrote() {
    let mut reconciler =
        Reconciler::new(serviceaccount::CONTROLLER, Cluster::default(), Time::ZERO);
    let mut snapshot = Snapshot::new();
    snapshot.put(Namespace::named("a"));
    reconciler.wake_everything(&snapshot);
    let key = reconciler.take(MOMENT).unwrap();
    assert_eq!(key, ObjectKey::new("", "a"));
    assert_eq!(reconciler.plan(&snapshot, &key, MOMENT).steps.len(), 1);
    // What was written is gone again before anybody saw it: no change will come.
    let executed = Executed {
        written: vec![(GroupVersionResource::of::<ConfigMap>(), Revision(3))],
        ..Executed::default()
    };
    reconciler.finish(key.clone(), executed, MOMENT);
    assert_eq!(reconciler.take(MOMENT), Some(key.clone()));
    reconciler.finish(key, Executed::default(), MOMENT);
    assert_eq!(reconciler.take(MOMENT), None);
    assert!(reconciler.is_idle());
}
