//! Who the parts of a cluster are: the user name and group each presents in its client certificate.

/// A client identity that upstream's bootstrap policy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `kubernetes-admin` in `kubeadm:cluster-admins`: an administrator bound by RBAC.
    Admin,
    /// `kubernetes-super-admin` in `system:masters`: past RBAC.
    SuperAdmin,
    /// `system:kube-scheduler`.
    Scheduler,
    /// `system:kube-controller-manager`.
    ControllerManager,
    /// `system:kube-proxy`.
    Proxy,
    /// `system:node:<name>` in `system:nodes`.
    Node(String),
    /// `kube-apiserver-kubelet-client`: how the API server calls kubelets.
    KubeletClient,
    /// `front-proxy-client`: how the API server calls aggregated API servers.
    FrontProxyClient,
}

impl Identity {
    /// The user name (the certificate's common name).
    pub fn user(&self) -> String {
        match self {
            Identity::Admin => "kubernetes-admin".into(),
            Identity::SuperAdmin => "kubernetes-super-admin".into(),
            Identity::Scheduler => "system:kube-scheduler".into(),
            Identity::ControllerManager => "system:kube-controller-manager".into(),
            Identity::Proxy => "system:kube-proxy".into(),
            Identity::Node(name) => format!("system:node:{name}"),
            Identity::KubeletClient => "kube-apiserver-kubelet-client".into(),
            Identity::FrontProxyClient => "front-proxy-client".into(),
        }
    }

    /// The group (the certificate's organization), if any.
    pub fn group(&self) -> Option<&'static str> {
        match self {
            Identity::Admin | Identity::KubeletClient => Some("kubeadm:cluster-admins"),
            Identity::SuperAdmin => Some("system:masters"),
            Identity::Node(_) => Some("system:nodes"),
            Identity::Proxy => Some("system:node-proxier"),
            _ => None,
        }
    }

    /// The file stem its pair is kept under, e.g. `scheduler`.
    pub fn file_stem(&self) -> String {
        match self {
            Identity::Admin => "admin".into(),
            Identity::SuperAdmin => "super-admin".into(),
            Identity::Scheduler => "scheduler".into(),
            Identity::ControllerManager => "controller-manager".into(),
            Identity::Proxy => "proxy".into(),
            Identity::Node(name) => format!("node-{name}"),
            Identity::KubeletClient => "apiserver-kubelet-client".into(),
            Identity::FrontProxyClient => "front-proxy-client".into(),
        }
    }
}
