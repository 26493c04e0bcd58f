//! What is special about namespaces: their content finalizers (`spec.finalizers`), which outlive a deletion until the
//! namespace controller has emptied them, and the ones that must stay.

use corten_access::admission::Plugin;
use corten_api::core::v1::Namespace;
use corten_api::{Kind, Object};
use corten_client::Status;

use crate::bootstrap;
use crate::options::WriteOptions;
use crate::server::Server;
use crate::write::Aim;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// 403 for namespaces that must stay.
pub(crate) fn refuse_deletion(aim: &Aim<'_>) -> Result<(), Status> {
    let is_namespace = aim.served.group.is_empty() && aim.served.plural == "namespaces";
    if is_namespace && IMMORTAL.contains(&aim.name) {
        return Err(Status::forbidden(
            aim.target(),
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// NamespaceAutoProvision: makes the namespace of a write that has none yet.
pub(crate) async fn provision(
    server: &Server,
    namespace: &str,
    dry_run: bool,
) -> Result<(), Status> {
    let wanted = server.config.plugins.has(Plugin::NamespaceAutoProvision);
    if !wanted || dry_run || namespace.is_empty() {
        return Ok(());
    }
    let catalog = server.catalog();
    let Some(served) = catalog.find("", "v1", "namespaces") else {
        return Ok(());
    };
    let aim = Aim {
        served,
        namespace: "",
        name: namespace,
        subresource: "",
    };
    if server.store.get(&aim.key()).is_some() {
        return Ok(());
    }
    let options = WriteOptions::default();
    let object = Object::from(Namespace::named(namespace));
    let user = bootstrap::loopback();
    let made = crate::write::create(server, &user, &aim, object, &options);
    match Box::pin(made).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}

/// Whether a namespace still waits for its content to go.
pub(crate) fn has_content_finalizers(object: &Object) -> bool {
    object
        .downcast_ref::<Namespace>()
        .is_some_and(|n| !n.spec.finalizers.is_empty())
}

/// For namespaces: `Some(None)` = remove, `Some(Some(None))` = leave, `Some(Some(Some(o)))` = write `o`. `None` for
/// every other kind.
pub(crate) fn decide(
    server: &Server,
    finalizers: &[String],
    object: &Object,
) -> Option<Option<Option<Object>>> {
    let namespace = object.downcast_ref::<Namespace>()?;
    if namespace.metadata.deletion_timestamp.is_none() {
        let mut marked = object.clone();
        if let Some(namespace) = marked.downcast_mut::<Namespace>() {
            namespace.metadata.deletion_timestamp = Some(server.now());
            namespace.metadata.deletion_grace_period_seconds = None;
            namespace.metadata.finalizers = finalizers.iter().map(String::as_str).collect();
            namespace.status.phase = "Terminating".into();
        }
        return Some(Some(Some(marked)));
    }
    if !namespace.spec.finalizers.is_empty() || !namespace.metadata.finalizers.is_empty() {
        return Some(Some(None));
    }
    Some(None)
}
