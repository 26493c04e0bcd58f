//! Publishes the CA of the API server's certificate as a ClusterTrustBundle.
//!
//! Invariant: of the signer's bundles there is one, named after its content; a new CA replaces it.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Kind;
use corten_api::certificates::v1beta1::ClusterTrustBundle;
use corten_api::core::v1::Namespace;
use corten_meta::{ObjectKey, Snapshot};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// See the module's description. Bundles have no owner to wake, so the system's namespace stands for them.
pub const CONTROLLER: Controller = Controller {
    name: "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    service_account: "kube-apiserver-serving-clustertrustbundle-publisher",
    primary: resource::<Namespace>,
    wakes: &[Wake {
        on: Watched::One(resource::<ClusterTrustBundle>),
        keys: |_, _| vec![ObjectKey::new("", SYSTEM)],
    }],
    reconcile: plan,
};

const SYSTEM: &str = "kube-system";
const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

fn name_of(bundle: &str) -> String {
    let mut name = format!("{}:", SIGNER.replace('/', ":"));
    for byte in &Sha256::digest(bundle.as_bytes())[..12] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    if key.name != SYSTEM {
        return None;
    }
    let mut plan = Plan::default();
    let ca = &context.cluster.root_ca;
    if ca.is_empty() {
        return Some(plan);
    }
    let name = name_of(ca);
    match snapshot.get::<ClusterTrustBundle>("", &name) {
        None => {
            let mut bundle = ClusterTrustBundle::named(&name);
            bundle.spec.signer_name = SIGNER.into();
            bundle.spec.trust_bundle = ca.clone();
            plan.write(Write::create(
                bundle,
                "clients verify the API server with it",
            ));
        }
        Some(bundle) => {
            let mut right = bundle.clone();
            right.spec.trust_bundle = ca.clone();
            plan.write_if(Write::patch(bundle, &right, "the bundle was changed"));
        }
    }
    let own = |bundle: &&ClusterTrustBundle| bundle.spec.signer_name == SIGNER;
    for old in snapshot.list::<ClusterTrustBundle>().filter(own) {
        if old.meta().name != name {
            plan.write(Write::delete(old, "the API server's CA is another one"));
        }
    }
    Some(plan)
}
