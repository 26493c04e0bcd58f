//! The lives of pods.

use super::world::live;
use expect_test::{Expect, expect};

fn check(spec: &str, script: &str, wanted: Expect) {
    wanted.assert_eq(&live(spec, script));
}

const PLAIN: &str = "containers: [{name: a, image: i}]\nterminationGracePeriodSeconds: 30";

#[test]
fn a_pod_starts_and_is_deleted() {
    check(
        PLAIN,
        "delete 30",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > delete 30
          stop a within 30s
          Normal Killing: Stopping container a
        0s Failed [PodReadyToStartContainers Initialized]; a Error 143
          clean
          delete
          finished
    "#]],
    );
}

#[test]
fn a_failing_container_waits_longer_each_time() {
    check(
        PLAIN,
        "exit a 1\nexit a 2\nwait 10\nexit a 3\nwait 19\nwait 1\nwait 700\nexit a 4",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > exit a 1
        0s Running [PodReadyToStartContainers Initialized]; a Error 1
          start a 1
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 1) x1 ready
        > exit a 2
        0s Running [PodReadyToStartContainers Initialized]; a CrashLoopBackOff "back-off 10s restarting failed container=a pod=p_d(u)" (last Error 2) x1
          Warning BackOff: Back-off restarting failed container a in pod p_d(u)
        > wait 10
        10s Running [PodReadyToStartContainers Initialized]; a Error 2 (last Error 1) x1
          start a 2
        10s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 2) x2 ready
        > exit a 3
        10s Running [PodReadyToStartContainers Initialized]; a CrashLoopBackOff "back-off 20s restarting failed container=a pod=p_d(u)" (last Error 3) x2
          Warning BackOff: Back-off restarting failed container a in pod p_d(u)
        > wait 19
        > wait 1
        30s Running [PodReadyToStartContainers Initialized]; a Error 3 (last Error 2) x2
          start a 3
        30s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 3) x3 ready
        > wait 700
        > exit a 4
        730s Running [PodReadyToStartContainers Initialized]; a Error 4 (last Error 3) x3
          start a 4
        730s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 4) x4 ready
    "#]],
    );
}

#[test]
fn a_job_succeeds_or_fails() {
    let spec = "restartPolicy: Never\ncontainers: [{name: a, image: i}, {name: b, image: i}]";
    check(
        spec,
        "exit a 0\nexit b 0",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating; b ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating; b ContainerCreating
          start a 0
        0s Pending [PodReadyToStartContainers Initialized]; a runs ready; b ContainerCreating
          start b 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready; b runs ready
        > exit a 0
        0s Running [PodReadyToStartContainers Initialized]; a Completed 0; b runs ready
        > exit b 0
        0s Succeeded [PodReadyToStartContainers Initialized]; a Completed 0; b Completed 0
          release
    "#]],
    );
    check(
        spec,
        "exit a 1\nexit b 0",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating; b ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating; b ContainerCreating
          start a 0
        0s Pending [PodReadyToStartContainers Initialized]; a runs ready; b ContainerCreating
          start b 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready; b runs ready
        > exit a 1
        0s Running [PodReadyToStartContainers Initialized]; a Error 1; b runs ready
        > exit b 0
        0s Failed [PodReadyToStartContainers Initialized]; a Error 1; b Completed 0
          release
    "#]],
    );
    let spec = "restartPolicy: OnFailure\ncontainers: [{name: a, image: i}]";
    check(
        spec,
        "exit a 1\nexit a 0",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > exit a 1
        0s Running [PodReadyToStartContainers Initialized]; a Error 1
          start a 1
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 1) x1 ready
        > exit a 0
        0s Succeeded [PodReadyToStartContainers Initialized]; a Completed 0 (last Error 1) x1
          release
    "#]],
    );
}

#[test]
fn init_containers_run_in_order() {
    let spec = "initContainers: [{name: x, image: i}, {name: z, image: i}]\ncontainers: [{name: a, image: i}]";
    check(
        spec,
        "exit x 1\nexit x 0\nexit z 0",
        expect![[r#"
        0s Pending []; x PodInitializing; z PodInitializing; a PodInitializing
          sandbox 0
        0s Pending [PodReadyToStartContainers]; x PodInitializing; z PodInitializing; a PodInitializing
          start x 0
        0s Pending [PodReadyToStartContainers]; x runs; z PodInitializing; a PodInitializing
        > exit x 1
        0s Pending [PodReadyToStartContainers]; x Error 1; z PodInitializing; a PodInitializing
          start x 1
        0s Pending [PodReadyToStartContainers]; x runs (last Error 1) x1; z PodInitializing; a PodInitializing
        > exit x 0
        0s Pending [PodReadyToStartContainers]; x Completed 0 (last Error 1) x1 ready; z PodInitializing; a PodInitializing
          start z 0
        0s Pending [PodReadyToStartContainers]; x Completed 0 (last Error 1) x1 ready; z runs; a PodInitializing
        > exit z 0
        0s Pending [PodReadyToStartContainers Initialized]; x Completed 0 (last Error 1) x1 ready; z Completed 0 ready; a PodInitializing
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; x Completed 0 (last Error 1) x1 ready; z Completed 0 ready; a runs ready
    "#]],
    );
    let never = format!("restartPolicy: Never\n{spec}");
    check(
        &never,
        "exit x 1",
        expect![[r#"
        0s Pending []; x PodInitializing; z PodInitializing; a PodInitializing
          sandbox 0
        0s Pending [PodReadyToStartContainers]; x PodInitializing; z PodInitializing; a PodInitializing
          start x 0
        0s Pending [PodReadyToStartContainers]; x runs; z PodInitializing; a PodInitializing
        > exit x 1
        0s Failed [PodReadyToStartContainers]; x Error 1; z PodInitializing; a PodInitializing
          release
    "#]],
    );
}

#[test]
fn sidecars_start_first_and_end_last() {
    let spec = "restartPolicy: Never\nterminationGracePeriodSeconds: 30\n\
        initContainers: [{name: s, image: i, restartPolicy: Always}, {name: t, image: i, restartPolicy: Always}]\n\
        containers: [{name: a, image: i}]";
    check(
        spec,
        "exit s 1\nexit a 0",
        expect![[r#"
        0s Pending []; s PodInitializing; t PodInitializing; a PodInitializing
          sandbox 0
        0s Pending [PodReadyToStartContainers]; s PodInitializing; t PodInitializing; a PodInitializing
          start s 0
        0s Pending [PodReadyToStartContainers]; s runs ready; t PodInitializing; a PodInitializing
          start t 0
        0s Pending [PodReadyToStartContainers Initialized]; s runs ready; t runs ready; a PodInitializing
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; s runs ready; t runs ready; a runs ready
        > exit s 1
        0s Running [PodReadyToStartContainers Initialized]; s Error 1; t runs ready; a runs ready
          start s 1
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; s runs (last Error 1) x1 ready; t runs ready; a runs ready
        > exit a 0
        0s Running [PodReadyToStartContainers Initialized]; s runs (last Error 1) x1 ready; t runs ready; a Completed 0
          stop t within 30s
          Normal Killing: Stopping container t
        0s Running [PodReadyToStartContainers Initialized]; s runs (last Error 1) x1 ready; t Error 143; a Completed 0
          stop s within 30s
          Normal Killing: Stopping container s
        0s Succeeded [PodReadyToStartContainers Initialized]; s Error 143 (last Error 1) x1; t Error 143; a Completed 0
          release
    "#]],
    );
    check(
        spec,
        "given stubborn a\ndelete 5\nwait 5",
        expect![[r#"
        0s Pending []; s PodInitializing; t PodInitializing; a PodInitializing
          sandbox 0
        0s Pending [PodReadyToStartContainers]; s PodInitializing; t PodInitializing; a PodInitializing
          start s 0
        0s Pending [PodReadyToStartContainers]; s runs ready; t PodInitializing; a PodInitializing
          start t 0
        0s Pending [PodReadyToStartContainers Initialized]; s runs ready; t runs ready; a PodInitializing
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; s runs ready; t runs ready; a runs ready
        > delete 5
          stop a within 5s
          Normal Killing: Stopping container a
        > wait 5
        5s Running [PodReadyToStartContainers Initialized]; s runs ready; t runs ready; a Error 137
          stop s within 2s
          Normal Killing: Stopping container s
          stop t within 2s
          Normal Killing: Stopping container t
        5s Failed [PodReadyToStartContainers Initialized]; s Error 143; t Error 143; a Error 137
          clean
          delete
          finished
    "#]],
    );
}

#[test]
fn images_that_are_missing_back_off() {
    check(
        PLAIN,
        "given noimage a\nwait 1\nwait 9\nmended\nwait 30",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ErrImagePull "not there"
        > wait 1
        1s Pending [PodReadyToStartContainers Initialized]; a ImagePullBackOff "Back-off pulling image \"i\": ErrImagePull: not there"
          Normal BackOff: Back-off pulling image "i"
        > wait 9
        10s Pending [PodReadyToStartContainers Initialized]; a ErrImagePull "not there"
        > mended
        > wait 30
        11s Pending [PodReadyToStartContainers Initialized]; a ImagePullBackOff "Back-off pulling image \"i\": ErrImagePull: not there"
          Normal BackOff: Back-off pulling image "i"
        30s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        30s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
    "#]],
    );
}

#[test]
fn configuration_that_is_missing_is_waited_for() {
    check(
        PLAIN,
        "given broken a CreateContainerConfigError\nwait 10\nmended",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
          Warning Failed: Error: it is broken
        0s Pending [PodReadyToStartContainers Initialized]; a CreateContainerConfigError "it is broken"
        > wait 10
          start a 0
          Warning Failed: Error: it is broken
        > mended
          start a 0
        10s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
    "#]],
    );
}

#[test]
fn probes_gate_and_kill() {
    let spec = "terminationGracePeriodSeconds: 30\ncontainers:\n- name: a\n  image: i\n  \
        startupProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 5}\n  \
        readinessProbe: {exec: {command: [x]}, periodSeconds: 2, failureThreshold: 2}\n  \
        livenessProbe: {exec: {command: [x]}, periodSeconds: 3, failureThreshold: 2}";
    check(
        spec,
        "given probe a startup no\nwait 2\nprobe a startup ok\nwait 1\nprobe a readiness bad\nwait 4\nprobe a readiness ok\n\
         wait 2\nprobe a liveness dead\nwait 6",
        expect![[r#"
            0s Pending [Initialized]; a ContainerCreating
              sandbox 0
            0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
              start a 0
            0s Running [PodReadyToStartContainers Initialized]; a runs
              Warning Unhealthy: Startup probe failed: no
            > wait 2
              Warning Unhealthy: Startup probe failed: no
              Warning Unhealthy: Startup probe failed: no
            > probe a startup ok
            > wait 1
            3s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
            > probe a readiness bad
            > wait 4
              Warning Unhealthy: Readiness probe failed: bad
              Warning Unhealthy: Readiness probe failed: bad
            7s Running [PodReadyToStartContainers Initialized]; a runs
            > probe a readiness ok
            > wait 2
            9s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
            > probe a liveness dead
            > wait 6
              Warning Unhealthy: Liveness probe failed: dead
              Warning Unhealthy: Liveness probe failed: dead
              stop a within 30s
              Normal Killing: Container a failed liveness probe, will be restarted
            15s Running [PodReadyToStartContainers Initialized]; a Error 143
              start a 1
            15s Running [PodReadyToStartContainers Initialized]; a runs (last Error 143) x1
              Warning Unhealthy: Liveness probe failed: dead
            15s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs (last Error 143) x1 ready
        "#]],
    );
    check(
        spec,
        "given probe a startup no\nwait 5",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized]; a runs
          Warning Unhealthy: Startup probe failed: no
        > wait 5
          Warning Unhealthy: Startup probe failed: no
          Warning Unhealthy: Startup probe failed: no
          Warning Unhealthy: Startup probe failed: no
          Warning Unhealthy: Startup probe failed: no
          stop a within 30s
          Normal Killing: Container a failed startup probe, will be restarted
        4s Running [PodReadyToStartContainers Initialized]; a Error 143
          start a 1
        4s Running [PodReadyToStartContainers Initialized]; a runs (last Error 143) x1
          Warning Unhealthy: Startup probe failed: no
          Warning Unhealthy: Startup probe failed: no
    "#]],
    );
}

#[test]
fn hooks_and_kills_within_the_grace_period() {
    let spec = "containers: [{name: a, image: i, lifecycle: {preStop: {exec: {command: [x]}}}}]";
    check(
        spec,
        "stubborn a\ndelete 10\nwait 9\nwait 1",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > stubborn a
        > delete 10
          preStop a
          Normal Killing: Stopping container a
          stop a within 10s
        > wait 9
        > wait 1
        10s Failed [PodReadyToStartContainers Initialized]; a Error 137
          clean
          delete
          finished
    "#]],
    );
    check(
        PLAIN,
        "stubborn a\ndelete 30\nwait 5\ndelete 1\nwait 2",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > stubborn a
        > delete 30
          stop a within 30s
          Normal Killing: Stopping container a
        > wait 5
        > delete 1
          stop a within 2s
        > wait 2
        7s Failed [PodReadyToStartContainers Initialized]; a Error 137
          clean
          delete
          finished
    "#]],
    );
}

#[test]
fn a_deadline_ends_the_pod() {
    let spec = "activeDeadlineSeconds: 5\nterminationGracePeriodSeconds: 3\ncontainers: [{name: a, image: i}]";
    check(
        spec,
        "given stubborn a\nwait 5\nwait 3",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > wait 5
        5s Running [PodReadyToStartContainers Initialized]; a runs ready
          stop a within 3s
          Normal Killing: Stopping container a
        > wait 3
        8s Failed [PodReadyToStartContainers Initialized] "DeadlineExceeded" "Pod was active on the node longer than the specified deadline"; a Error 137
          release
    "#]],
    );
}

#[test]
fn a_dead_sandbox_is_replaced() {
    let spec = "initContainers: [{name: x, image: i}]\ncontainers: [{name: a, image: i}]";
    check(
        spec,
        "exit x 0\nsandbox dies\nexit x 0",
        expect![[r#"
        0s Pending []; x PodInitializing; a PodInitializing
          sandbox 0
        0s Pending [PodReadyToStartContainers]; x PodInitializing; a PodInitializing
          start x 0
        0s Pending [PodReadyToStartContainers]; x runs; a PodInitializing
        > exit x 0
        0s Pending [PodReadyToStartContainers Initialized]; x Completed 0 ready; a PodInitializing
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; x Completed 0 ready; a runs ready
        > sandbox dies
        0s Running [Initialized]; x Completed 0 ready; a Error 255
          sandbox 1
        0s Running [PodReadyToStartContainers Initialized]; x Completed 0 ready; a Error 255
          start x 1
        0s Pending [PodReadyToStartContainers Initialized]; x runs (last Completed 0) x1; a Error 255
        > exit x 0
        0s Running [PodReadyToStartContainers Initialized]; x Completed 0 (last Completed 0) x1 ready; a Error 255
          start a 1
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; x Completed 0 (last Completed 0) x1 ready; a runs (last Error 255) x1 ready
    "#]],
    );
    check(
        "restartPolicy: Never\ncontainers: [{name: a, image: i}]",
        "sandbox dies",
        expect![[r#"
        0s Pending [Initialized]; a ContainerCreating
          sandbox 0
        0s Pending [PodReadyToStartContainers Initialized]; a ContainerCreating
          start a 0
        0s Running [PodReadyToStartContainers Initialized Ready ContainersReady]; a runs ready
        > sandbox dies
        0s Failed [Initialized]; a Error 255
          release
    "#]],
    );
}
