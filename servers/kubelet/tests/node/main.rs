//! Real pods on a real runtime, with an API server in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod bed;
mod pods;
mod resizes;
mod sessions;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("shim") {
        corten_runtime::shim_main(args);
    }
    let trials = vec![
        trial("a_pod_runs_and_goes", pods::runs_and_goes),
        trial("a_failing_container_backs_off", pods::backs_off),
        trial("init_containers_come_first", pods::inits_first),
        trial("configuration_is_waited_for", pods::configuration),
        trial("probes_decide", pods::probes),
        trial("a_restarted_agent_adopts", pods::adopts),
        trial("manifests_run_as_pods", pods::manifests),
        trial("refused_logs_say_why", pods::refused_logs),
        trial("commands_run_in_containers", sessions::exec),
        trial("a_pod_is_resized_in_place", resizes::in_place),
        trial("a_resize_without_room_waits", resizes::waits),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial<F>(name: &'static str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build();
        let runtime = runtime.map_err(|e| Failed::from(e.to_string()))?;
        runtime.block_on(test());
        Ok(())
    })
}
