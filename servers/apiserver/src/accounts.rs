//! A pod may come right after its namespace: the account that it runs under is made by a controller a moment later.

use std::time::Duration;

use corten_api::Object;
use corten_api::core::v1::Pod;
use corten_store::{Key, Resource, Scope};

use crate::server::Server;

/// How long a pod waits for its account, about as long as upstream tries again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Waits, woken by the store, until the service account of a new pod exists; admission then says what is missing.
pub(crate) async fn wait_for_account(server: &Server, namespace: &str, object: &Object) {
    let Some(pod) = object.downcast_ref::<Pod>() else {
        return;
    };
    let name = match pod.spec.service_account_name.as_str() {
        "" => "default",
        given => given,
    };
    let accounts = Resource::new("serviceaccounts");
    let key = Key::new(&accounts, namespace, name);
    let seen = server.store.revision();
    if server.store.get(&key).is_some() {
        return;
    }
    let scope = Scope::object(namespace, name);
    if let Ok(mut watch) = server.store.watch(&accounts, scope, seen) {
        // Nobody made it in time: admission refuses the pod.
        let _ = tokio::time::timeout(WAIT_MAX, watch.next()).await;
    }
}
