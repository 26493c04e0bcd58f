//! Custom resources: from CustomResourceDefinitions to served resources, their state (`Established`), and their end.
//! Built-in kinds and custom resources take the same ladders; only what a schema says differs. Versions
//! differ in apiVersion only, or are converted by a webhook.

mod columns;
pub(crate) mod conversion;

pub(crate) use columns::{CustomColumn, number_at, set_number_at, text_at};
pub(crate) use conversion::Conversion;
use corten_kinds::apiextensions::{Structural, accept_names, marked, terminating};

use std::pin::Pin;
use std::sync::Arc;

use corten_api::Object;
use corten_api::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionVersion,
};
use corten_client::Status;
use corten_codec::json;
use corten_core::{MsgRef, Value};
use corten_store::{Resource, Scope};

use crate::bootstrap::loopback;
use crate::catalog::{Catalog, Served, ServedSubresource};
use crate::options::DeleteOptions;
use crate::server::Server;
use crate::typed::View;
use crate::write::Aim;
use crate::{delete, pods};

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a custom resource has that built-in ones have in code.
pub(crate) struct Custom {
    /// Which definition this is of, in which state.
    pub definition: String,
    pub structural: Structural,
    /// Whether fields that no schema knows are kept everywhere.
    pub keeps_unknown: bool,
    /// The webhook that converts versions, where there is one.
    pub conversion: Option<Conversion>,
    pub columns: Vec<CustomColumn>,
    /// The schemas of the definition's other versions, where no webhook converts.
    pub others: Vec<(String, Structural)>,
    /// JSON paths of spec.replicas, status.replicas and the selector.
    pub scale: Option<(String, String, String)>,
    /// Field labels that selectors may use, as `.spec.x`.
    pub selectable: Vec<String>,
}

const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// The catalog with everything the definitions of a view serve. What has not changed is taken from the old one, its
/// compiled rules with it.
pub(crate) fn catalog(view: &View, old: &Catalog) -> Catalog {
    let built_in = old.all().iter().filter(|s| !s.is_custom());
    let mut all: Vec<Arc<Served>> = built_in.cloned().collect();
    for definition in view.snapshot.list::<CustomResourceDefinition>() {
        if is_established(definition) {
            let versions = definition
                .spec
                .versions
                .iter()
                .filter(|v| v.served || v.storage);
            all.extend(versions.map(|v| {
                let state = state_of(definition);
                let same = |s: &&Arc<Served>| {
                    let kept = s.custom.as_ref().is_some_and(|c| c.definition == state);
                    kept && s.version == v.name
                };
                let kept = old.all().iter().find(same).cloned();
                kept.unwrap_or_else(|| Arc::new(served(definition, v)))
            }));
        }
    }
    let new = Catalog::of(all);
    new.documents.inherit(&old.documents, new.all());
    new
}

/// Names a definition in the state it has.
fn state_of(definition: &CustomResourceDefinition) -> String {
    let meta = &definition.metadata;
    format!("{}/{}", meta.uid, meta.resource_version)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    definition
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == "Established" && c.status == "True")
}

fn served(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
) -> Served {
    let spec = &definition.spec;
    let names = &definition.status.accepted_names;
    let words = |list: &[corten_core::Str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let storage = spec.versions.iter().find(|v| v.storage).unwrap_or(version);
    let text = schema_text(version);
    let others = spec.versions.iter().filter(|v| v.name != version.name);
    let others = others.filter(|_| !converts_by_webhook(definition));
    let asked = version.subresources.as_deref();
    let scale = asked.and_then(|s| s.scale.as_deref()).map(|s| {
        let selector = s
            .label_selector_path
            .as_ref()
            .map(|p| p.to_string())
            .unwrap_or_default();
        (
            s.spec_replicas_path.to_string(),
            s.status_replicas_path.to_string(),
            selector,
        )
    });
    let subresources = served_subresources(definition, version);
    Served::custom(crate::catalog::CustomFacts {
        group: spec.group.to_string(),
        version: version.name.to_string(),
        served: version.served,
        kind: names.kind.to_string(),
        plural: names.plural.to_string(),
        singular: names.singular.to_string(),
        namespaced: spec.scope == "Namespaced",
        short_names: words(&names.short_names),
        categories: words(&names.categories),
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources,
        storage: Resource::new(&format!("{}/{}", spec.group, names.plural)),
        storage_version: storage.name.to_string(),
        schema: text.and_then(|t| serde_json::from_slice(&t).ok()),
        custom: Custom {
            definition: state_of(definition),
            conversion: spec.conversion.as_deref().and_then(Conversion::of),
            keeps_unknown: spec.preserve_unknown_fields,
            structural: structural(definition, version),
            others: others
                .map(|v| (v.name.to_string(), structural(definition, v)))
                .collect(),
            columns: columns::of(&version.additional_printer_columns),
            scale,
            selectable: version
                .selectable_fields
                .iter()
                .map(|f| f.json_path.to_string())
                .collect(),
        },
    })
}

fn schema_text(version: &CustomResourceDefinitionVersion) -> Option<Vec<u8>> {
    let schema = version.schema.as_ref()?.open_apiv3_schema.as_deref()?;
    Some(json::encode_message(MsgRef::new(schema)))
}

fn structural(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
) -> Structural {
    let value = schema_text(version).and_then(|text| json::decode_value(&text).ok());
    let preserve = definition.spec.preserve_unknown_fields;
    Structural::new(value.unwrap_or_default(), preserve)
}

fn converts_by_webhook(definition: &CustomResourceDefinition) -> bool {
    let conversion = definition.spec.conversion.as_deref();
    conversion.is_some_and(|c| c.strategy == "Webhook")
}

fn served_subresources(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
) -> Vec<ServedSubresource> {
    let entry = |name: &str, group: &str, version: &str, kind: &str| ServedSubresource {
        name: name.into(),
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        verbs: ["get", "patch", "update"].map(str::to_owned).to_vec(),
    };
    let spec = &definition.spec;
    let asked = version.subresources.as_deref();
    let status = asked
        .and_then(|s| s.status.as_ref())
        .map(|_| entry("status", &spec.group, &version.name, &spec.names.kind));
    let scale = asked
        .and_then(|s| s.scale.as_ref())
        .map(|_| entry("scale", "autoscaling", "v1", "Scale"));
    status.into_iter().chain(scale).collect()
}

/// What the server itself says of a definition: its names are accepted, it is established, and it is cleaned up after.
pub(crate) fn establish(server: &Server, object: &mut Object) {
    let now = server.now();
    let Some(definition) = object.downcast_mut::<CustomResourceDefinition>() else {
        return;
    };
    let view = server.typed.fresh(server);
    let others: Vec<&CustomResourceDefinition> =
        view.snapshot.list::<CustomResourceDefinition>().collect();
    accept_names(definition, &others, now);
    if definition.metadata.deletion_timestamp.is_some() {
        terminating(definition, now);
    }
}

/// A definition as its deletion begins: marked, and kept by a finalizer until nothing of its kind is left. None for
/// what is no definition, or is being deleted already.
pub(crate) fn mark(server: &Server, object: &Object) -> Option<Object> {
    let mut object = object.clone();
    let definition = object.downcast_mut::<CustomResourceDefinition>()?;
    if definition.metadata.deletion_timestamp.is_some() {
        return None;
    }
    definition.metadata.deletion_timestamp = Some(server.now());
    definition.metadata.add_finalizer(CLEANUP);
    marked(definition, server.now());
    Some(object)
}

/// A step that may come round to itself.
type Step<'a> = Pin<Box<dyn Future<Output = Result<(), Status>> + Send + 'a>>;

/// Deletes what a definition on its way out has left, and lets it go once nothing is.
pub(crate) fn clean<'a>(
    server: &'a Server,
    definitions: &'a Arc<Served>,
    name: &'a str,
) -> Step<'a> {
    Box::pin(clean_up(server, definitions, name))
}

/// After the last finalizer of a custom resource went: its definition may be waiting for that.
pub(crate) async fn clean_after(server: &Server, served: &Served) {
    if !served.is_custom() {
        return;
    }
    let Some(definitions) = server
        .catalog()
        .stored_kind("apiextensions.k8s.io", "CustomResourceDefinition")
    else {
        return;
    };
    let name = format!("{}.{}", served.plural, served.group);
    if let Err(status) = clean(server, &definitions, &name).await {
        tracing::warn!(%status, name, "clean up after a definition");
    }
}

async fn clean_up(server: &Server, definitions: &Arc<Served>, name: &str) -> Result<(), Status> {
    let view = server.typed.view();
    let Some(definition) = view.snapshot.get::<CustomResourceDefinition>("", name) else {
        return Ok(());
    };
    if definition.metadata.deletion_timestamp.is_none()
        || !definition.metadata.has_finalizer(CLEANUP)
    {
        return Ok(());
    }
    let prefix = Resource::new(&format!(
        "{}/{}",
        definition.spec.group, definition.spec.names.plural
    ));
    if let Some(served) = server.catalog().stored_under(&prefix) {
        let entries: Vec<_> = server
            .store
            .snapshot(&prefix)
            .range(&Scope::All, None)
            .cloned()
            .collect();
        for entry in entries {
            let aim = Aim {
                served: &served,
                namespace: entry.namespace(),
                name: entry.name(),
                subresource: "",
            };
            match delete::delete(server, &loopback(), &aim, &DeleteOptions::default()).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
    }
    if !server.store.snapshot(&prefix).is_empty() {
        return Ok(());
    }
    let aim = Aim {
        served: definitions,
        namespace: "",
        name,
        subresource: "",
    };
    let object = pods::rewrite(server, &aim, |object| {
        object.meta_mut().remove_finalizer(CLEANUP);
        Ok(())
    })
    .await?;
    if object.meta().finalizers.is_empty() {
        delete::delete(server, &loopback(), &aim, &DeleteOptions::default()).await?;
        let group = name.split_once('.').map_or("", |(_, group)| group);
        accept_others(server, definitions, group).await?;
    }
    Ok(())
}

/// A definition is gone: others of its group may have the names that it had.
async fn accept_others(
    server: &Server,
    definitions: &Arc<Served>,
    group: &str,
) -> Result<(), Status> {
    let view = server.typed.fresh(server);
    let waiting = view
        .snapshot
        .list::<CustomResourceDefinition>()
        .filter(|d| d.spec.group == group)
        .filter(|d| {
            let refused = |c: &CustomResourceDefinitionCondition| {
                c.type_ == "NamesAccepted" && c.status == "False"
            };
            d.status.conditions.iter().any(refused)
        });
    for definition in waiting {
        let aim = Aim {
            served: definitions,
            namespace: "",
            name: &definition.metadata.name,
            subresource: "",
        };
        pods::rewrite(server, &aim, |object| {
            establish(server, object);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The body of a custom resource as a value, and back.
pub(crate) fn with_body(object: &mut Object, change: impl FnOnce(&mut Value)) {
    let Some(dynamic) = object.as_dynamic_mut() else {
        return;
    };
    let mut value = Value::Map(std::mem::take(&mut dynamic.body));
    change(&mut value);
    if let Value::Map(map) = value {
        dynamic.body = map;
    }
}
