//! The etcd face beside upstream's etcd: the same requests to both, equal answers; upstream's kube-apiserver on the
//! face; histories of concurrent clients of `corten store serve` through kill -9. Needs `cargo xtask tools etcd kube-apiserver kubectl`.

mod checker;
mod differential;
mod history;
mod kube;
mod process;
mod requests;
mod serve;
mod shared;

use corten_tests::run_each;
use std::process::ExitCode;

fn main() -> ExitCode {
    run_each(vec![
        (
            "known_bad_histories_are_refused",
            checker::known_bad_histories_are_refused,
        ),
        (
            "answers_equal_upstreams",
            differential::answers_equal_upstreams,
        ),
        (
            "watches_equal_upstreams",
            differential::watches_equal_upstreams,
        ),
        (
            "leases_equal_upstreams",
            differential::leases_equal_upstreams,
        ),
        (
            "the_gateway_equals_upstreams",
            differential::the_gateway_equals_upstreams,
        ),
        (
            "kube_apiserver_runs_on_the_face",
            kube::kube_apiserver_runs_on_the_face,
        ),
        (
            "a_stopped_store_is_served_again",
            serve::a_stopped_store_is_served_again,
        ),
        (
            "only_clients_of_named_authorities_come_in",
            serve::only_clients_of_named_authorities_come_in,
        ),
        (
            "servers_on_one_etcd_read_each_others_writes",
            shared::servers_on_one_etcd_read_each_others_writes,
        ),
        (
            "upstreams_server_runs_beside_ours_on_etcd",
            shared::upstreams_server_runs_beside_ours_on_etcd,
        ),
        (
            "upstreams_server_runs_beside_ours_on_the_face",
            shared::upstreams_server_runs_beside_ours_on_the_face,
        ),
        (
            "a_compaction_while_away_is_survived",
            shared::a_compaction_while_away_is_survived,
        ),
        ("a_lost_etcd_is_survived", shared::a_lost_etcd_is_survived),
        (
            "histories_are_linearizable_through_kill_9",
            history::histories_are_linearizable_through_kill_9,
        ),
    ])
}
