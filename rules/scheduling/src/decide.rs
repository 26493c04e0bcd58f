//! One decision: filter every node, score what is left, and look for room to be made when nothing is.

use crate::cluster::{Cluster, NodeInfo};
use crate::filters::{self, Refusal};
use crate::pod::PodView;
use crate::preempt::{self, Preemption};
use crate::scores;
use corten_core::Str;
use corten_meta::ObjectKey;
use std::collections::BTreeMap;

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// To this node.
    Bind {
        /// The node's name.
        node: Str,
        /// How many nodes were possible.
        feasible: usize,
    },
    /// Nowhere now.
    Unschedulable(Unschedulable),
}

/// Why a pod cannot run now, and what would make room for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unschedulable {
    /// Upstream's message, for the event and the condition.
    pub message: String,
    /// The node on which room is being made.
    pub nominated: Option<Str>,
    /// The pods that go for it.
    pub victims: Vec<ObjectKey>,
}

/// Decides for `pod`. Among equally good nodes `seed` picks one.
pub fn schedule(
    cluster: &Cluster,
    pod: &PodView,
    budgets: &preempt::Budgets,
    seed: u64,
) -> Decision {
    let mut feasible: Vec<(&Str, &NodeInfo)> = Vec::new();
    let mut refused: BTreeMap<&Str, Vec<Refusal>> = BTreeMap::new();
    for (name, node) in cluster.nodes() {
        let refusals = filters::refusals(pod, node);
        match refusals.is_empty() {
            true => feasible.push((name, node)),
            false => {
                refused.insert(name, refusals);
            }
        }
    }
    if let Some(node) = best(cluster, pod, &feasible, seed) {
        return Decision::Bind {
            node,
            feasible: feasible.len(),
        };
    }
    Decision::Unschedulable(unschedulable(cluster, pod, budgets, &refused))
}

fn best(
    cluster: &Cluster,
    pod: &PodView,
    feasible: &[(&Str, &NodeInfo)],
    seed: u64,
) -> Option<Str> {
    if let [(only, _)] = feasible {
        return Some((*only).clone());
    }
    let nodes: Vec<&NodeInfo> = feasible.iter().map(|(_, node)| *node).collect();
    let totals = scores::totals(cluster, pod, &nodes);
    let highest = totals.iter().copied().max()?;
    let ties: Vec<&Str> = feasible
        .iter()
        .zip(&totals)
        .filter(|(_, total)| **total == highest)
        .map(|((name, _), _)| *name)
        .collect();
    ties.get((seed % ties.len() as u64) as usize)
        .map(|name| (*name).clone())
}

fn unschedulable(
    cluster: &Cluster,
    pod: &PodView,
    budgets: &preempt::Budgets,
    refused: &BTreeMap<&Str, Vec<Refusal>>,
) -> Unschedulable {
    let total = refused.len();
    if total == 0 {
        return Unschedulable {
            message: "no nodes available to schedule pods".to_owned(),
            ..Default::default()
        };
    }
    let reasons = refused
        .values()
        .flatten()
        .map(|refusal| refusal.reason.as_str());
    let why = count(total, reasons);
    match preempt::preempt(cluster, pod, budgets, refused) {
        Preemption::Found { node, victims } => Unschedulable {
            message: why,
            nominated: Some(node),
            victims,
        },
        Preemption::Nothing(reasons) => {
            let preemption = count(total, reasons.iter().map(String::as_str));
            Unschedulable {
                message: format!("{why} preemption: {preemption}"),
                ..Default::default()
            }
        }
        Preemption::NotEligible(reason) => Unschedulable {
            message: format!("{why} preemption: {reason}"),
            ..Default::default()
        },
    }
}

/// `0/3 nodes are available: 1 this, 2 that.`
fn count<'a>(total: usize, reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    match parts.is_empty() {
        true => format!("0/{total} nodes are available."),
        false => format!("0/{total} nodes are available: {}.", parts.join(", ")),
    }
}
