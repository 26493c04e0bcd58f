//! Tables (what `kubectl get` prints) and partial metadata.

use std::sync::Arc;

use bytes::Bytes;
use corten_api::Object;
use corten_api::flowcontrol::v1::FlowSchema;
use corten_api::meta::v1::{ListMeta, PartialObjectMetadata, PartialObjectMetadataList};
use corten_client::Status;
use corten_codec::{json, protobuf};
use corten_core::{MsgRef, Value};

use super::{Columns, Form, Include, text};
use crate::body::Answer;
use crate::catalog::{ColumnFacts, Served};
use crate::negotiate::{Media, MetaVersion, Shape};

/// One object in another shape.
pub(super) fn one(served: &Served, form: &Form, object: &Object) -> Result<Answer, Status> {
    Ok(text(form, bytes(served, form, object)?))
}

/// The bytes of one object in another shape, for answers and watch events.
pub(super) fn bytes(served: &Served, form: &Form, object: &Object) -> Result<Bytes, Status> {
    match form.shape {
        Shape::Table => {
            let meta = ListMeta {
                resource_version: object.meta().resource_version.clone(),
                ..ListMeta::default()
            };
            table(served, form, std::iter::once(object), &meta)
        }
        Shape::PartialList if served.is_custom() => {
            Err(Status::new(500, "", "content is not a list"))
        }
        Shape::PartialList => Err(Status::new(
            406,
            "NotAcceptable",
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{}.{})",
                package(served),
                served.kind
            ),
        )),
        _ => {
            let partial = partial(object, form.version);
            Ok(match form.media {
                Media::Protobuf => {
                    let raw = protobuf::encode_message(MsgRef::new(&partial));
                    protobuf::seal_envelope(
                        form.version.api_version(),
                        "PartialObjectMetadata",
                        &raw,
                    )
                    .into()
                }
                _ => json::encode_message(MsgRef::new(&partial)).into(),
            })
        }
    }
}

/// A list in another shape.
pub(super) fn many(
    served: &Served,
    form: &Form,
    objects: &[Arc<Object>],
    meta: &ListMeta,
) -> Result<Answer, Status> {
    let bytes = match form.shape {
        Shape::Table => {
            let mut objects: Vec<&Object> = objects.iter().map(|o| &**o).collect();
            // The one kind that people are shown in the order in which it is matched.
            objects.sort_by_key(|o| o.downcast_ref::<FlowSchema>().map(precedence));
            table(served, form, objects.into_iter(), meta)?
        }
        Shape::PartialList => {
            let list = PartialObjectMetadataList {
                kind: "PartialObjectMetadataList".into(),
                api_version: form.version.api_version().into(),
                metadata: meta.clone(),
                items: objects.iter().map(|o| partial(o, form.version)).collect(),
            };
            match form.media {
                Media::Protobuf => {
                    let raw = protobuf::encode_message(MsgRef::new(&list));
                    let version = form.version.api_version();
                    protobuf::seal_envelope(version, "PartialObjectMetadataList", &raw).into()
                }
                _ => json::encode_message(MsgRef::new(&list)).into(),
            }
        }
        _ => {
            return Err(Status::new(
                406,
                "NotAcceptable",
                format!(
                    "you requested PartialObjectMetadata, but the requested object is a list (*{})",
                    match served.is_custom() {
                        true => "unstructured.UnstructuredList".to_owned(),
                        false => format!("{}.{}List", package(served), served.kind),
                    }
                ),
            ));
        }
    };
    Ok(text(form, bytes))
}

fn precedence(schema: &FlowSchema) -> (i32, String) {
    let precedence = schema.spec.matching_precedence;
    (precedence, schema.metadata.name.to_string())
}

/// Go's name of the package of the internal types.
fn package(served: &Served) -> &str {
    match served.group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        first => first,
    }
}

pub(super) fn partial(object: &Object, version: MetaVersion) -> PartialObjectMetadata {
    let mut metadata = object.meta().clone();
    if object.kind() == "DaemonSet" && object.as_dynamic().is_none() {
        // In the form that upstream makes these of it is a field, and no annotation.
        metadata
            .annotations
            .remove("deprecated.daemonset.template.generation");
    }
    PartialObjectMetadata {
        kind: "PartialObjectMetadata".into(),
        api_version: version.api_version().into(),
        metadata,
    }
}

fn table<'a>(
    served: &Served,
    form: &Form,
    objects: impl Iterator<Item = &'a Object>,
    meta: &ListMeta,
) -> Result<Bytes, Status> {
    if form.media == Media::Protobuf {
        return Err(Status::not_acceptable(&["application/json"]));
    }
    let mut out = table_head(served, form, meta);
    for (index, object) in objects.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        row(served, form, object, &mut out)?;
    }
    out.extend_from_slice(b"]}");
    Ok(out.into())
}

/// A Table up to its rows.
pub(super) fn table_head(served: &Served, form: &Form, meta: &ListMeta) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    let version = form.version.api_version();
    let head = format!("{{\"kind\":\"Table\",\"apiVersion\":\"{version}\",\"metadata\":");
    out.extend_from_slice(head.as_bytes());
    json::write_message(MsgRef::new(meta), &mut out);
    out.extend_from_slice(b",\"columnDefinitions\":");
    match form.columns {
        Columns::Known => out.extend_from_slice(b"null"),
        Columns::Shown => write_columns(served, &mut out),
    }
    out.extend_from_slice(b",\"rows\":[");
    out
}

/// One row of a Table.
pub(super) fn row(
    served: &Served,
    form: &Form,
    object: &Object,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    out.extend_from_slice(b"{\"cells\":");
    let shown = match form.include {
        Include::Whole => served.served_version(object)?,
        _ if served.is_custom() => served.served_version(object)?,
        _ => None,
    };
    // The columns of custom resources are those of the version that is shown.
    let row = shown.as_ref().filter(|_| served.is_custom());
    let cells = served.cells(row.unwrap_or(object), &form.now);
    json::write_value(&Value::List(cells), out);
    out.extend_from_slice(b",\"object\":");
    let object = shown.as_ref().unwrap_or(object);
    match (form.include, object.message()) {
        (Include::Nothing, _) => out.extend_from_slice(b"null"),
        (Include::Metadata, _) => {
            let partial = partial(object, form.version);
            json::write_message(MsgRef::new(&partial), out);
        }
        (Include::Whole, Some(message)) => json::write_message(message, out),
        (Include::Whole, None) => {
            json::write_value(&object.to_value().map_err(Status::internal)?, out);
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_columns(served: &Served, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, column) in served.columns().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_column(column, out);
    }
    out.push(b']');
}

fn write_column(column: &ColumnFacts<'_>, out: &mut Vec<u8>) {
    for (before, value) in [
        ("{\"name\":", column.name),
        (",\"type\":", column.kind),
        (",\"format\":", column.format),
        (",\"description\":", column.description),
    ] {
        out.extend_from_slice(before.as_bytes());
        json::write_text(value, out);
    }
    out.extend_from_slice(format!(",\"priority\":{}}}", column.priority).as_bytes());
}
