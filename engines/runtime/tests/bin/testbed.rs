//! What the tests execute: the shim, and an agent that can be killed.

use std::path::PathBuf;

use corten_runtime::{
    ContainerConfig, CoreOptions, CoreRuntime, Runtime, SandboxConfig, shim_main,
};

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("shim") => shim_main(args),
        Some("agent") => agent(args.collect()),
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
