//! What pods, Services and controllers do, seen from outside: probes, rollouts under load, name
//! resolution, volumes, hooks, exit codes, garbage collection. Uses kubectl and plain HTTP only.

mod autoscaling;
mod collections;
mod containers;
mod demo;
mod network;
mod probes;
mod traces;

use std::process::ExitCode;

use corten_tests::{Options, run};

fn main() -> ExitCode {
    let options = Options {
        name: "workloads",
        images: &[
            "busybox",
            "agnhost",
            "guestbook-web",
            "guestbook-web-2",
            "guestbook-counter",
        ],
    };
    run(
        options,
        vec![
            ("pod_life_trace", traces::pod_life),
            (
                "rolling_update_loses_no_request",
                demo::rolling_update_loses_no_request,
            ),
            ("failing_readiness_removes_the_endpoint", probes::readiness),
            ("failing_liveness_restarts", probes::liveness),
            ("probes_of_every_kind", probes::every_kind),
            ("startup_probe_holds_the_others_back", probes::startup),
            ("cluster_ip_and_names", network::cluster_ip_and_names),
            ("node_port", network::node_port),
            (
                "headless_and_external_name",
                network::headless_and_external_name,
            ),
            ("session_affinity", network::session_affinity),
            ("udp_service", network::udp_service),
            ("service_ranges", network::service_ranges),
            (
                "service_addresses_are_repaired",
                network::service_addresses_are_repaired,
            ),
            (
                "deleting_a_namespace_empties_it",
                collections::namespace_deletion,
            ),
            ("horizontal_autoscaling", autoscaling::horizontal),
            ("jobs", collections::jobs),
            ("daemonset", collections::daemonset),
            ("owners_and_orphans", collections::owners_and_orphans),
            (
                "environment_and_volumes",
                containers::environment_and_volumes,
            ),
            (
                "init_and_sidecar_containers",
                containers::init_and_sidecar_containers,
            ),
            ("exit_codes_and_oom", containers::exit_codes_and_oom),
            ("hooks_and_grace", containers::hooks_and_grace),
            ("security_context", containers::security_context),
            (
                "shared_process_namespace",
                containers::shared_process_namespace,
            ),
            ("back_off", containers::back_off),
        ],
    )
}
