//! The labels and annotations by which a container is recognised after a restart of the agent.

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Where the termination message is on the node.
pub(crate) const TERMINATION_FILE: &str = "io.kubernetes.container.terminationMessageFile";
pub(crate) const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The pod's addresses, comma separated, on a sandbox.
pub(crate) const HOST_NETWORK: &str = "io.kubernetes.pod.hostNetwork";
