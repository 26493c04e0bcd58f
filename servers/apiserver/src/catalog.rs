//! What is served: every resource of every group and version, built in or custom, with what the ladders need of it.
//! A catalog is immutable; a new one replaces it when custom resources come or go.

use std::collections::HashMap;
use std::sync::Arc;

use corten_api::{Gvk, Object};
use corten_client::Status;
use corten_core::{Msg, Str};
use corten_kinds::{Context, FieldError, Strategy};
use corten_meta::{GroupResource, GroupVersionKind, GroupVersionResource};
use corten_store::Resource;

use crate::openapi::Documents;

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
    strategy: &'static dyn Strategy,
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
    /// The built-in resources of stable versions.
    pub(crate) fn built_in() -> Catalog {
        let served = corten_api::resources()
            .iter()
            .filter(|r| r.default_on() && r.plural != "componentstatuses")
            .filter_map(built_in)
            .collect();
        Catalog::of(served)
    }

    /// A catalog of these resources; groups keep the built-in order, custom ones follow by name.
    pub(crate) fn of(all: Vec<Arc<Served>>) -> Catalog {
        let mut by_resource = HashMap::new();
        let mut by_prefix: HashMap<String, Arc<Served>> = HashMap::new();
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for known in corten_api::groups() {
            groups.push((
                known.name.to_owned(),
                known.versions.iter().map(|v| (*v).to_owned()).collect(),
            ));
        }
        for served in &all {
            let key = (
                served.group.clone(),
                served.version.clone(),
                served.plural.clone(),
            );
            by_resource.insert(key, served.clone());
            if served.is_stored()
                && (served.version == served.storage_version
                    && served.group == served.storage_group)
            {
                by_prefix.insert(served.storage.as_str().to_owned(), served.clone());
            }
            match groups.iter_mut().find(|(g, _)| *g == served.group) {
                Some((_, versions)) if versions.contains(&served.version) => {}
                Some((_, versions)) => versions.push(served.version.clone()),
                None => groups.push((served.group.clone(), vec![served.version.clone()])),
            }
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

fn built_in(r: &'static corten_api::Resource) -> Option<Arc<Served>> {
    let info = corten_api::kind_info(r.gvk())?;
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
        storage_group: r.storage_group.into(),
        storage_version: r.storage_version.into(),
        version_hash: r.storage_version_hash.into(),
        msg: Some(info.msg()),
        schema: None,
        strategy: corten_kinds::strategy(r.storage_group, r.kind),
    }))
}

impl Served {
    /// Whether objects of it are kept (reviews and the like are not).
    pub(crate) fn is_stored(&self) -> bool {
        !self.version_hash.is_empty()
    }

    /// Whether it is a custom resource.
    pub(crate) fn is_custom(&self) -> bool {
        self.msg.is_none()
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
        if self.is_storage_version() {
            return 0;
        }
        let text = self.api_version();
        text.bytes().fold(0x811c_9dc5_u32, |hash, b| {
            (hash ^ u32::from(b)).wrapping_mul(0x0100_0193)
        }) >> 5
            | 1
    }

    fn is_storage_version(&self) -> bool {
        self.group == self.storage_group && self.version == self.storage_version
    }

    /// The object in storage version.
    pub(crate) fn to_storage(&self, object: Object) -> Result<Object, Status> {
        if self.is_storage_version() {
            return Ok(object);
        }
        corten_kinds::convert(object, &self.storage_kind()).map_err(Status::internal)
    }

    /// The object in the version served.
    pub(crate) fn served_version(&self, object: &Object) -> Result<Option<Object>, Status> {
        if self.is_storage_version() {
            return Ok(None);
        }
        corten_kinds::convert(object.clone(), &self.group_version_kind())
            .map(Some)
            .map_err(Status::internal)
    }

    /// The kind's strategy.
    pub(crate) fn strategy(&self) -> &'static dyn Strategy {
        self.strategy
    }

    pub(crate) fn default(&self, object: &mut Object) {
        self.strategy.default(object);
    }

    /// Defaults an object in storage version (after admission changed it).
    pub(crate) fn default_storage(&self, object: &mut Object) {
        self.strategy.default(object);
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
        self.strategy.validate_create(cx, new)
    }

    pub(crate) fn validate_update(
        &self,
        cx: &Context<'_>,
        part: &str,
        new: &Object,
        old: &Object,
    ) -> Vec<FieldError> {
        self.strategy.validate_update(cx, part, new, old)
    }

    pub(crate) fn warnings(
        &self,
        cx: &Context<'_>,
        new: &Object,
        old: Option<&Object>,
    ) -> Vec<String> {
        self.strategy.warnings(cx, new, old)
    }

    pub(crate) fn field_labels(&self) -> &'static [&'static str] {
        self.strategy.field_labels()
    }

    pub(crate) fn field_values(&self, object: &Object) -> Vec<Str> {
        self.strategy.field_values(object)
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
