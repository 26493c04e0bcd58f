//! A pod (or pod template) as the checks see it, and how they word what is wrong.

use corten_api::core::v1::{
    ContainerPort, Lifecycle, PodSecurityContext, PodSpec, Probe, SecurityContext,
};
use corten_core::{Map, Str};
use std::collections::BTreeSet;

/// What is checked.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub annotations: &'a Map<Str>,
    pub spec: &'a PodSpec,
}

/// What a check found: a reason, and details in brackets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

/// What containers of all sorts have in common.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub name: &'a str,
    pub security: Option<&'a SecurityContext>,
    pub ports: &'a [ContainerPort],
    pub probes: [Option<&'a Probe>; 3],
    pub lifecycle: Option<&'a Lifecycle>,
}

macro_rules! view {
    ($container:expr) => {
        View {
            name: &$container.name,
            security: $container.security_context.as_deref(),
            ports: &$container.ports,
            probes: [
                $container.liveness_probe.as_deref(),
                $container.readiness_probe.as_deref(),
                $container.startup_probe.as_deref(),
            ],
            lifecycle: $container.lifecycle.as_deref(),
        }
    };
}

impl<'a> Subject<'a> {
    /// Init containers, containers and ephemeral containers.
    pub(super) fn containers(self) -> impl Iterator<Item = View<'a>> {
        let init = self.spec.init_containers.iter().map(|c| view!(c));
        let regular = self.spec.containers.iter().map(|c| view!(c));
        let ephemeral = self.spec.ephemeral_containers.iter();
        let ephemeral = ephemeral.map(|c| view!(c.ephemeral_container_common));
        init.chain(regular).chain(ephemeral)
    }

    /// Names of the containers whose security context fits.
    pub(super) fn named(self, fits: impl Fn(&SecurityContext) -> bool) -> Vec<&'a str> {
        let fitting = self.containers().filter(|c| c.security.is_some_and(&fits));
        fitting.map(|c| c.name).collect()
    }

    /// The pod's own security context.
    pub(super) fn own(self) -> Option<&'a PodSecurityContext> {
        self.spec.security_context.as_deref()
    }

    pub(super) fn is_windows(self) -> bool {
        self.spec
            .os
            .as_deref()
            .is_some_and(|os| os.name == "windows")
    }

    /// Whether root in the pod is nobody on the host.
    pub(super) fn has_own_users(self) -> bool {
        self.spec.host_users == Some(false)
    }
}

pub(super) fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation {
        reason: reason.to_owned(),
        detail,
    })
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<T> = items.into_iter().collect();
    let texts: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match texts.is_empty() {
        true => String::new(),
        false => format!("\"{}\"", texts.join("\", \"")),
    }
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn containers_text(names: &[&str]) -> String {
    let word = plural("container", "containers", names.len());
    format!("{word} {}", quoted(names))
}

/// `pod`, `container "a"`, or both.
pub(super) fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let mut found = Vec::new();
    if pod {
        found.push("pod".to_owned());
    }
    if !containers.is_empty() {
        found.push(containers_text(containers));
    }
    (!found.is_empty()).then(|| found.join(" and "))
}

/// Names and values that checks collect in order.
pub(super) type Values<'a> = BTreeSet<&'a str>;
