//! What the tests execute: the shim, and an agent that can be killed. Also prints what a container's life costs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use corten_runtime::{
    ContainerConfig, CoreOptions, CoreRuntime, DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS, Event,
    Runtime, SandboxConfig, SandboxId, SeccompProfile, shim_main,
};

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("shim") => shim_main(args),
        Some("agent") => agent(args.collect()),
        Some("bench") => bench(args.collect()),
        other => panic!("unknown role {other:?}"),
    }
}

/// Runs one pod with one container (configurations as JSON), prints their ids, and waits to be killed.
fn agent(args: Vec<String>) {
    let [root, run, cgroup, sandbox, container] = args.as_slice() else {
        panic!("wrong arguments")
    };
    let options = CoreOptions {
        root: PathBuf::from(root),
        run: PathBuf::from(run),
        cgroup_parent: cgroup.clone(),
        shim: (
            std::env::current_exe().expect("own path"),
            vec!["shim".to_owned()],
        ),
    };
    let sandbox: SandboxConfig = serde_json::from_str(sandbox).expect("sandbox");
    let container: ContainerConfig = serde_json::from_str(container).expect("container");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("tokio");
    tokio.block_on(async {
        let runtime = CoreRuntime::open(options).await.expect("open");
        let sandbox = runtime.run_pod_sandbox(sandbox).await.expect("sandbox");
        let container = runtime
            .create_container(&sandbox, container)
            .await
            .expect("create");
        runtime.start_container(&container).await.expect("start");
        println!("{sandbox} {container}");
        std::future::pending::<()>().await;
    });
}

/// Lives of one container after another: wall and CPU time of the agent, its shim and the containers.
fn bench(args: Vec<String>) {
    let [root, run, cgroup, layer, count] = args.as_slice() else {
        panic!("wrong arguments")
    };
    let options = CoreOptions {
        root: PathBuf::from(root),
        run: PathBuf::from(run),
        cgroup_parent: cgroup.clone(),
        shim: (
            std::env::current_exe().expect("own path"),
            vec!["shim".to_owned()],
        ),
    };
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("tokio");
    tokio.block_on(async {
        let runtime = CoreRuntime::open(options).await.expect("open");
        let begin = Instant::now();
        let config = SandboxConfig {
            cgroup: "burstable/podbench".into(),
            ..SandboxConfig::default()
        };
        let sandbox = runtime.run_pod_sandbox(config).await.expect("sandbox");
        println!("sandbox {:?}", begin.elapsed());
        let mut lives = Vec::new();
        for _ in 0..count.parse::<u32>().expect("count") {
            lives.push(life(&runtime, &sandbox, layer).await);
        }
        for step in 0..5 {
            let mut times: Vec<Duration> = lives.iter().map(|life| life[step]).collect();
            times.sort();
            let name = ["create", "start", "end", "remove", "whole"][step];
            println!(
                "{name:>8} median {:?} best {:?}",
                times[times.len() / 2],
                times[0]
            );
        }
        let shim = runtime
            .pod_sandbox_status(&sandbox)
            .await
            .expect("status")
            .shim_pid
            .expect("shim");
        for file in ["smaps_rollup", "stat"] {
            println!(
                "{}",
                std::fs::read_to_string(format!("/proc/{shim}/{file}")).expect("proc")
            );
        }
        println!(
            "agent {}",
            std::fs::read_to_string("/proc/self/stat").expect("proc")
        );
        let begin = Instant::now();
        runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
        println!("remove sandbox {:?}", begin.elapsed());
        runtime.release().await.expect("release");
    });
}

async fn life(runtime: &CoreRuntime, sandbox: &SandboxId, layer: &str) -> [Duration; 5] {
    let mut config = ContainerConfig {
        name: "bench".into(),
        ..ContainerConfig::default()
    };
    config.image.layers = vec![PathBuf::from(layer)];
    config.command = vec!["/bin/true".into()];
    let list = |paths: &[&str]| paths.iter().map(ToString::to_string).collect();
    config.security.masked_paths = list(DEFAULT_MASKED_PATHS);
    config.security.readonly_paths = list(DEFAULT_READONLY_PATHS);
    config.security.seccomp = SeccompProfile::RuntimeDefault;
    config.resources.memory_limit = Some(100 << 20);
    config.resources.cpu_shares = Some(100);
    config.log_path = Some(PathBuf::from(layer).with_extension("log"));
    let mut events = runtime.subscribe();
    let mut marks = vec![Instant::now()];
    let container = runtime
        .create_container(sandbox, config)
        .await
        .expect("create");
    marks.push(Instant::now());
    runtime.start_container(&container).await.expect("start");
    marks.push(Instant::now());
    while !matches!(events.next().await, Some(Event::ContainerExited { .. })) {}
    marks.push(Instant::now());
    runtime.remove_container(&container).await.expect("remove");
    marks.push(Instant::now());
    let step = |n: usize| marks[n + 1] - marks[n];
    [step(0), step(1), step(2), step(3), marks[4] - marks[0]]
}
