//! TTL after finished: a finished job goes `spec.ttlSecondsAfterFinished` after its end, and its pods before it.

use crate::plan::{Context, Plan, Propagation, Target, Write};
use crate::registry::{Controller, resource};
use corten_api::batch::v1::Job;
use corten_core::Time;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "ttl-after-finished",
    service_account: "ttl-after-finished-controller",
    primary: resource::<Job>,
    wakes: &[],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// A finished job that shall not stay.
#[derive(Debug)]
pub struct Observed<'a> {
    job: &'a Job,
    expires: Time,
}

/// What concerns the job `key`; nothing while it runs or when it may stay.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let job = snapshot.get::<Job>(&key.namespace, &key.name)?;
    let ttl = job.spec.ttl_seconds_after_finished?;
    let finished = job
        .status
        .conditions
        .iter()
        .find(|c| (c.type_ == "Complete" || c.type_ == "Failed") && c.status == "True")?;
    let expires = finished.last_transition_time.plus_seconds(i64::from(ttl));
    (!job.metadata.deleting()).then_some(Observed { job, expires })
}

/// Deletes the job when its time has come.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    if observed.expires > context.now {
        plan.wake_at(observed.expires);
        return plan;
    }
    plan.write(Write::Delete {
        target: Target::of(observed.job),
        propagation: Some(Propagation::Foreground),
        grace_period: None,
        because: "it finished longer ago than its time to live".to_owned(),
    });
    plan
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use expect_test::expect;

    #[test]
    fn a_finished_job_goes_after_its_time() {
        let mut world = World::new(
            "
apiVersion: batch/v1
kind: Job
metadata: {name: j, namespace: default}
spec: {ttlSecondsAfterFinished: 10}
status: {conditions: [{type: Complete, status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z'}]}
",
        );
        expect!["wake at +10s"].assert_eq(&world.step(&CONTROLLER, "default/j"));
        world.later(10);
        expect!["delete jobs default/j Foreground"]
            .assert_eq(&world.step(&CONTROLLER, "default/j"));
    }
}
