//! Real kubectl, verb by verb, over one cluster; each test works in a namespace of its own.
//! Verbs that concern nodes are in the test program `nodes`.

mod objects;
mod rollouts;
mod streams;

use std::process::ExitCode;

use corten_tests::{Options, run};

fn main() -> ExitCode {
    let options = Options {
        name: "kubectl",
        images: &["busybox", "agnhost"],
    };
    run(
        options,
        vec![
            ("create", objects::create),
            ("apply", objects::apply),
            ("apply_server_side", objects::apply_server_side),
            ("diff", objects::diff),
            ("edit", objects::edit),
            ("patch", objects::patch),
            ("get_wide_yaml_jsonpath", objects::get_wide_yaml_jsonpath),
            ("explain", objects::explain),
            ("label_and_annotate", objects::label_and_annotate),
            ("delete_and_wait", objects::delete_and_wait),
            ("auth_can_i", objects::auth_can_i),
            ("api_resources", objects::api_resources),
            ("autoscale", objects::autoscale),
            ("errors_are_upstreams", objects::errors_are_upstreams),
            (
                "bad_manifests_are_refused",
                objects::bad_manifests_are_refused,
            ),
            ("scale", rollouts::scale),
            (
                "rollout_status_history_undo",
                rollouts::rollout_status_history_undo,
            ),
            ("set_image", rollouts::set_image),
            ("expose_and_get_all", rollouts::expose_and_get_all),
            ("describe", streams::describe),
            ("logs_follow", streams::logs_follow),
            (
                "logs_previous_tail_timestamps",
                streams::logs_previous_tail_timestamps,
            ),
            ("exec", streams::exec),
            ("exec_terminal", streams::exec_terminal),
            ("cp", streams::cp),
            ("attach", streams::attach),
            ("port_forward", streams::port_forward),
            ("run_with_input", streams::run_with_input),
        ],
    )
}
