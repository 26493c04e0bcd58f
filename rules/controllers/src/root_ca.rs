//! Root CA publisher: every active namespace holds the cluster's CA certificate, for pods to verify the API server.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::serviceaccount::its_namespace;
use corten_api::Kind;
use corten_api::core::v1::{ConfigMap, Namespace};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{Map, Str};
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "root-ca-certificate-publisher",
    service_account: "root-ca-cert-publisher",
    primary: resource::<Namespace>,
    wakes: &[Wake {
        on: Watched::One(resource::<ConfigMap>),
        keys: its_namespace,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

const NAME: &str = "kube-root-ca.crt";
const ENTRY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// A namespace and its copy of the certificate.
#[derive(Debug)]
pub struct Observed<'a> {
    namespace: &'a Namespace,
    published: Option<&'a ConfigMap>,
}

/// What concerns the namespace `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let namespace = snapshot.get::<Namespace>("", &key.name)?;
    Some(Observed {
        namespace,
        published: snapshot.get::<ConfigMap>(&key.name, NAME),
    })
}

/// Creates the copy, or puts it right when somebody changed it.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    if observed.namespace.status.phase == "Terminating" || context.cluster.root_ca.is_empty() {
        return plan;
    }
    let data: Map<Str> = Map::from_iter([(Str::from(ENTRY), context.cluster.root_ca.clone())]);
    let Some(published) = observed.published else {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: NAME.into(),
                namespace: observed.namespace.meta().name.clone(),
                annotations: Map::from_iter([(Str::from(DESCRIPTION.0), Str::from(DESCRIPTION.1))]),
                ..Default::default()
            },
            data,
            ..Default::default()
        };
        plan.write(Write::create(
            map,
            "every namespace holds the cluster's CA certificate",
        ));
        return plan;
    };
    let mut right = published.clone();
    right.data = data;
    right.binary_data = Map::default();
    right
        .metadata
        .annotations
        .insert(DESCRIPTION.0, DESCRIPTION.1);
    plan.write_if(Write::patch(
        published,
        &right,
        "the published certificate was changed",
    ));
    plan
}

#[cfg(test)]
#[path = "root_ca_tests.rs"]
mod tests;
