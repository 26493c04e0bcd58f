//! What pods do.

use crate::bed::{Bed, IMAGE, container, pod, ready};
use corten_api::Kind;
use corten_api::core::v1::{
    ConfigMap, ConfigMapEnvSource, ConfigMapVolumeSource, EnvFromSource, Event, ExecAction, Node,
    Pod, Probe, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};

fn config(value: &str) -> ConfigMap {
    let mut map = ConfigMap::namespaced("default", "config");
    map.data.insert("COLOR", value);
    map
}

/// A pod with an environment, files and a token from the API.
fn furnished() -> Pod {
    let mut web = pod(
        "web",
        &[(
            "main",
            "echo $COLOR; cat /etc/config/COLOR /token/token; echo; trap 'exit 0' TERM; sleep 1000 & wait",
        )],
    );
    let main = &mut web.spec.containers[0];
    let mut from = EnvFromSource::default();
    let mut source = ConfigMapEnvSource::default();
    source.local_object_reference.name = "config".into();
    from.config_map_ref = Some(Box::new(source));
    main.env_from.push(from);
    for (name, path) in [("config", "/etc/config"), ("token", "/token")] {
        main.volume_mounts.push(VolumeMount {
            name: name.into(),
            mount_path: path.into(),
            ..VolumeMount::default()
        });
    }
    let mut volume = Volume {
        name: "config".into(),
        ..Volume::default()
    };
    let mut source = ConfigMapVolumeSource::default();
    source.local_object_reference.name = "config".into();
    volume.volume_source.config_map = Some(Box::new(source));
    web.spec.volumes.push(volume);
    let mut volume = Volume {
        name: "token".into(),
        ..Volume::default()
    };
    let token = ServiceAccountTokenProjection {
        path: "token".into(),
        ..Default::default()
    };
    let part = VolumeProjection {
        service_account_token: Some(Box::new(token)),
        ..Default::default()
    };
    volume.volume_source.projected = Some(Box::new(ProjectedVolumeSource {
        sources: vec![part].into(),
        ..Default::default()
    }));
    web.spec.volumes.push(volume);
    web
}

pub async fn runs_and_goes() {
    let bed = Bed::new("run").await;
    assert!(bed.api.get::<Node>("", "node").is_some());
    bed.api.put(config("blue"));
    bed.api.put(furnished());
    let web = bed.until("web", ready).await;
    assert_eq!(web.status.phase, "Running");
    assert_eq!(web.status.qos_class, "BestEffort");
    let patches = bed
        .api
        .log()
        .iter()
        .filter(|l| l.starts_with("Patch pods/status"))
        .count();
    assert!(patches <= 3, "{patches} writes of the status before Ready");
    let (code, log) = bed
        .get("/containerLogs/default/web/main?follow=true&limitBytes=16")
        .await;
    assert_eq!((code, log.as_str()), (200, "blue\nbluea-token"));
    bed.api.delete_pod("default", "web", 5);
    bed.until_gone("web").await;
    let reasons: Vec<String> = bed
        .api
        .list::<Event>()
        .iter()
        .map(|e| e.reason.to_string())
        .collect();
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(
            reasons.iter().any(|r| r == reason),
            "no event {reason} in {reasons:?}"
        );
    }
    bed.end().await;
}

pub async fn backs_off() {
    let bed = Bed::new("backoff").await;
    bed.run("loop", "echo bye > /dev/termination-log; exit 3");
    let held = bed
        .until("loop", |s| {
            s.container_statuses.first().is_some_and(|c| {
                c.state
                    .waiting
                    .as_ref()
                    .is_some_and(|w| w.reason == "CrashLoopBackOff")
            })
        })
        .await;
    let status = &held.status.container_statuses[0];
    assert_eq!(status.restart_count, 1);
    let last = status.last_termination_state.terminated.as_ref().unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_str(), last.message.as_str()),
        (3, "Error", "bye\n")
    );
    let waiting = status.state.waiting.as_ref().unwrap();
    let wanted = format!(
        "back-off 10s restarting failed container=main pod=loop_default({})",
        held.metadata.uid
    );
    assert_eq!(waiting.message, wanted);
    assert_eq!(held.status.phase, "Running");
    bed.end().await;
}

pub async fn inits_first() {
    let bed = Bed::new("init").await;
    let mut job = pod("job", &[("main", "cat /work/made; exit 0")]);
    job.spec.restart_policy = "Never".into();
    let mut volume = Volume {
        name: "work".into(),
        ..Volume::default()
    };
    volume.volume_source.empty_dir = Some(Box::default());
    job.spec.volumes.push(volume);
    job.spec
        .init_containers
        .push(container("init", "echo made > /work/made"));
    let mut side = container("side", "trap 'exit 0' TERM; sleep 1000 & wait");
    side.restart_policy = Some("Always".into());
    job.spec.init_containers.push(side);
    let mount = VolumeMount {
        name: "work".into(),
        mount_path: "/work".into(),
        ..VolumeMount::default()
    };
    job.spec.init_containers[0]
        .volume_mounts
        .push(mount.clone());
    job.spec.containers[0].volume_mounts.push(mount);
    bed.api.put(job);
    let job = bed.until("job", |s| s.phase == "Succeeded").await;
    let done = &job.status.init_container_statuses[0];
    assert!(done.ready && done.state.terminated.is_some());
    assert!(
        job.status.init_container_statuses[1]
            .state
            .terminated
            .is_some(),
        "the sidecar is still there"
    );
    let (_, log) = bed.get("/containerLogs/default/job/main").await;
    assert_eq!(log, "made\n");
    bed.end().await;
}

pub async fn configuration() {
    let bed = Bed::new("config").await;
    let mut web = pod("web", &[("main", "trap 'exit 0' TERM; sleep 1000 & wait")]);
    let mut from = EnvFromSource::default();
    let mut source = ConfigMapEnvSource::default();
    source.local_object_reference.name = "config".into();
    from.config_map_ref = Some(Box::new(source));
    web.spec.containers[0].env_from.push(from);
    bed.api.put(web);
    let held = bed
        .until("web", |s| {
            s.container_statuses.first().is_some_and(|c| {
                c.state
                    .waiting
                    .as_ref()
                    .is_some_and(|w| w.reason == "CreateContainerConfigError")
            })
        })
        .await;
    let waiting = held.status.container_statuses[0]
        .state
        .waiting
        .as_ref()
        .unwrap();
    assert_eq!(waiting.message, "configmap \"config\" not found");
    bed.api.put(config("red"));
    bed.until("web", ready).await;
    bed.end().await;
}

fn exec(script: &str) -> Probe {
    let command = ["sh", "-c", script]
        .into_iter()
        .map(corten_core::Str::from)
        .collect();
    let mut probe = Probe {
        period_seconds: 1,
        timeout_seconds: 5,
        failure_threshold: 1,
        ..Probe::default()
    };
    probe.probe_handler.exec = Some(Box::new(ExecAction { command }));
    probe
}

pub async fn probes() {
    let bed = Bed::new("probes").await;
    let mut web = pod(
        "web",
        &[(
            "main",
            "touch /tmp/up; sleep 2; trap 'exit 0' TERM; touch /tmp/ready; sleep 1000 & wait",
        )],
    );
    web.spec.containers[0].readiness_probe = Some(Box::new(exec("test -e /tmp/ready")));
    web.spec.containers[0].startup_probe = Some(Box::new(exec("test -e /tmp/up")));
    bed.api.put(web);
    let mut sick = pod("sick", &[("main", "trap 'exit 0' TERM; sleep 1000 & wait")]);
    sick.spec.containers[0].liveness_probe = Some(Box::new(exec("echo ill; exit 1")));
    bed.api.put(sick);
    bed.until("web", ready).await;
    bed.until("sick", |s| {
        s.container_statuses
            .first()
            .is_some_and(|c| c.restart_count > 0)
    })
    .await;
    let events = bed.api.list::<Event>();
    let told = |reason: &str, text: &str| {
        events
            .iter()
            .any(|e| e.reason == reason && e.message.contains(text))
    };
    assert!(told("Unhealthy", "Liveness probe failed: ill"));
    assert!(told(
        "Killing",
        "Container main failed liveness probe, will be restarted"
    ));
    assert!(told("Unhealthy", "Readiness probe failed: "));
    bed.end().await;
}

pub async fn adopts() {
    let mut bed = Bed::new("adopt").await;
    bed.run("web", "trap 'exit 0' TERM; sleep 1000 & wait");
    let before = bed.until("web", ready).await;
    bed.kubelet = None;
    bed.run("new", "trap 'exit 0' TERM; sleep 1000 & wait");
    bed.start().await;
    bed.until("new", ready).await;
    let after = bed.until("web", ready).await;
    let id =
        |pod: &corten_api::core::v1::Pod| pod.status.container_statuses[0].container_id.clone();
    assert_eq!(id(&before), id(&after));
    assert_eq!(after.status.container_statuses[0].restart_count, 0);
    bed.end().await;
}

pub async fn manifests() {
    let bed = Bed::new("manifests").await;
    let file = bed.directory.path().join("manifests/web.yaml");
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  terminationGracePeriodSeconds: 2\n  \
         containers:\n  - {{name: main, image: {IMAGE}, command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]}}\n"
    );
    std::fs::write(&file, manifest).unwrap();
    let web = bed.until("web-node", ready).await;
    let annotation = |name: &str| web.metadata.annotation(name).to_owned();
    assert_eq!(annotation("kubernetes.io/config.source"), "file");
    assert_eq!(
        annotation("kubernetes.io/config.mirror"),
        annotation("kubernetes.io/config.hash")
    );
    std::fs::remove_file(&file).unwrap();
    bed.until_gone("web-node").await;
    bed.until_clean().await;
    bed.end().await;
}

pub async fn refused_logs() {
    let bed = Bed::new("logs").await;
    let mut web = pod("web", &[("main", "true")]);
    web.spec.containers[0].image_pull_policy = "Never".into();
    web.spec.containers[0].image = "corten.test/none:1".into();
    bed.api.put(web);
    let held = |s: &corten_api::core::v1::PodStatus| {
        s.container_statuses.first().is_some_and(|c| {
            c.state
                .waiting
                .as_ref()
                .is_some_and(|w| w.reason == "ErrImageNeverPull")
        })
    };
    bed.until("web", held).await;
    let (code, text) = bed.get("/containerLogs/default/web/main").await;
    assert_eq!(code, 400);
    assert!(
        text.contains("is waiting to start: ErrImageNeverPull")
            && text.contains("\"reason\":\"BadRequest\""),
        "{text}"
    );
    bed.end().await;
}
