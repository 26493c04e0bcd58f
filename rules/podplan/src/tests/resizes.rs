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
        expect![[r#"
            0s Pending [Initialized]; a ContainerCreating
              sandbox 0
            0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
              start a 0
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
            > resize a limits cpu 60m
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"60m","memory":"20Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":2}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
              write Pod CpuLimit Sizes { cpu_request: 20, cpu_limit: 60, memory_request: 10485760, memory_limit: 20971520 }
              write Container("a", "c1") CpuLimit Sizes { cpu_request: 20, cpu_limit: 60, memory_request: 10485760, memory_limit: 20971520 }
              write Container("a", "c1") CpuRequest Sizes { cpu_request: 20, cpu_limit: 60, memory_request: 10485760, memory_limit: 20971520 }
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=60m,memory=20Mi
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"60m","memory":"20Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":2}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=60m,memory=20Mi
            > resize a limits memory 15Mi
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"60m","memory":"15Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":3}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs ready requests cpu=20m,memory=10Mi limits cpu=60m,memory=20Mi
              write Container("a", "c1") Memory Sizes { cpu_request: 20, cpu_limit: 60, memory_request: 10485760, memory_limit: 15728640 }
              write Pod Memory Sizes { cpu_request: 20, cpu_limit: 60, memory_request: 10485760, memory_limit: 15728640 }
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs ready requests cpu=20m,memory=10Mi limits cpu=60m,memory=15Mi
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"60m","memory":"15Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":3}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=60m,memory=15Mi
            > resize a requests cpu 10m
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"60m","memory":"15Mi"},"requests":{"cpu":"10m","memory":"10Mi"}}}],"generation":4}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@4]; a runs ready requests cpu=20m,memory=10Mi limits cpu=60m,memory=15Mi
              write Container("a", "c1") CpuLimit Sizes { cpu_request: 10, cpu_limit: 60, memory_request: 10485760, memory_limit: 15728640 }
              write Container("a", "c1") CpuRequest Sizes { cpu_request: 10, cpu_limit: 60, memory_request: 10485760, memory_limit: 15728640 }
              write Pod CpuRequest Sizes { cpu_request: 10, cpu_limit: 60, memory_request: 10485760, memory_limit: 15728640 }
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@4]; a runs ready requests cpu=10m,memory=10Mi limits cpu=60m,memory=15Mi
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"60m","memory":"15Mi"},"requests":{"cpu":"10m","memory":"10Mi"}}}],"generation":4}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=10m,memory=10Mi limits cpu=60m,memory=15Mi
        "#]],
    );
}

#[test]
fn a_resize_without_room_waits() {
    check(
        BURSTABLE,
        "no room\nresize a requests cpu 30m\nresize a requests cpu 35m\nroom\nno room\nresize a requests cpu 40m\nresize a requests cpu 35m",
        expect![[r#"
            0s Pending [Initialized]; a ContainerCreating
              sandbox 0
            0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
              start a 0
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
            > no room
            > resize a requests cpu 30m
              Warning ResizeDeferred: Pod resize OutOfcpu: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"30m","memory":"10Mi"}}}],"generation":2,"error":"no room"}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizePending=Deferred@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
            > resize a requests cpu 35m
              Warning ResizeDeferred: Pod resize OutOfcpu: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"35m","memory":"10Mi"}}}],"generation":3,"error":"no room"}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizePending=Deferred@3]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
            > room
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"35m","memory":"10Mi"}}}],"generation":3}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
              write Pod CpuRequest Sizes { cpu_request: 35, cpu_limit: 40, memory_request: 10485760, memory_limit: 20971520 }
              write Container("a", "c1") CpuLimit Sizes { cpu_request: 35, cpu_limit: 40, memory_request: 10485760, memory_limit: 20971520 }
              write Container("a", "c1") CpuRequest Sizes { cpu_request: 35, cpu_limit: 40, memory_request: 10485760, memory_limit: 20971520 }
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs ready requests cpu=35m,memory=10Mi limits cpu=40m,memory=20Mi
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"35m","memory":"10Mi"}}}],"generation":3}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=35m,memory=10Mi limits cpu=40m,memory=20Mi
            > no room
            > resize a requests cpu 40m
              Warning ResizeDeferred: Pod resize OutOfcpu: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"40m","memory":"10Mi"}}}],"generation":4,"error":"no room"}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizePending=Deferred@4]; a runs ready requests cpu=35m,memory=10Mi limits cpu=40m,memory=20Mi
            > resize a requests cpu 35m
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=35m,memory=10Mi limits cpu=40m,memory=20Mi
        "#]],
    );
}

#[test]
fn a_limit_below_what_is_used_is_an_error_until_it_is_taken_back() {
    check(
        BURSTABLE,
        "memory is used\nresize a limits memory 12Mi\nwait 5\nwait 10\nresize a limits memory 20Mi",
        expect![[r#"
            0s Pending [Initialized]; a ContainerCreating
              sandbox 0
            0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
              start a 0
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
            > memory is used
            > resize a limits memory 12Mi
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"12Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":2}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
              Warning ResizeError: Pod resize error: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"12Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":2,"error":"2 limits below what is used"}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=Error@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
            > wait 5
            > wait 10
            > resize a limits memory 20Mi
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":3}
            15s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"40m","memory":"20Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}}],"generation":3}
            15s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi
        "#]],
    );
}

#[test]
fn a_container_is_restarted_when_its_policy_says_so() {
    check(
        "restartPolicy: OnFailure\ncontainers: [{name: a, image: i, resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}], resources: {requests: {cpu: 20m, memory: 10Mi}, limits: {cpu: 40m, memory: 20Mi}}}, {name: b, image: i}]",
        "resize a limits cpu 30m\nresize a limits memory 30Mi",
        expect![[r#"
            0s Pending [Initialized]; a ContainerCreating; b ContainerCreating
              sandbox 0
            0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating; b ContainerCreating
              start a 0
            0s Pending [PodReadyToStartContainers Initialized]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi; b ContainerCreating
              start b 0
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi; b runs ready
            > resize a limits cpu 30m
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"30m","memory":"20Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}},{"name":"b","resources":{}}],"generation":2}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=40m,memory=20Mi; b runs ready
              write Container("a", "c1") CpuLimit Sizes { cpu_request: 20, cpu_limit: 30, memory_request: 10485760, memory_limit: 20971520 }
              write Container("a", "c1") CpuRequest Sizes { cpu_request: 20, cpu_limit: 30, memory_request: 10485760, memory_limit: 20971520 }
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@2]; a runs ready requests cpu=20m,memory=10Mi limits cpu=30m,memory=20Mi; b runs ready
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"30m","memory":"20Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}},{"name":"b","resources":{}}],"generation":2}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready requests cpu=20m,memory=10Mi limits cpu=30m,memory=20Mi; b runs ready
            > resize a limits memory 30Mi
              Normal ResizeStarted: Pod resize started: {"containers":[{"name":"a","resources":{"limits":{"cpu":"30m","memory":"30Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}},{"name":"b","resources":{}}],"generation":3}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs ready requests cpu=20m,memory=10Mi limits cpu=30m,memory=20Mi; b runs ready
              restart a
              stop a within 30s
              Normal Killing: Container a resize requires restart
            0s Running [PodReadyToStartContainers Initialized PodResizeInProgress=@3]; a Error 143 requests cpu=20m,memory=10Mi limits cpu=30m,memory=30Mi; b runs ready
              start a 1
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady PodResizeInProgress=@3]; a runs (last Error 143) x1 ready requests cpu=20m,memory=10Mi limits cpu=30m,memory=30Mi; b runs ready
              Normal ResizeCompleted: Pod resize completed: {"containers":[{"name":"a","resources":{"limits":{"cpu":"30m","memory":"30Mi"},"requests":{"cpu":"20m","memory":"10Mi"}}},{"name":"b","resources":{}}],"generation":3}
            0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 143) x1 ready requests cpu=20m,memory=10Mi limits cpu=30m,memory=30Mi; b runs ready
        "#]],
    );
}
