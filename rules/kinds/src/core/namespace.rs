//! Namespaces: their finalizer, their name as a label, how they are shown. Their end is the API server's.

use super::columns;
use crate::checks::Errors;
use crate::metadata::{standard_finalizer, validate_label_key};
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells, names};
use corten_api::core::v1::{Namespace, NamespaceStatus};
use corten_core::{Path, Str, Time, Value};

/// The strategy of Namespaces.
pub struct Namespaces;

fn label(namespace: &mut Namespace) {
    if !namespace.metadata.name.is_empty() {
        let name = namespace.metadata.name.clone();
        namespace
            .metadata
            .labels
            .insert("kubernetes.io/metadata.name", name);
    }
}

impl Rules for Namespaces {
    type Of = Namespace;
    with_status!();

    fn default(&self, namespace: &mut Namespace) {
        label(namespace);
        if namespace.status.phase.is_empty() {
            namespace.status.phase = "Active".into();
        }
    }
    fn prepare_create(&self, _cx: &Context, new: &mut Namespace) {
        new.status = NamespaceStatus {
            phase: "Active".into(),
            ..NamespaceStatus::default()
        };
        if !new.spec.finalizers.iter().any(|f| f == "kubernetes") {
            new.spec.finalizers.push("kubernetes");
        }
        label(new);
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut Namespace, old: &Namespace) {
        match part {
            "" => new.spec.finalizers = old.spec.finalizers.clone(),
            "finalize" => new.status = old.status.clone(),
            _ => {}
        }
        label(new);
    }
    fn validate_create(&self, _cx: &Context, new: &Namespace) -> Vec<FieldError> {
        finalizers(new, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &Namespace,
        _old: &Namespace,
    ) -> Vec<FieldError> {
        match part {
            "status" => phase(new),
            "finalize" => finalizers(new, Some(())),
            _ => finalizers(new, None),
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::NAMESPACE
    }
    fn cells(&self, namespace: &Namespace, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&namespace.metadata.name),
            Value::from(&namespace.status.phase),
            cells::age(&namespace.metadata.creation_timestamp, now),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["status.phase", "name"]
    }
    fn field_values(&self, namespace: &Namespace) -> Vec<Str> {
        vec![
            namespace.status.phase.clone(),
            namespace.metadata.name.clone(),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(&names::as_prefix(name, prefix))
    }
}

/// Names of finalizers; `indexed` when upstream names the element.
fn finalizers(namespace: &Namespace, indexed: Option<()>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let path = path.f("finalizers");
    for (i, name) in namespace.spec.finalizers.iter().enumerate() {
        let at = if indexed.is_some() { path.i(i) } else { path };
        errors.extend(validate_label_key(name, &at));
        errors.extend(standard_finalizer(name, &at));
    }
    errors
}

fn phase(namespace: &Namespace) -> Errors {
    let (phase, word) = match namespace.metadata.deletion_timestamp {
        None => ("Active", "empty"),
        Some(_) => ("Terminating", "not empty"),
    };
    if namespace.status.phase == phase {
        return vec![];
    }
    let text = format!("may only be '{phase}' if `deletionTimestamp` is {word}");
    vec![FieldError::invalid(
        "status.Phase",
        &namespace.status.phase,
        text,
    )]
}
