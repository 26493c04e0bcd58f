//! What is wrong with a CustomResourceDefinition. Leaves out CEL rules, defaults against the schema, and the approval of
//! protected groups.

use super::{approval, fieldpath, schema};
use crate::FixedName;
use crate::admissionregistration::client_config::validate_url;
use crate::checks::{Errors, dns_label, immutable, known, one_of};
use crate::error::FieldError;
use crate::metadata::{json_of, value_of_texts};
use crate::names::{dns_1035_label, dns_subdomain};
use corten_api::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceConversion, CustomResourceDefinition,
    CustomResourceDefinitionNames, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
    CustomResourceSubresourceScale,
};
use corten_core::{Path, Str, Value, json_text};

/// The name that a definition must have, and what is said of another.
pub(super) fn name(new: &CustomResourceDefinition) -> FixedName {
    FixedName {
        name: format!("{}.{}", new.spec.names.plural, new.spec.group),
        why: "must be spec.names.plural+\".\"+spec.group".to_owned(),
        always: true,
    }
}

/// A new definition.
pub(super) fn create(new: &CustomResourceDefinition) -> Errors {
    // Its status is the server's own so far.
    let mut errors = both(new, Vec::new());
    errors.extend(approval::check(new, None));
    errors
}

/// A changed definition.
pub(super) fn update(new: &CustomResourceDefinition, old: &CustomResourceDefinition) -> Errors {
    let mut errors = both(new, accepted(new));
    errors.extend(approval::check(new, Some(old)));
    let path = Path::Root.f("spec");
    let names = path.f("names");
    let established = |c: &corten_api::apiextensions::v1::CustomResourceDefinitionCondition| {
        c.type_ == "Established" && c.status == "True"
    };
    let (n, o) = (&new.spec, &old.spec);
    if old.status.conditions.iter().any(established) {
        immutable(&mut errors, &path.f("scope"), n.scope == o.scope, &n.scope);
        let same = n.names.kind == o.names.kind;
        immutable(&mut errors, &names.f("kind"), same, &n.names.kind);
    }
    immutable(&mut errors, &path.f("group"), n.group == o.group, &n.group);
    let same = n.names.plural == o.names.plural;
    immutable(&mut errors, &names.f("plural"), same, &n.names.plural);
    errors
}

/// What is wrong with the accepted names, unless it has been said of those that are wished for.
fn accepted(new: &CustomResourceDefinition) -> Errors {
    match new.status.accepted_names == new.spec.names {
        true => Vec::new(),
        false => names(&new.status.accepted_names, "status", "acceptedNames"),
    }
}

fn both(new: &CustomResourceDefinition, accepted: Errors) -> Errors {
    let mut errors = Vec::new();
    spec(&mut errors, &Path::Root.f("spec"), &new.spec);
    errors.extend(accepted);
    stored_versions(&mut errors, new);
    if new.spec.preserve_unknown_fields {
        let text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                    spec.versions[*].schema instead";
        let path = Path::Root.f("spec");
        errors.push(FieldError::invalid(
            path.f("preserveUnknownFields"),
            true,
            text,
        ));
    }
    errors
}

fn spec(errors: &mut Errors, path: &Path, spec: &CustomResourceDefinitionSpec) {
    let group = path.f("group");
    let wrong = dns_subdomain(&spec.group);
    if spec.group.is_empty() {
        errors.push(FieldError::required(group, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(group, &spec.group, wrong.join(",")));
    } else if !spec.group.contains('.') {
        let text = "should be a domain with at least one dot";
        errors.push(FieldError::invalid(group, &spec.group, text));
    }
    one_of(
        errors,
        &path.f("scope"),
        &spec.scope,
        &["Cluster", "Namespaced"],
    );
    let versions = path.f("versions");
    for (i, version_) in spec.versions.iter().enumerate() {
        version(errors, &versions.i(i), version_);
    }
    contents(errors, path, spec);
    let twice = |i: usize| {
        spec.versions[..i]
            .iter()
            .any(|v| v.name == spec.versions[i].name)
    };
    if (0..spec.versions.len()).any(twice) {
        let text = "must contain unique version names";
        errors.push(invalid_versions(&versions, &spec.versions, text));
    }
    if spec.versions.iter().filter(|v| v.storage).count() != 1 {
        let text = "must have exactly one version marked as storage version";
        errors.push(invalid_versions(&versions, &spec.versions, text));
    }
    let n = &spec.names;
    for (name, value) in [
        ("plural", &n.plural),
        ("singular", &n.singular),
        ("kind", &n.kind),
        ("listKind", &n.list_kind),
    ] {
        if value.is_empty() {
            errors.push(FieldError::required(path.f("names").f(name), ""));
        }
    }
    errors.extend(names(n, "spec", "names"));
    if let Some(conversion_) = &spec.conversion {
        conversion(errors, &path.f("conversion"), conversion_);
    }
}

/// The versions as Go prints them, whose contents have moved out when all have the same.
fn invalid_versions(
    path: &Path,
    versions: &[CustomResourceDefinitionVersion],
    detail: &str,
) -> FieldError {
    let one = |v: &CustomResourceDefinitionVersion| {
        let warning = Value::from(v.deprecation_warning.as_ref());
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":null,\
             \"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
            json_text::print(&Value::from(&v.name)),
            v.served,
            v.storage,
            v.deprecated,
            json_text::print(&warning)
        )
    };
    let all: Vec<String> = versions.iter().map(one).collect();
    FieldError::invalid(path, Value::Null, format!("[{}]: {detail}", all.join(",")))
}

fn version(errors: &mut Errors, path: &Path, version: &CustomResourceDefinitionVersion) {
    let wrong = dns_1035_label(&version.name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(
            path.f("name"),
            &version.name,
            wrong.join(","),
        ));
    }
    if let Some(warning) = version
        .deprecation_warning
        .as_ref()
        .filter(|_| !version.deprecated)
    {
        let text = "can only be set for deprecated versions";
        errors.push(FieldError::invalid(
            path.f("deprecationWarning"),
            warning,
            text,
        ));
    }
}

/// Schemas, subresources and columns. Those that all versions share are named as if they stood beside the versions.
fn contents(errors: &mut Errors, path: &Path, spec: &CustomResourceDefinitionSpec) {
    let Some(first) = spec.versions.first() else {
        return;
    };
    let wrong = dns_1035_label(&first.name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(
            path.f("version"),
            &first.name,
            wrong.join(","),
        ));
    }
    let all = |same: fn(&CustomResourceDefinitionVersion) -> Value| {
        spec.versions.iter().all(|v| same(v) == same(first))
    };
    let list = path.f("versions");
    let shared = all(|v| Value::from(v.schema.as_deref().map(json_of)));
    for (i, version) in spec
        .versions
        .iter()
        .enumerate()
        .take(if shared { 1 } else { usize::MAX })
    {
        let own = list.i(i);
        let at = if shared {
            path.f("validation")
        } else {
            own.f("schema")
        };
        let at = at.f("openAPIV3Schema");
        match version
            .schema
            .as_ref()
            .and_then(|s| s.open_apiv3_schema.as_ref())
        {
            Some(found) => {
                let statuses = spec
                    .versions
                    .iter()
                    .filter(|v| shared || v.name == version.name);
                let status = statuses
                    .filter_map(|v| v.subresources.as_ref())
                    .any(|s| s.status.is_some());
                schema::root(errors, &at.to_string(), &json_of(found.as_ref()), status);
            }
            None => errors.push(FieldError::required(
                own.f("schema").f("openAPIV3Schema"),
                "",
            )),
        }
    }
    selectable_fields(errors, path, spec);
    let shared = all(|v| Value::from(v.subresources.as_deref().map(json_of)));
    for (i, version) in spec
        .versions
        .iter()
        .enumerate()
        .take(if shared { 1 } else { usize::MAX })
    {
        let own = list.i(i);
        let at = if shared { *path } else { own };
        if let Some(found) = version.subresources.as_ref().and_then(|s| s.scale.as_ref()) {
            scale(errors, &at.f("subresources"), found);
        }
    }
    all_columns(errors, path, &spec.versions);
}

const SELECTABLE_MAX: usize = 8;

/// Fields that selectors may use: they exist, are plain, and are few.
fn selectable_fields(errors: &mut Errors, path: &Path, spec: &CustomResourceDefinitionSpec) {
    let fields = |v: &CustomResourceDefinitionVersion| -> Vec<Str> {
        v.selectable_fields
            .iter()
            .map(|f| f.json_path.clone())
            .collect()
    };
    let first = fields(&spec.versions[0]);
    let shared = spec.versions.iter().all(|v| fields(v) == first);
    let list = path.f("versions");
    let count = if shared { 1 } else { usize::MAX };
    for (i, version) in spec.versions.iter().enumerate().take(count) {
        let own = list.i(i);
        let at = if shared { *path } else { own };
        let schema = version
            .schema
            .as_ref()
            .and_then(|s| s.open_apiv3_schema.as_ref());
        let schema = schema.map(|s| json_of(s.as_ref())).unwrap_or_default();
        selectable(errors, &at.f("selectableFields"), &fields(version), &schema);
    }
}

fn selectable(errors: &mut Errors, path: &Path, fields: &[Str], schema: &Value) {
    let mut seen: Vec<String> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let at = path.i(i);
        let at = at.f("jsonPath");
        if field.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let found = match fieldpath::normalized(field, schema, false) {
            Ok(found) => found,
            Err(why) => {
                let text = format!("is an invalid path: {why}");
                errors.push(FieldError::invalid(at, field, text));
                continue;
            }
        };
        if found.root == "metadata" {
            let text = "must not point to fields in metadata";
            errors.push(FieldError::invalid(at, field, text));
        }
        let t = found.schema.map_or("", |s| s.str_at(&["type"]));
        if !matches!(t, "string" | "boolean" | "integer") {
            let text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(at, field, text));
        }
        if seen.contains(&found.path) {
            errors.push(FieldError::duplicate(at, field));
        } else {
            seen.push(found.path);
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE_MAX));
    }
}

fn all_columns(errors: &mut Errors, path: &Path, versions: &[CustomResourceDefinitionVersion]) {
    let columns = |v: &CustomResourceDefinitionVersion| {
        Value::List(v.additional_printer_columns.iter().map(json_of).collect())
    };
    let shared = versions.iter().all(|v| columns(v) == columns(&versions[0]));
    let list = path.f("versions");
    for (i, version) in versions
        .iter()
        .enumerate()
        .take(if shared { 1 } else { usize::MAX })
    {
        let own = list.i(i);
        let at = if shared { *path } else { own };
        let at = at.f("additionalPrinterColumns");
        for (i, found) in version.additional_printer_columns.iter().enumerate() {
            column(errors, &at.i(i), found);
        }
    }
}

/// A path such as `.spec.replicas`; says whether it is one.
fn simple_path(errors: &mut Errors, path: &Path, text: &str) -> bool {
    let fine = text.starts_with('.');
    if !fine {
        let detail = "must be a simple json path starting with .";
        errors.push(FieldError::invalid(path, text, detail));
    }
    fine
}

fn scale(errors: &mut Errors, path: &Path, scale: &CustomResourceSubresourceScale) {
    for (name, text, start) in [
        ("scale.specReplicasPath", &scale.spec_replicas_path, ".spec"),
        (
            "scale.statusReplicasPath",
            &scale.status_replicas_path,
            ".status",
        ),
    ] {
        let path = path.f(name);
        if text.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if simple_path(errors, &path, text) && !text.starts_with(&format!("{start}.")) {
            let detail = format!("should be a json path under {start}");
            errors.push(FieldError::invalid(path, text, detail));
        }
    }
    if let Some(text) = scale.label_selector_path.as_ref().filter(|t| !t.is_empty()) {
        let path = path.f("scale.labelSelectorPath");
        let inside = text.starts_with(".spec.") || text.starts_with(".status.");
        if simple_path(errors, &path, text) && !inside {
            let detail = "should be a json path under either .spec or .status";
            errors.push(FieldError::invalid(path, text, detail));
        }
    }
}

fn column(errors: &mut Errors, path: &Path, column: &CustomResourceColumnDefinition) {
    let types = ["boolean", "date", "integer", "number", "string"];
    let formats = [
        "byte",
        "date",
        "date-time",
        "double",
        "float",
        "int32",
        "int64",
        "password",
    ];
    if column.name.is_empty() {
        errors.push(FieldError::required(path.f("name"), ""));
    }
    let text = format!("must be one of {}", types.join(","));
    if column.type_.is_empty() {
        errors.push(FieldError::required(path.f("type"), text));
    } else if !types.contains(&column.type_.as_str()) {
        errors.push(FieldError::invalid(path.f("type"), &column.type_, text));
    }
    if !column.format.is_empty() && !formats.contains(&column.format.as_str()) {
        let text = format!("must be one of {}", formats.join(","));
        errors.push(FieldError::invalid(path.f("format"), &column.format, text));
    }
    if column.json_path.is_empty() {
        errors.push(FieldError::required(path.f("JSONPath"), ""));
    } else {
        simple_path(errors, &path.f("JSONPath"), &column.json_path);
    }
}

/// Names, of the specification or accepted ones.
pub(super) fn names(names: &CustomResourceDefinitionNames, part: &str, member: &str) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f(part);
    let path = path.f(member);
    for (name, value) in [("plural", &names.plural), ("singular", &names.singular)] {
        let wrong = dns_1035_label(value);
        if !value.is_empty() && !wrong.is_empty() {
            errors.push(FieldError::invalid(path.f(name), value, wrong.join(",")));
        }
    }
    for (name, value) in [("kind", &names.kind), ("listKind", &names.list_kind)] {
        let wrong = dns_1035_label(&value.to_lowercase());
        if !value.is_empty() && !wrong.is_empty() {
            let text = format!(
                "may have mixed case, but should otherwise match: {}",
                wrong.join(",")
            );
            errors.push(FieldError::invalid(path.f(name), value, text));
        }
    }
    labels(&mut errors, &path.f("shortNames"), &names.short_names);
    if !names.kind.is_empty() && names.kind == names.list_kind {
        let text = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(
            path.f("listKind"),
            &names.list_kind,
            text,
        ));
    }
    labels(&mut errors, &path.f("categories"), &names.categories);
    errors
}

fn labels(errors: &mut Errors, path: &Path, list: &[Str]) {
    for (i, value) in list.iter().enumerate() {
        let wrong = dns_1035_label(value);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(path.i(i), value, wrong.join(",")));
        }
    }
}

fn stored_versions(errors: &mut Errors, new: &CustomResourceDefinition) {
    let path = Path::Root.f("status");
    let path = path.f("storedVersions");
    let stored = &new.status.stored_versions;
    if stored.is_empty() {
        let text = "must have at least one stored version";
        errors.push(crate::apps::checks::invalid_or_null(&path, None, text));
        return;
    }
    for version in new
        .spec
        .versions
        .iter()
        .filter(|v| v.storage && !stored.contains(&v.name))
    {
        let text = format!("must have the storage version {}", version.name);
        errors.push(FieldError::invalid(&path, value_of_texts(stored), text));
    }
    for (i, version) in stored.iter().enumerate() {
        if new.spec.versions.iter().all(|v| v.name != *version) {
            let text = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {version} and removes \
                 {version} from status.storedVersions"
            );
            errors.push(FieldError::invalid(path.i(i), version, text));
        }
    }
}

fn conversion(errors: &mut Errors, path: &Path, conversion: &CustomResourceConversion) {
    if conversion.strategy.is_empty() {
        errors.push(FieldError::required(path.f("strategy"), ""));
    } else {
        known(
            errors,
            &path.f("strategy"),
            &conversion.strategy,
            &["None", "Webhook"],
        );
    }
    let client = path.f("webhookClientConfig");
    let versions = path.f("conversionReviewVersions");
    let webhook = conversion.webhook.as_ref();
    let config = webhook.and_then(|w| w.client_config.as_ref());
    let reviews = webhook.map_or(&[][..], |w| &w.conversion_review_versions);
    if conversion.strategy != "Webhook" {
        let text = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.push(FieldError::forbidden(client, text));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(versions, text));
        }
        return;
    }
    match config {
        None => {
            let text = "required when strategy is set to Webhook";
            errors.push(FieldError::required(client, text));
        }
        Some(config) if config.url.is_some() == config.service.is_some() => {
            let text = "exactly one of url or service is required";
            errors.push(FieldError::required(client, text));
        }
        Some(config) => {
            if let Some(url) = &config.url {
                validate_url(errors, &client.f("url"), url);
            }
            if let Some(service) = &config.service {
                let path = client.f("service");
                for (name, value) in [("name", &service.name), ("namespace", &service.namespace)] {
                    if value.is_empty() {
                        let text = format!("service {name} is required");
                        errors.push(FieldError::required(path.f(name), text));
                    } else {
                        dns_label(errors, &path.f(name), value);
                    }
                }
            }
        }
    }
    if reviews.is_empty() {
        errors.push(FieldError::required(versions, ""));
    } else if !reviews.iter().any(|v| v == "v1" || v == "v1beta1") {
        let text = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(versions, value_of_texts(reviews), text));
    }
}
