//! ServiceAccount: every active namespace has the account `default`.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::core::v1::{Namespace, ServiceAccount};
use corten_api::meta::v1::ObjectMeta;
use corten_api::{Kind, Object};
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "serviceaccount",
    service_account: "service-account-controller",
    primary: resource::<Namespace>,
    wakes: &[Wake {
        on: Watched::One(resource::<ServiceAccount>),
        keys: its_namespace,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// The account that pods without a `serviceAccountName` run under.
const DEFAULT: &str = "default";

/// Wakes the namespace of an object.
pub(crate) fn its_namespace(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    vec![ObjectKey::new("", object.meta().namespace.clone())]
}

/// A namespace, and whether its default account exists.
#[derive(Debug)]
pub struct Observed<'a> {
    namespace: &'a Namespace,
    has_default: bool,
}

/// What concerns the namespace `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let namespace = snapshot.get::<Namespace>("", &key.name)?;
    let has_default = snapshot.get::<ServiceAccount>(&key.name, DEFAULT).is_some();
    Some(Observed {
        namespace,
        has_default,
    })
}

/// Creates the account where it is missing.
pub fn plan(observed: &Observed, _: &Context) -> Plan {
    let mut plan = Plan::default();
    if observed.has_default || observed.namespace.status.phase == "Terminating" {
        return plan;
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: DEFAULT.into(),
            namespace: observed.namespace.meta().name.clone(),
            ..Default::default()
        },
        ..Default::default()
    };
    plan.write(Write::create(
        account,
        "every namespace has a default service account",
    ));
    plan
}

#[cfg(test)]
#[path = "serviceaccount_tests.rs"]
mod tests;
