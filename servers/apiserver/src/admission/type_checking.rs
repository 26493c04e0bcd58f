//! Keeps `status.typeChecking` of ValidatingAdmissionPolicies current: what their expressions get wrong about the kinds that
//! they match. Invariant: a policy is checked once per generation; a warning never keeps it from deciding.

use std::sync::Arc;

use bytes::Bytes;
use corten_access::UserInfo;
use corten_api::admissionregistration::v1::ValidatingAdmissionPolicy;
use corten_cel::Decl;
use corten_client::{Body, Options, PatchKind, Request, Transport, Verb};
use corten_kinds::admissionregistration as rules;
use corten_meta::{GroupVersionKind, GroupVersionResource};
use corten_patch::Schema;
use corten_store::Scope;
use serde_json::{Value, json};

use crate::catalog::{Catalog, Served};
use crate::local::Local;
use crate::server::{Server, signalled};

const GROUP: &str = "admissionregistration.k8s.io";
const PLURAL: &str = "validatingadmissionpolicies";
const MANAGER: &str = "validatingadmissionpolicy-status";

/// The controller that this is upstream, whose rights it has.
fn user() -> UserInfo {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
    ];
    UserInfo {
        name: "system:serviceaccount:kube-system:validatingadmissionpolicy-status-controller"
            .into(),
        groups: groups.map(str::to_owned).to_vec(),
        ..UserInfo::default()
    }
}

/// Follows policies until the server stops.
pub(crate) async fn follow(server: Arc<Server>) {
    let mut stop = server.stop_signal();
    let local = Local::new(server.clone(), user());
    loop {
        let catalog = server.catalog();
        let Some(served) = catalog.find(GROUP, "v1", PLURAL) else {
            return;
        };
        let now = server.store.snapshot(&served.storage).revision();
        let Ok(mut watch) = server.store.watch(&served.storage, Scope::All, now) else {
            return;
        };
        let mut events = Vec::new();
        loop {
            check_all(&server, &local).await;
            events.clear();
            let seen = tokio::select! {
                seen = watch.next_batch(&mut events, usize::MAX) => seen,
                () = signalled(&mut stop) => return,
            };
            if seen.is_err() {
                break;
            }
        }
        if !server.store_is_open() {
            return;
        }
    }
}

/// Checks what was not checked in its present generation.
async fn check_all(server: &Arc<Server>, local: &Local) {
    let view = server.typed.view();
    for policy in view.snapshot.list::<ValidatingAdmissionPolicy>() {
        if policy.metadata.generation <= policy.status.observed_generation {
            continue;
        }
        let status = status(&server.catalog(), policy);
        let request = Request {
            verb: Verb::Patch,
            resource: GroupVersionResource::new(GROUP, "v1", PLURAL),
            subresource: "status".into(),
            namespace: String::new(),
            name: policy.metadata.name.to_string(),
            body: Body::Patch(PatchKind::Apply, Bytes::from(status.to_string())),
            options: Options {
                field_manager: MANAGER.into(),
                force: true,
                ..Options::default()
            },
        };
        if let Err(error) = local.call(request).await {
            tracing::debug!(%error, policy = %policy.metadata.name, "write what checking types found");
        }
    }
}

/// The status to apply.
fn status(catalog: &Catalog, policy: &ValidatingAdmissionPolicy) -> Value {
    let kind_of = |group: &str, version: &str, plural: &str| {
        let served = catalog.find(group, version, plural)?;
        Some(served.group_version_kind())
    };
    let kinds: Vec<(GroupVersionKind, Arc<Decl>)> = rules::kinds_to_check(policy, kind_of)
        .into_iter()
        .filter_map(|kind| Some((kind.clone(), decl(catalog, &kind)?)))
        .collect();
    let params = policy.spec.param_kind.as_deref().and_then(|kind| {
        let (group, version) = kind
            .api_version
            .split_once('/')
            .unwrap_or(("", kind.api_version.as_str()));
        let kind = GroupVersionKind::new(group, version, kind.kind.as_str());
        decl(catalog, &kind)
    });
    let warnings = rules::type_warnings(policy, &kinds, params.as_ref());
    let mut checking = json!({});
    if !warnings.is_empty() {
        let warnings = warnings
            .into_iter()
            .map(|(field, warning)| json!({"fieldRef": field, "warning": warning}));
        checking["expressionWarnings"] = warnings.collect();
    }
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy.metadata.name.as_str()},
        "status": {"observedGeneration": policy.metadata.generation, "typeChecking": checking},
    })
}

/// A kind's type; none when it has no schema.
fn decl(catalog: &Catalog, kind: &GroupVersionKind) -> Option<Arc<Decl>> {
    let is_it = |served: &&Arc<Served>| {
        served.group == kind.group.as_str()
            && served.version == kind.version.as_str()
            && served.kind == kind.kind.as_str()
    };
    let served = catalog.all().iter().find(is_it)?;
    let schema = match served.patch_schema() {
        Schema::Table(msg) => rules::message_schema(msg),
        Schema::OpenApi(schema) => schema.clone(),
        Schema::Free => return None,
    };
    rules::resource_type(&schema, &kind.kind)
}
