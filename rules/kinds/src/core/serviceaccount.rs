//! ServiceAccounts: references to secrets keep only the name.

use crate::rules::Rules;
use crate::{Context, DeleteAnswer};
use corten_api::core::v1::{ObjectReference, ServiceAccount};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The strategy of ServiceAccounts.
pub struct ServiceAccounts;

fn clean(account: &mut ServiceAccount) {
    for secret in account.secrets.iter_mut() {
        *secret = ObjectReference {
            name: secret.name.clone(),
            ..ObjectReference::default()
        };
    }
}

impl Rules for ServiceAccounts {
    type Of = ServiceAccount;

    fn prepare_create(&self, _cx: &Context, new: &mut ServiceAccount) {
        clean(new);
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &mut ServiceAccount,
        _old: &ServiceAccount,
    ) {
        clean(new);
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ServiceAccount,
        old: Option<&ServiceAccount>,
    ) -> Vec<String> {
        let has = |a: &ServiceAccount| a.metadata.annotations.contains_key(ENFORCE);
        if !has(new) || old.is_some_and(has) {
            return vec![];
        }
        vec![format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to \
             mounted secrets"
        )]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
