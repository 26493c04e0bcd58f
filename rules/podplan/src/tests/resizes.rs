//! Pods that are resized in place.

use super::world::live;
use expect_test::{Expect, expect};

fn check(spec: &str, script: &str, wanted: Expect) {
    wanted.assert_eq(&live(spec, script));
}

const BURSTABLE: &str = "containers: [{name: a, image: i, resources: {requests: {cpu: 20m, memory: 10Mi}, limits: {cpu: 40m, memory: 20Mi}}}]";

#[test]
fn a_container_grows_after_its_pod_and_shrinks_before_it() {
    check(
        BURSTABLE,
        "resize a limits cpu 60m\nresize a limits memory 15Mi\nresize a requests cpu 10m",
        expect![[""]],
    );
}

#[test]
fn a_resize_without_room_waits() {
    check(
        BURSTABLE,
        "no room\nresize a requests cpu 30m\nresize a requests cpu 35m\nroom\nno room\nresize a requests cpu 40m\nresize a requests cpu 35m",
        expect![[""]],
    );
}

#[test]
fn a_limit_below_what_is_used_is_an_error_until_it_is_taken_back() {
    check(
        BURSTABLE,
        "memory is used\nresize a limits memory 12Mi\nwait 5\nwait 10\nresize a limits memory 20Mi",
        expect![[""]],
    );
}

#[test]
fn a_container_is_restarted_when_its_policy_says_so() {
    check(
        "restartPolicy: OnFailure\ncontainers: [{name: a, image: i, resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}], resources: {requests: {cpu: 20m, memory: 10Mi}, limits: {cpu: 40m, memory: 20Mi}}}, {name: b, image: i}]",
        "resize a limits cpu 30m\nresize a limits memory 30Mi",
        expect![[""]],
    );
}
