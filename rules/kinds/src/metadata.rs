//! Metadata as every kind has it: what upstream checks on create and update, with its paths and words.
//! Leaves out what the kind itself decides (its names, through `Strategy::invalid_name`).

use crate::Strategy;
use crate::error::{FieldError, IMMUTABLE, NEGATIVE};
use crate::names;
use corten_api::meta::v1::{
    Condition, LabelSelector, ManagedFieldsEntry, ObjectMeta, OwnerReference,
};
use corten_core::{Map, Message, Path, Str, Value, to_value};
use corten_meta::labels;

const ANNOTATIONS_MAX: usize = 256 << 10;

/// A struct as the bad value of an error.
pub fn value_of<M: Message>(message: &M) -> Value {
    crate::internal::printed(message)
}

/// A message as its JSON; what fails to be told is as if it were not there.
pub fn json_of<M: Message>(message: &M) -> Value {
    to_value(message).unwrap_or_default()
}

/// A list of texts as the bad value of an error.
pub fn value_of_texts(texts: &[Str]) -> Value {
    Value::List(texts.iter().map(Value::from).collect())
}

/// The one name that an object may have because of what else it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedName {
    /// It.
    pub name: String,
    /// What is said of another.
    pub why: String,
    /// Whether that is said also of names that could be nobody's.
    pub always: bool,
}

/// Upstream's ValidateObjectMeta; `fixed` is the one name there may be, and the words when it is another.
pub fn validate_metadata(
    meta: &ObjectMeta,
    namespaced: bool,
    strategy: &dyn Strategy,
    fixed: Option<FixedName>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::Root.f("metadata");
    let invalid = |name: &str, prefix: bool| {
        let mut texts = strategy.invalid_name(name, prefix);
        let fixed = fixed.as_ref().filter(|fixed| name != fixed.name);
        if let Some(fixed) = fixed.filter(|fixed| fixed.always || texts.is_empty()) {
            texts.push(fixed.why.clone());
        }
        texts
    };
    if !meta.generate_name.is_empty() {
        for text in invalid(&meta.generate_name, true) {
            errors.push(FieldError::invalid(
                path.f("generateName"),
                &meta.generate_name,
                text,
            ));
        }
    }
    if meta.name.is_empty() {
        errors.push(FieldError::required(
            path.f("name"),
            "name or generateName is required",
        ));
    } else {
        for text in invalid(&meta.name, false) {
            errors.push(FieldError::invalid(path.f("name"), &meta.name, text));
        }
    }
    errors.extend(validate_namespace(
        &meta.namespace,
        namespaced,
        &path.f("namespace"),
    ));
    if meta.generation < 0 {
        errors.push(FieldError::invalid(
            path.f("generation"),
            meta.generation,
            NEGATIVE,
        ));
    }
    errors.extend(validate_labels(&meta.labels, &path.f("labels")));
    errors.extend(validate_annotations(
        &meta.annotations,
        &path.f("annotations"),
    ));
    errors.extend(validate_owners(
        &meta.owner_references,
        &path.f("ownerReferences"),
    ));
    errors.extend(validate_finalizers(&meta.finalizers, &path.f("finalizers")));
    errors.extend(validate_managed_fields(
        &meta.managed_fields,
        &path.f("managedFields"),
    ));
    if strategy.checks_finalizers() {
        let path = path.f("finalizers");
        for (i, name) in meta.finalizers.iter().enumerate() {
            errors.extend(standard_finalizer(name, &path.i(i)));
        }
    }
    errors
}

fn validate_namespace(namespace: &str, namespaced: bool, path: &Path) -> Vec<FieldError> {
    match (namespaced, namespace.is_empty()) {
        (false, true) => vec![],
        (false, false) => vec![FieldError::forbidden(path, "not allowed on this type")],
        (true, true) => vec![FieldError::required(path, "")],
        (true, false) => {
            let wrong = names::dns_label(namespace).into_iter();
            wrong
                .map(|text| FieldError::invalid(path, namespace, text))
                .collect()
        }
    }
}

/// A part of validating the metadata of an update. Upstream's strategies each repeat some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// What holds for metadata at any time.
    Whole,
    /// The same, and finalizers without a domain must be known ones.
    WholeStrict,
    /// What an update may not change, and the maps.
    Change,
    /// The same, and finalizers without a domain must be known ones.
    ChangeStrict,
}

/// What custom resources go through after what every kind does.
pub const CUSTOM_ROUNDS: &[Round] = &[Round::Change];

/// What a kind's updates go through after what every kind does.
pub fn metadata_rounds(group: &str, kind: &str) -> &'static [Round] {
    use Round::{Change, ChangeStrict, Whole, WholeStrict};
    match (group, kind) {
        ("", "Event") | ("policy", "PodDisruptionBudget") => &[],
        ("coordination.k8s.io", "Lease") | ("apiextensions.k8s.io", _) => &[Change],
        ("admissionregistration.k8s.io", _) => &[Whole],
        ("apiregistration.k8s.io", _) => &[Change, Whole],
        ("node.k8s.io", _) => &[Whole, Change],
        ("", "LimitRange")
        | ("flowcontrol.apiserver.k8s.io" | "discovery.k8s.io", _)
        | ("storage.k8s.io", "CSINode" | "VolumeAttachment") => &[WholeStrict],
        ("", "PersistentVolume") => &[WholeStrict, WholeStrict],
        ("", "Namespace" | "Node")
        | ("batch", "Job")
        | ("networking.k8s.io", "IPAddress")
        | ("certificates.k8s.io" | "rbac.authorization.k8s.io", _)
        | ("resource.k8s.io", "DeviceClass" | "ResourceClaim" | "ResourceClaimTemplate")
        | ("storage.k8s.io", "StorageClass" | "CSIStorageCapacity") => &[WholeStrict, ChangeStrict],
        (
            "",
            "ConfigMap"
            | "Secret"
            | "ServiceAccount"
            | "Endpoints"
            | "PersistentVolumeClaim"
            | "Pod",
        )
        | ("apps", "ControllerRevision")
        | ("networking.k8s.io", "Ingress" | "IngressClass")
        | ("storage.k8s.io", "VolumeAttributesClass") => &[ChangeStrict, WholeStrict],
        _ => &[ChangeStrict],
    }
}

/// Upstream's checks of the metadata of an update: those that every kind has, then these rounds. Apart from
/// resourceVersion, which the API server checks.
pub fn validate_metadata_update(
    new: &ObjectMeta,
    old: &ObjectMeta,
    rounds: &[Round],
) -> Vec<FieldError> {
    // Nearly always there is nothing, whatever the rounds.
    let strict = changed(new, old)
        .into_iter()
        .chain(whole(new))
        .chain(bare_finalizers(new));
    if strict.count() == 0 {
        return Vec::new();
    }
    let all = [Round::Whole, Round::Change];
    let mut errors = Vec::new();
    for round in all.iter().chain(rounds) {
        match round {
            Round::Whole | Round::WholeStrict => errors.extend(whole(new)),
            Round::Change | Round::ChangeStrict => errors.extend(changed(new, old)),
        }
        if matches!(round, Round::WholeStrict | Round::ChangeStrict) {
            errors.extend(bare_finalizers(new));
        }
    }
    errors
}

fn maps(meta: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_labels(&meta.labels, &path.f("labels"));
    let annotations = path.f("annotations");
    errors.extend(validate_annotations(&meta.annotations, &annotations));
    let owners = path.f("ownerReferences");
    errors.extend(validate_owners(&meta.owner_references, &owners));
    errors
}

fn whole(meta: &ObjectMeta) -> Vec<FieldError> {
    let path = Path::Root.f("metadata");
    let mut errors = maps(meta, &path);
    errors.extend(validate_finalizers(&meta.finalizers, &path.f("finalizers")));
    let managers = path.f("managedFields");
    errors.extend(validate_managed_fields(&meta.managed_fields, &managers));
    errors
}

fn bare_finalizers(meta: &ObjectMeta) -> Vec<FieldError> {
    let metadata = Path::Root.f("metadata");
    let path = metadata.f("finalizers");
    let names = meta.finalizers.iter().enumerate();
    names
        .filter_map(|(i, name)| standard_finalizer(name, &path.i(i)))
        .collect()
}

fn changed(new: &ObjectMeta, old: &ObjectMeta) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::Root.f("metadata");
    if old.deletion_timestamp.is_some() {
        let mut added: Vec<&str> = new
            .finalizers
            .iter()
            .filter(|f| !old.finalizers.contains(f))
            .map(|f| f.as_str())
            .collect();
        added.sort_unstable();
        added.dedup();
        if !added.is_empty() {
            let shown: Vec<String> = added.iter().map(|f| crate::error::quote(f)).collect();
            errors.push(FieldError::forbidden(
                path.f("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    shown.join(", ")
                ),
            ));
        }
    }
    if new.generation < old.generation {
        errors.push(FieldError::invalid(
            path.f("generation"),
            new.generation,
            "must not be decremented",
        ));
    }
    errors.extend(validate_fixed(new, old, &path));
    errors.extend(maps(new, &path));
    let managers = path.f("managedFields");
    errors.extend(validate_managed_fields(&new.managed_fields, &managers));
    errors
}

fn validate_fixed(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut fixed = |key: &str, same: bool, value: Value| {
        if !same {
            let value = if value.is_null() {
                crate::error::verbatim("null")
            } else {
                value
            };
            errors.push(FieldError::invalid(path.f(key), value, IMMUTABLE));
        }
    };
    fixed("name", new.name == old.name, Value::from(&new.name));
    fixed(
        "namespace",
        new.namespace == old.namespace,
        Value::from(&new.namespace),
    );
    fixed("uid", new.uid == old.uid, Value::from(&new.uid));
    fixed(
        "creationTimestamp",
        new.creation_timestamp == old.creation_timestamp,
        time_value(Some(new.creation_timestamp)),
    );
    fixed(
        "deletionTimestamp",
        new.deletion_timestamp == old.deletion_timestamp,
        time_value(new.deletion_timestamp),
    );
    let seconds = new.deletion_grace_period_seconds;
    fixed(
        "deletionGracePeriodSeconds",
        seconds == old.deletion_grace_period_seconds,
        Value::from(seconds),
    );
    errors
}

/// A time as the bad value of an error.
pub fn time_value(time: Option<corten_core::Time>) -> Value {
    Value::from(time.filter(|t| !t.is_zero()).map(|t| t.to_string()))
}

/// Keys and values of labels.
pub fn validate_labels(map: &Map<Str>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in map {
        errors.extend(validate_label_key(key, path));
        for text in labels::invalid_value(value) {
            errors.push(FieldError::invalid(path, value, text));
        }
    }
    errors
}

/// The key of a label, or another qualified name.
pub fn validate_label_key(key: &str, path: &Path) -> Vec<FieldError> {
    labels::invalid_key(key)
        .into_iter()
        .map(|text| FieldError::invalid(path, key, text))
        .collect()
}

/// Keys of annotations and their size.
pub fn validate_annotations(map: &Map<Str>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in map {
        size += key.len() + value.len();
        for text in labels::invalid_key(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, key, text));
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

fn validate_owners(owners: &[OwnerReference], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut first: Option<String> = None;
    for owner in owners {
        let (group, version) = owner
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", &owner.api_version));
        for (key, value, empty, text) in [
            (
                "apiVersion",
                &owner.api_version,
                version.is_empty(),
                "version must not be empty",
            ),
            (
                "kind",
                &owner.kind,
                owner.kind.is_empty(),
                "must not be empty",
            ),
            (
                "name",
                &owner.name,
                owner.name.is_empty(),
                "must not be empty",
            ),
            ("uid", &owner.uid, owner.uid.is_empty(), "must not be empty"),
        ] {
            if empty {
                errors.push(FieldError::invalid(path.f(key), value, text));
            }
        }
        if (group, version, owner.kind.as_str()) == ("", "v1", "Event") {
            let text = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(path, value_of(owner), text));
        }
        if owner.controller != Some(true) {
            continue;
        }
        let name = format!("{}/{}", owner.kind, owner.name);
        match &first {
            None => first = Some(name),
            Some(before) => {
                let all = crate::internal::printed_list(owners);
                let text = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {before} and {name}"
                );
                errors.push(FieldError::invalid(path, all, text));
            }
        }
    }
    errors
}

fn validate_finalizers(finalizers: &[Str], path: &Path) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = finalizers
        .iter()
        .flat_map(|f| validate_label_key(f, path))
        .collect();
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let text = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, value_of_texts(finalizers), text));
    }
    errors
}

/// A finalizer without a domain must be one that Kubernetes knows.
pub fn standard_finalizer(name: &str, path: &Path) -> Option<FieldError> {
    let standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
    let known = standard || name.contains('/');
    let text = "name is neither a standard finalizer name nor is it fully qualified";
    (!known).then(|| FieldError::invalid(path, name, text))
}

fn validate_managed_fields(entries: &[ManagedFieldsEntry], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let path = path.i(i);
        if !matches!(entry.operation.as_str(), "Apply" | "Update") {
            let text = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid(
                path.f("operation"),
                &entry.operation,
                text,
            ));
        }
        if !matches!(entry.fields_type.as_str(), "" | "FieldsV1") {
            errors.push(FieldError::invalid(
                path.f("fieldsType"),
                &entry.fields_type,
                "must be `FieldsV1`",
            ));
        }
        if entry.manager.len() > 128 {
            errors.push(FieldError::too_long(path.f("manager"), 128));
        }
        if entry.subresource.len() > 256 {
            errors.push(FieldError::too_long(path.f("subresource"), 256));
        }
    }
    errors
}

/// Upstream's ValidateConditions, of conditions as newer kinds have them.
pub fn validate_conditions(conditions: &[Condition], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        let at = path.i(i);
        if conditions[..i].iter().any(|c| c.type_ == condition.type_) {
            errors.push(FieldError::duplicate(at.f("type"), &condition.type_));
        }
        if condition.type_.is_empty() {
            errors.push(FieldError::required(at.f("type"), ""));
        } else {
            errors.extend(validate_label_key(&condition.type_, &at.f("type")));
        }
        let known = ["False", "True", "Unknown"];
        if !known.contains(&condition.status.as_str()) {
            let at = at.f("status");
            errors.push(FieldError::not_supported(at, &condition.status, &known));
        }
        if condition.observed_generation < 0 {
            let at = at.f("observedGeneration");
            errors.push(FieldError::invalid(
                at,
                condition.observed_generation,
                NEGATIVE,
            ));
        }
        if condition.last_transition_time.is_zero() {
            errors.push(FieldError::required(at.f("lastTransitionTime"), ""));
        }
        if condition.reason.is_empty() {
            errors.push(FieldError::required(at.f("reason"), ""));
        } else if condition.reason.len() > 1024 {
            errors.push(FieldError::too_long(at.f("reason"), 1024));
        }
        if condition.message.len() > 32_768 {
            errors.push(FieldError::too_long(at.f("message"), 32_768));
        }
    }
    errors
}

/// How strictly a label selector is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SelectorValues {
    /// Values must be label values.
    #[default]
    Checked,
    /// Values may be anything (objects stored before the check existed).
    Unchecked,
}

/// Upstream's ValidateLabelSelector.
pub fn validate_selector(
    selector: &LabelSelector,
    values: SelectorValues,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = validate_labels(&selector.match_labels, &path.f("matchLabels"));
    let list = path.f("matchExpressions");
    for (i, r) in selector.match_expressions.iter().enumerate() {
        let path = list.i(i);
        match r.operator.as_str() {
            "In" | "NotIn" => {
                if r.values.is_empty() {
                    let text = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(FieldError::required(path.f("values"), text));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !r.values.is_empty() {
                    let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(FieldError::forbidden(path.f("values"), text));
                }
            }
            _ => errors.push(FieldError::invalid(
                path.f("operator"),
                &r.operator,
                "not a valid selector operator",
            )),
        }
        errors.extend(validate_label_key(&r.key, &path.f("key")));
        if values == SelectorValues::Checked {
            for (at, value) in r.values.iter().enumerate() {
                for text in labels::invalid_value(value) {
                    errors.push(FieldError::invalid(path.f("values").i(at), value, text));
                }
            }
        }
    }
    errors
}

/// What an update of the status of newer kinds may not touch: everything in metadata but managedFields and
/// resourceVersion (upstream's ResetObjectMetaForStatus).
pub fn reset_for_status(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp = old.deletion_timestamp;
    new.generation = old.generation;
    new.self_link = old.self_link.clone();
    new.labels = old.labels.clone();
    new.annotations = old.annotations.clone();
    new.finalizers = old.finalizers.clone();
    new.owner_references = old.owner_references.clone();
}
