//! Preemption: less important pods make room for a more important one, as few and as unimportant as possible.
//!
//! Invariant: only pods of lower priority go, and only if the pod fits afterwards. Budgets are respected where there
//! is a choice, as upstream does; they do not stop a preemption.

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::filters::{self, Refusal};
use crate::pod::PodView;
use corten_api::core::v1::Pod;
use corten_api::policy::v1::PodDisruptionBudget;
use corten_core::Str;
use corten_meta::{ObjectKey, Selector, Snapshot};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How many more disruptions each budget allows.
#[derive(Debug, Default)]
pub struct Budgets(Vec<(Str, Selector, i32)>);

impl Budgets {
    /// The budgets of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Budgets {
        let budgets = snapshot.list::<PodDisruptionBudget>().filter_map(|budget| {
            let selector = Selector::from_label_selector(budget.spec.selector.as_deref()).ok()?;
            Some((
                budget.metadata.namespace.clone(),
                selector,
                budget.status.disruptions_allowed,
            ))
        });
        Budgets(budgets.collect())
    }

    /// How many of the pods would go against a budget.
    fn violations(&self, pods: &[&PodInfo]) -> usize {
        let mut allowed: Vec<i32> = self.0.iter().map(|(_, _, allowed)| *allowed).collect();
        let violates = |pod: &&&PodInfo| {
            let meta = &pod.pod().metadata;
            let mut violated = false;
            for ((namespace, selector, _), allowed) in self.0.iter().zip(&mut allowed) {
                if meta.namespace == *namespace && selector.matches(&meta.labels) {
                    *allowed -= 1;
                    violated |= *allowed < 0;
                }
            }
            violated
        };
        pods.iter().filter(violates).count()
    }
}

/// What preemption found.
#[derive(Debug)]
pub(crate) enum Preemption {
    /// Room can be made on a node.
    Found { node: Str, victims: Vec<ObjectKey> },
    /// It cannot: one reason for each node.
    Nothing(Vec<String>),
    /// This pod does not preempt.
    NotEligible(String),
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

fn priority(pod: &Pod) -> i32 {
    pod.spec.priority.unwrap_or(0)
}

/// Looks for the node on which making room costs least.
pub(crate) fn preempt(
    cluster: &Cluster,
    pod: &PodView,
    budgets: &Budgets,
    refused: &BTreeMap<&Str, Vec<Refusal>>,
) -> Preemption {
    if pod
        .pod
        .spec
        .preemption_policy
        .as_ref()
        .is_some_and(|p| p == "Never")
    {
        return Preemption::NotEligible("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if victims_are_leaving(cluster, pod) {
        return Preemption::NotEligible(
            "not eligible due to a terminating pod on the nominated node.".to_owned(),
        );
    }
    let mut reasons = Vec::new();
    let mut candidates: Vec<(&Str, Vec<&PodInfo>)> = Vec::new();
    for (name, refusals) in refused {
        if !refusals.iter().all(|refusal| refusal.preemptible) {
            reasons.push(NOT_HELPFUL.to_owned());
            continue;
        }
        match cluster
            .node(name)
            .and_then(|node| victims(pod, node, budgets))
        {
            Some(victims) => candidates.push((name, victims)),
            None => reasons.push(NO_VICTIMS.to_owned()),
        }
    }
    let best = candidates
        .into_iter()
        .min_by_key(|(name, victims)| cost(name, victims, budgets));
    match best {
        Some((node, victims)) => {
            let key = |p: &&PodInfo| {
                ObjectKey::new(
                    p.pod().metadata.namespace.clone(),
                    p.pod().metadata.name.clone(),
                )
            };
            Preemption::Found {
                node: node.clone(),
                victims: victims.iter().map(key).collect(),
            }
        }
        None => Preemption::Nothing(reasons),
    }
}

/// Room is being made already: wait for it instead of making more.
fn victims_are_leaving(cluster: &Cluster, pod: &PodView) -> bool {
    let nominated = &pod.pod.status.nominated_node_name;
    let leaving = |p: &PodInfo| {
        p.pod().metadata.deletion_timestamp.is_some() && priority(p.pod()) < pod.priority
    };
    cluster
        .node(nominated)
        .is_some_and(|node| node.pods.values().any(leaving))
}

/// Violated budgets, the highest priority lost, the sum of priorities, the number of pods, then the latest start of
/// the most important ones; the name breaks ties.
fn cost<'a>(
    name: &'a Str,
    victims: &[&PodInfo],
    budgets: &Budgets,
) -> (usize, i32, i64, usize, Reverse<i64>, &'a Str) {
    let highest = victims
        .iter()
        .map(|p| priority(p.pod()))
        .max()
        .unwrap_or(i32::MIN);
    let sum = victims
        .iter()
        .map(|p| i64::from(priority(p.pod())) - i64::from(i32::MIN))
        .sum();
    let important = victims.iter().filter(|p| priority(p.pod()) == highest);
    let started = important
        .filter_map(|p| p.pod().status.start_time)
        .map(|t| t.unix())
        .min()
        .unwrap_or(i64::MAX);
    (
        budgets.violations(victims),
        highest,
        sum,
        victims.len(),
        Reverse(started),
        name,
    )
}

/// The fewest pods that must leave `node`; nothing when even all of lower priority would not do.
fn victims<'a>(pod: &PodView, node: &'a NodeInfo, budgets: &Budgets) -> Option<Vec<&'a PodInfo>> {
    let mut room = node.clone();
    let mut lower: Vec<&PodInfo> = node
        .pods
        .values()
        .filter(|p| priority(p.pod()) < pod.priority)
        .collect();
    if lower.is_empty() {
        return None;
    }
    let key = |p: &PodInfo| {
        ObjectKey::new(
            p.pod().metadata.namespace.clone(),
            p.pod().metadata.name.clone(),
        )
    };
    for victim in &lower {
        room.remove(&key(victim));
    }
    if !filters::refusals(pod, &room).is_empty() {
        return None;
    }
    // The most important ones, and of those the ones that have run longest, may stay first; pods whose budget is
    // exhausted before others.
    let violates = |p: &&PodInfo| budgets.violations(&[p]) > 0;
    lower.sort_by_key(|p| {
        let started = p.pod().status.start_time.map_or(i64::MAX, |t| t.unix());
        (Reverse(violates(p)), Reverse(priority(p.pod())), started)
    });
    let mut victims = Vec::new();
    for candidate in lower {
        room.add(key(candidate), candidate.clone());
        if !filters::refusals(pod, &room).is_empty() {
            room.remove(&key(candidate));
            victims.push(candidate);
        }
    }
    Some(victims)
}
