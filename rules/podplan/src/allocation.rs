//! What a node has granted a pod, which may differ from what its spec asks for by now.
//!
//! Invariant: a pod is planned with what it was granted; the spec of the API comes in through a grant only.

use crate::policy::spec_containers;
use corten_api::core::v1::{Container, Pod, PodSpec, PodStatus, ResourceRequirements};
use corten_core::{Str, semantic_eq};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The resources of a pod and of its containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    /// Of the pod as a whole, if it has any of its own.
    pub pod: Option<Box<ResourceRequirements>>,
    /// Of its init containers and containers, by name.
    pub containers: BTreeMap<Str, ResourceRequirements>,
}

fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    semantic_eq(a, b)
}

impl Allocation {
    /// What a spec asks for.
    pub fn of(spec: &PodSpec) -> Allocation {
        Allocation {
            pod: spec.resources.clone(),
            containers: spec_containers(spec)
                .map(|c| (c.name.clone(), c.resources.clone()))
                .collect(),
        }
    }

    /// What a status says the running containers have.
    pub fn reported(status: &PodStatus) -> Allocation {
        let all = status
            .init_container_statuses
            .iter()
            .chain(status.container_statuses.iter());
        let running = all.filter(|s| s.state.running.is_some());
        Allocation {
            pod: None,
            containers: running
                .filter_map(|s| Some((s.name.clone(), s.resources.as_deref()?.clone())))
                .collect(),
        }
    }

    /// Whether a spec asks for just this.
    pub fn covers(&self, spec: &PodSpec) -> bool {
        let whole = match (&self.pod, &spec.resources) {
            (Some(own), Some(asked)) => same(own, asked),
            (own, asked) => own.is_none() && asked.is_none(),
        };
        whole && spec_containers(spec).all(|c| self.agrees(c))
    }

    fn agrees(&self, container: &Container) -> bool {
        let own = self.containers.get(&container.name);
        own.is_none_or(|own| same(own, &container.resources))
    }

    /// The pod with these resources in place of those of its spec.
    pub fn overlay(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.covers(&pod.spec) {
            return pod.clone();
        }
        let mut pod = (**pod).clone();
        pod.spec.resources = self.pod.clone();
        self.overlay_containers(&mut pod.spec);
        Arc::new(pod)
    }

    /// Puts the resources of containers that are named here in place of those of a spec.
    pub fn overlay_containers(&self, spec: &mut PodSpec) {
        let all = spec
            .init_containers
            .iter_mut()
            .chain(spec.containers.iter_mut());
        for container in all {
            if let Some(own) = self.containers.get(&container.name) {
                container.resources = own.clone();
            }
        }
    }
}
