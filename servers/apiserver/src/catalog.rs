//! What is served: every resource of every group and version, built in or custom, with what the ladders need of it.
//! A catalog is immutable; a new one replaces it when custom resources come or go.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use corten_api::{Gvk, Object};
use corten_client::Status;
use corten_core::{Msg, Str, Time, Value};
use corten_kinds::apiextensions::{Beside, Part};
use corten_kinds::{Context, FieldError, Scale, Strategy};
use corten_meta::{GroupResource, GroupVersionKind, GroupVersionResource};
use corten_patch::Schema;
use corten_store::Resource;

use crate::custom::{self, Conversion, Custom};
use crate::metadata;
use crate::openapi::Documents;
use crate::runtime_config::RuntimeConfig;

/// A served subresource.
#[derive(Clone, Debug)]
pub(crate) struct ServedSubresource {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

/// One resource in one version.
pub(crate) struct Served {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub subresources: Vec<ServedSubresource>,
    /// Where its objects are stored.
    pub storage: Resource,
    /// The group and version its objects are stored in.
    pub storage_group: String,
    pub storage_version: String,
    /// Upstream's hash of the storage version, for discovery.
    pub version_hash: String,
    /// The field table; none for custom resources.
    pub msg: Option<&'static Msg>,
    /// The OpenAPI schema of a custom resource.
    pub schema: Option<serde_json::Value>,
    /// What a custom resource has besides; none for built-in kinds.
    pub custom: Option<Custom>,
    /// Stored, though no path leads to it (a storage version that is not served).
    hidden: bool,
    /// Its number among the versions of its objects, once it was asked for.
    number: OnceLock<u32>,
    strategy: &'static dyn Strategy,
}

/// What a custom resource's definition says of one version.
pub(crate) struct CustomFacts {
    pub group: String,
    pub version: String,
    pub served: bool,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub subresources: Vec<ServedSubresource>,
    pub storage: Resource,
    pub storage_version: String,
    pub schema: Option<serde_json::Value>,
    pub custom: Custom,
}

/// A column of a Table.
pub(crate) struct ColumnFacts<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    pub format: &'a str,
    pub description: &'a str,
    pub priority: i32,
}

/// Everything that is served.
pub(crate) struct Catalog {
    all: Vec<Arc<Served>>,
    by_resource: HashMap<(String, String, String), Arc<Served>>,
    by_prefix: HashMap<String, Arc<Served>>,
    groups: Vec<(String, Vec<String>)>,
    /// OpenAPI documents made of it.
    pub documents: Documents,
}

impl Catalog {
    /// The built-in resources that are to be served.
    pub(crate) fn built_in(config: &RuntimeConfig) -> Catalog {
        Catalog::of(Catalog::built_in_resources(config))
    }

    /// The same as a list.
    pub(crate) fn built_in_resources(config: &RuntimeConfig) -> Vec<Arc<Served>> {
        corten_api::resources()
            .iter()
            .filter(|r| config.serves(r))
            .filter_map(|r| built_in(r, config))
            .collect()
    }

    /// A catalog of these resources; groups keep the built-in order, custom ones follow by name.
    pub(crate) fn of(everything: Vec<Arc<Served>>) -> Catalog {
        let mut by_resource = HashMap::new();
        let mut by_prefix: HashMap<String, Arc<Served>> = HashMap::new();
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for known in corten_api::groups() {
            groups.push((
                known.name.to_owned(),
                known.versions.iter().map(|v| (*v).to_owned()).collect(),
            ));
        }
        for served in &everything {
            if served.is_stored()
                && (served.version == served.storage_version
                    && served.group == served.storage_group)
            {
                by_prefix.insert(served.storage.as_str().to_owned(), served.clone());
            }
        }
        let all: Vec<Arc<Served>> = everything.into_iter().filter(|s| !s.hidden).collect();
        for served in &all {
            let key = (
                served.group.clone(),
                served.version.clone(),
                served.plural.clone(),
            );
            by_resource.insert(key, served.clone());
            match groups.iter_mut().find(|(g, _)| *g == served.group) {
                Some((_, versions)) if versions.contains(&served.version) => {}
                Some((_, versions)) => versions.push(served.version.clone()),
                None => groups.push((served.group.clone(), vec![served.version.clone()])),
            }
        }
        let known = corten_api::groups().len();
        for (_, versions) in groups.iter_mut().skip(known) {
            versions.sort_by_cached_key(|version| version_order(version));
        }
        for (group, versions) in &mut groups {
            versions.retain(|v| all.iter().any(|s| s.group == *group && s.version == *v));
        }
        groups.retain(|(_, versions)| !versions.is_empty());
        Catalog {
            all,
            by_resource,
            by_prefix,
            groups,
            documents: Documents::default(),
        }
    }

    /// A resource as a path names it.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        self.by_resource
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The resource whose objects are stored under a prefix, in storage version.
    pub(crate) fn stored_under(&self, prefix: &Resource) -> Option<Arc<Served>> {
        self.by_prefix.get(prefix.as_str()).cloned()
    }

    /// The stored resource of a kind.
    pub(crate) fn stored_kind(&self, group: &str, kind: &str) -> Option<Arc<Served>> {
        self.by_prefix
            .values()
            .find(|s| s.group == group && s.kind == kind)
            .cloned()
    }

    /// Every stored resource once, in storage version.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_prefix.values()
    }

    /// Everything.
    pub(crate) fn all(&self) -> &[Arc<Served>] {
        &self.all
    }

    /// Whether any version of a built-in group is served.
    pub(crate) fn serves_group(&self, group: &str) -> bool {
        self.all.iter().any(|s| s.group == group && !s.is_custom())
    }

    /// The resources of one group and version.
    pub(crate) fn in_version(
        &self,
        group: &str,
        version: &str,
    ) -> impl Iterator<Item = &Arc<Served>> {
        self.all
            .iter()
            .filter(move |s| s.group == group && s.version == version)
    }

    /// Groups and their versions, preferred first.
    pub(crate) fn group_versions(&self) -> Vec<(String, Vec<String>)> {
        self.groups.clone()
    }
}

/// Where a version stands among others: stable ones before betas and alphas, newer ones first, other names last.
fn version_order(version: &str) -> (u8, Reverse<u64>, Reverse<u64>, String) {
    let other = (3, Reverse(0), Reverse(0), version.to_owned());
    let Some(rest) = version.strip_prefix('v') else {
        return other;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits);
    let levels = [("", 0), ("beta", 1), ("alpha", 2)];
    let found = levels.into_iter().find_map(|(name, level)| {
        let minor = rest.strip_prefix(name)?;
        let minor = match (name.is_empty(), minor) {
            (true, "") => 0,
            (true, _) => return None,
            (false, minor) => minor.parse().ok()?,
        };
        Some((level, Reverse(major.parse().ok()?), Reverse(minor)))
    });
    found.map_or(other, |(level, major, minor)| {
        (level, major, minor, String::new())
    })
}

fn built_in(r: &'static corten_api::Resource, config: &RuntimeConfig) -> Option<Arc<Served>> {
    let info = corten_api::kind_info(r.gvk())?;
    // A kind whose storage version is not served is stored as it is served.
    let stored_as = corten_api::resources()
        .iter()
        .find(|o| (o.group, o.version, o.kind) == (r.storage_group, r.storage_version, r.kind));
    let (storage_group, storage_version) = match stored_as.is_some_and(|o| config.serves(o)) {
        true => (r.storage_group, r.storage_version),
        false => (r.group, r.version),
    };
    let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Some(Arc::new(Served {
        group: r.group.into(),
        version: r.version.into(),
        kind: r.kind.into(),
        plural: r.plural.into(),
        singular: r.singular.into(),
        namespaced: r.namespaced,
        short_names: owned(r.short_names),
        categories: owned(r.categories),
        verbs: owned(r.verbs),
        subresources: r
            .subresources
            .iter()
            .map(|s| ServedSubresource {
                name: s.name.into(),
                group: s.group.into(),
                version: s.version.into(),
                kind: s.kind.into(),
                verbs: owned(s.verbs),
            })
            .collect(),
        storage: Resource::new(r.storage_prefix),
        storage_group: storage_group.into(),
        storage_version: storage_version.into(),
        version_hash: r.storage_version_hash.into(),
        msg: Some(info.msg()),
        schema: None,
        custom: None,
        hidden: false,
        number: OnceLock::new(),
        // Events have a strategy in each of their groups, over one stored form.
        strategy: corten_kinds::strategy(
            if r.kind == "Event" {
                r.group
            } else {
                storage_group
            },
            r.kind,
        ),
    }))
}

impl Served {
    /// A version of a custom resource.
    pub(crate) fn custom(facts: CustomFacts) -> Served {
        let stored = format!("{}/{}/{}", facts.group, facts.storage_version, facts.kind);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, stored.as_bytes());
        use base64::Engine as _;
        Served {
            strategy: corten_kinds::strategy(&facts.group, &facts.kind),
            storage_group: facts.group.clone(),
            group: facts.group,
            version: facts.version,
            kind: facts.kind,
            plural: facts.plural,
            singular: facts.singular,
            namespaced: facts.namespaced,
            short_names: facts.short_names,
            categories: facts.categories,
            verbs: facts.verbs,
            subresources: facts.subresources,
            storage: facts.storage,
            storage_version: facts.storage_version,
            version_hash: base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8]),
            msg: None,
            schema: facts.schema,
            custom: Some(facts.custom),
            hidden: !facts.served,
            number: OnceLock::new(),
        }
    }

    /// Whether objects of it are kept (reviews and the like are not).
    pub(crate) fn is_stored(&self) -> bool {
        !self.version_hash.is_empty()
    }

    /// Whether it is a custom resource.
    pub(crate) fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// What clients are told who still use it.
    pub(crate) fn deprecation(&self) -> Option<String> {
        match (self.group.as_str(), self.plural.as_str()) {
            ("", "endpoints") => Some(
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                    .into(),
            ),
            ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+".into()),
            _ => None,
        }
    }

    /// Whether its objects expire.
    pub(crate) fn is_event(&self) -> bool {
        self.storage.as_str() == "events"
    }

    /// For discovery.
    pub(crate) fn storage_hash(&self) -> String {
        self.version_hash.clone()
    }

    /// Whether it has a subresource.
    pub(crate) fn subresource(&self, name: &str) -> Option<&ServedSubresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// `v1` or `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource as typed snapshots name it.
    pub(crate) fn storage_resource(&self) -> GroupResource {
        GroupResource::new(self.storage_group.as_str(), self.plural.as_str())
    }

    pub(crate) fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(
            self.group.as_str(),
            self.version.as_str(),
            self.kind.as_str(),
        )
    }

    /// The same, borrowed.
    pub(crate) fn group_version_kind_ref(&self) -> Gvk<'_> {
        Gvk {
            group: &self.group,
            version: &self.version,
            kind: &self.kind,
        }
    }

    pub(crate) fn group_version_resource(&self) -> GroupVersionResource {
        GroupVersionResource::new(
            self.group.as_str(),
            self.version.as_str(),
            self.plural.as_str(),
        )
    }

    /// The kind its objects are stored as.
    pub(crate) fn storage_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(
            self.storage_group.as_str(),
            self.storage_version.as_str(),
            self.kind.as_str(),
        )
    }

    /// Numbers the versions of a resource: 0 is the storage version.
    pub(crate) fn version_number(&self) -> u32 {
        if self.is_storage_version() && !self.is_custom() {
            return 0;
        }
        *self.number.get_or_init(|| self.hashed_number())
    }

    fn hashed_number(&self) -> u32 {
        // Custom resources are shown as their definition is at the time.
        let state = self.custom.as_ref().map_or("", |c| c.definition.as_str());
        let text = format!("{} {state}", self.api_version());
        text.bytes().fold(0x811c_9dc5_u32, |hash, b| {
            (hash ^ u32::from(b)).wrapping_mul(0x0100_0193)
        }) >> 5
            | 1
    }

    fn is_storage_version(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }

    /// The object in storage version. What a webhook converts stays as it is: it goes through the ladders in the
    /// version of the request and is converted when it is written.
    pub(crate) fn to_storage(&self, mut object: Object) -> Result<Object, Status> {
        if self.conversion().is_some() {
            return Ok(object);
        }
        if let Some(dynamic) = object.as_dynamic_mut() {
            dynamic.api_version = format!("{}/{}", self.group, self.storage_version).into();
            return Ok(object);
        }
        if self.is_storage_version() {
            return Ok(object);
        }
        corten_kinds::convert(object, &self.storage_kind()).map_err(Status::internal)
    }

    /// Whether objects of it are shown in the version they are stored in, and both are protobuf.
    pub(crate) fn is_shown_as_stored(&self) -> bool {
        !self.is_custom() && self.is_storage_version()
    }

    /// The object in the version served, with the defaults it has now; none when it is so already. What a webhook
    /// converts must have been made ready.
    pub(crate) fn served_version(&self, object: &Object) -> Result<Option<Object>, Status> {
        if self.is_custom() {
            let wanted = self.api_version();
            let same = object.api_version() == wanted;
            let mut shown = match same {
                true => object.clone(),
                // First as the version that is stored is read, whose defaults it gets.
                false if self.conversion().is_none() => {
                    let mut stored = object.clone();
                    self.as_stored(&mut stored);
                    self.converted(&stored, &wanted)?
                }
                false => self.converted(object, &wanted)?,
            };
            if let Some(custom) = &self.custom {
                custom::with_body(&mut shown, |body| {
                    custom.structural.prune(body);
                    if same || custom.conversion.is_some() {
                        custom.structural.default(body);
                    }
                });
            }
            return Ok((shown != *object).then_some(shown));
        }
        if self.is_storage_version() {
            return Ok(None);
        }
        corten_kinds::convert(object.clone(), &self.group_version_kind())
            .map(Some)
            .map_err(Status::internal)
    }

    /// A custom resource as its own version has it now: without what the schema no longer names, with new defaults.
    fn as_stored(&self, object: &mut Object) {
        let version = object.gvk().version.to_owned();
        let others = self.custom.iter().flat_map(|c| &c.others);
        if let Some((_, structural)) = others.into_iter().find(|(name, _)| *name == version) {
            custom::with_body(object, |body| {
                structural.prune(body);
                structural.default(body);
            });
        }
    }

    /// A custom resource in another version: as its webhook has it, or under another name.
    pub(crate) fn converted(&self, object: &Object, wanted: &str) -> Result<Object, Status> {
        let mut made = match self.conversion() {
            None => object.clone(),
            Some(conversion) => conversion.find(object, wanted).ok_or_else(|| {
                let version = object.api_version();
                Status::internal(format!(
                    "conversion webhook for {version}, Kind={} failed: it is not asked for {wanted} here",
                    self.kind
                ))
            })?,
        };
        if let Some(dynamic) = made.as_dynamic_mut() {
            dynamic.api_version = wanted.into();
        }
        Ok(made)
    }

    /// The webhook that converts its objects.
    pub(crate) fn conversion(&self) -> Option<&Conversion> {
        self.custom.as_ref().and_then(|c| c.conversion.as_ref())
    }

    /// The kind's strategy.
    pub(crate) fn strategy(&self) -> &'static dyn Strategy {
        self.strategy
    }

    pub(crate) fn default(&self, object: &mut Object) {
        match &self.custom {
            Some(custom) => custom::with_body(object, |body| custom.structural.default(body)),
            None => self.strategy.default(object),
        }
    }

    /// Defaults an object in storage version (after admission changed it).
    pub(crate) fn default_storage(&self, object: &mut Object) {
        self.default(object);
    }

    pub(crate) fn prepare_create(&self, cx: &Context<'_>, new: &mut Object) {
        self.strategy.prepare_create(cx, new);
    }

    pub(crate) fn prepare_update(
        &self,
        cx: &Context<'_>,
        part: &str,
        new: &mut Object,
        old: &Object,
    ) {
        self.strategy.prepare_update(cx, part, new, old);
    }

    pub(crate) fn validate_create(&self, cx: &Context<'_>, new: &Object) -> Vec<FieldError> {
        let mut errors = self.strategy.validate_create(cx, new);
        errors.extend(self.schema_errors(new, None, "").0);
        errors
    }

    /// What is wrong with an update, and what would be if it had not been so before.
    pub(crate) fn validate_update(
        &self,
        cx: &Context<'_>,
        part: &str,
        new: &Object,
        old: &Object,
    ) -> (Vec<FieldError>, Vec<String>) {
        let mut errors = self.strategy.validate_update(cx, part, new, old);
        let (found, excused) = self.schema_errors(new, Some(old), part);
        errors.extend(found);
        (errors, excused)
    }

    /// Where patches find merge keys and list types.
    pub(crate) fn patch_schema(&self) -> Schema<'_> {
        match (self.msg, &self.custom) {
            (Some(msg), _) => Schema::Table(msg),
            (None, Some(custom)) => Schema::OpenApi(custom.structural.value()),
            (None, None) => Schema::Free,
        }
    }

    /// The whole of a custom resource as a value.
    fn custom_value(&self, object: &Object) -> Option<Value> {
        self.custom.as_ref().and_then(|_| object.to_value().ok())
    }

    /// What a custom resource's schema finds wrong, and what is only worth a warning.
    fn schema_errors(
        &self,
        object: &Object,
        old: Option<&Object>,
        part: &str,
    ) -> (Vec<FieldError>, Vec<String>) {
        let (Some(custom), Some(value)) = (&self.custom, self.custom_value(object)) else {
            return Default::default();
        };
        let metadata = match old {
            None => metadata::new_metadata_errors(self, object),
            Some(old) => metadata::metadata_errors(self, object, old),
        };
        let old = old.and_then(|o| self.custom_value(o));
        let part = match part {
            "status" => Part::Status,
            _ => Part::Whole,
        };
        let beside = Beside {
            metadata,
            scale: custom.scale.as_ref(),
        };
        custom
            .structural
            .validate(&value, old.as_ref(), part, &beside)
    }

    /// The columns of its Tables.
    pub(crate) fn columns(&self) -> Vec<ColumnFacts<'_>> {
        if let Some(custom) = &self.custom {
            return custom
                .columns
                .iter()
                .map(|c| ColumnFacts {
                    name: &c.name,
                    kind: &c.kind,
                    format: &c.format,
                    description: &c.description,
                    priority: c.priority,
                })
                .collect();
        }
        let columns = self.strategy.columns().iter();
        columns
            .map(|c| ColumnFacts {
                name: c.name,
                kind: c.kind,
                format: c.format,
                description: c.description,
                priority: c.priority,
            })
            .collect()
    }

    /// The cells of one row.
    pub(crate) fn cells(&self, object: &Object, now: &Time) -> Vec<Value> {
        let shown = match self.is_custom() {
            true => self.served_version(object).ok().flatten(),
            false => None,
        };
        let object = shown.as_ref().unwrap_or(object);
        match (&self.custom, self.custom_value(object)) {
            (Some(custom), Some(value)) => {
                custom.columns.iter().map(|c| c.cell(&value, now)).collect()
            }
            _ => self.strategy.cells(object, now),
        }
    }

    /// The scale of a workload, for kinds that have one.
    pub(crate) fn scale(&self, object: &Object) -> Option<Scale> {
        let Some(custom) = &self.custom else {
            return self.strategy.scale(object);
        };
        let (replicas, status, selector) = custom.scale.as_ref()?;
        let value = object.to_value().ok()?;
        Some(Scale {
            replicas: custom::number_at(&value, replicas).unwrap_or(0),
            status_replicas: custom::number_at(&value, status).unwrap_or(0),
            selector: custom::text_at(&value, selector),
        })
    }

    /// Where the replicas of a workload are.
    pub(crate) fn replicas_path(&self) -> Vec<String> {
        let asked = self.custom.as_ref().and_then(|c| c.scale.as_ref());
        let path = asked.map_or(".spec.replicas", |(path, _, _)| path.as_str());
        let steps = path.split('.').filter(|s| !s.is_empty());
        steps.map(str::to_owned).collect()
    }

    /// Sets the replicas of a workload.
    pub(crate) fn set_scale(&self, object: &mut Object, replicas: i32) {
        match self.custom.as_ref().map(|c| &c.scale) {
            Some(Some((path, _, _))) => {
                custom::with_body(object, |body| custom::set_number_at(body, path, replicas));
            }
            Some(None) => {}
            None => self.strategy.set_scale(object, replicas),
        }
    }

    pub(crate) fn warnings(
        &self,
        cx: &Context<'_>,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<String> {
        self.strategy.warnings(cx, new, old)
    }

    pub(crate) fn field_labels(&self) -> Vec<&str> {
        match &self.custom {
            Some(custom) => custom
                .selectable
                .iter()
                .map(|p| p.trim_start_matches('.'))
                .collect(),
            None => self.strategy.field_labels().to_vec(),
        }
    }

    pub(crate) fn field_values(&self, object: &Object) -> Vec<Str> {
        match (&self.custom, self.custom_value(object)) {
            (Some(custom), Some(value)) => custom
                .selectable
                .iter()
                .map(|p| custom::text_at(&value, p).into())
                .collect(),
            _ => self.strategy.field_values(object),
        }
    }

    pub(crate) fn unconditional_update(&self) -> bool {
        self.strategy.unconditional_update()
    }

    pub(crate) fn create_on_update(&self) -> bool {
        self.strategy.create_on_update()
    }

    pub(crate) fn grace(&self, object: &Object, asked: Option<i64>) -> Option<i64> {
        self.strategy.grace(object, asked)
    }

    pub(crate) fn default_propagation(&self) -> corten_kinds::Propagation {
        self.strategy.default_propagation()
    }
}
