//! NodePorts: a host port is taken by one pod of a node.

use super::Refusal;
use crate::cluster::NodeInfo;
use crate::pod::PodView;

pub(super) fn filter(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    let taken = |wanted| node.ports().any(|port| port.collides(wanted));
    match pod.ports.iter().any(taken) {
        true => vec![Refusal::passing(
            "node(s) didn't have free ports for the requested pod ports",
        )],
        false => Vec::new(),
    }
}
