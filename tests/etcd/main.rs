//! The etcd face beside upstream's etcd: the same requests to both, equal answers; upstream's kube-apiserver on the
//! face; histories of concurrent clients of `corten store serve` through kill -9. Needs `cargo xtask tools etcd kube-apiserver kubectl`.

mod bad_input;
mod checker;
mod cluster;
mod compaction;
mod ctl;
mod differential;
mod history;
mod kube;
mod middle;
mod migrate;
mod network;
mod ours;
mod partitions;
mod process;
mod requests;
mod secure;
mod serve;
mod shared;

use anyhow::Result;
use corten_tests::run_each;
use std::process::ExitCode;

/// A test's name, and what it runs.
type Test = (&'static str, fn() -> Result<()>);

fn main() -> ExitCode {
    run_each([face(), backend(), copies()].concat())
}

/// `corten store serve` in place of etcd.
fn face() -> Vec<Test> {
    vec![
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
        ("etcdctl_is_answered", ctl::etcdctl_is_answered),
        (
            "histories_are_linearizable_through_kill_9",
            history::histories_are_linearizable_through_kill_9,
        ),
        (
            "histories_of_the_face_are_linearizable_through_partitions",
            partitions::histories_of_the_face_are_linearizable_through_partitions,
        ),
    ]
}

/// API servers on an etcd.
fn backend() -> Vec<Test> {
    vec![
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
            "wrong_requests_are_refused",
            bad_input::wrong_requests_are_refused,
        ),
        (
            "a_client_that_stops_reading_stops_nobody",
            bad_input::a_client_that_stops_reading_stops_nobody,
        ),
        (
            "a_hundred_thousand_watches_come_and_go",
            bad_input::a_hundred_thousand_watches_come_and_go,
        ),
        (
            "three_servers_start_on_one_empty_etcd",
            compaction::three_servers_start_on_one_empty_etcd,
        ),
        (
            "lists_go_on_at_another_server",
            compaction::lists_go_on_at_another_server,
        ),
        (
            "servers_compact_together",
            compaction::servers_compact_together,
        ),
        (
            "a_secured_cluster_is_shared_with_upstreams_server",
            secure::a_secured_cluster_is_shared_with_upstreams_server,
        ),
        (
            "leaders_and_majorities_come_and_go",
            cluster::leaders_and_majorities_come_and_go,
        ),
        (
            "refused_requests_are_sent_again",
            middle::refused_requests_are_sent_again,
        ),
        (
            "connections_are_made_again",
            middle::connections_are_made_again,
        ),
        (
            "histories_over_http_are_linearizable_through_partitions",
            partitions::histories_over_http_are_linearizable_through_partitions,
        ),
    ]
}

/// `corten store migrate`.
fn copies() -> Vec<Test> {
    vec![
        (
            "states_are_copied_there_and_back",
            migrate::states_are_copied_there_and_back,
        ),
        (
            "a_killed_copy_is_begun_again",
            migrate::a_killed_copy_is_begun_again,
        ),
    ]
}
