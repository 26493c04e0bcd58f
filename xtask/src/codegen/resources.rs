//! Resources as upstream's discovery documents list them, with the prefix and version under which they are stored.

use super::Options;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

/// All resources and groups.
#[derive(Debug)]
pub struct Resources {
    pub list: Vec<Resource>,
    /// Group name, versions in order of preference.
    pub groups: Vec<(String, Vec<String>)>,
}

#[derive(Debug)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub hash: String,
    pub storage: (String, String),
    pub prefix: String,
    pub subresources: Vec<Subresource>,
}

#[derive(Debug)]
pub struct Subresource {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

impl Resources {
    /// The resource of a kind.
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.list
            .iter()
            .find(|r| r.group == group && r.version == version && r.kind == kind)
    }
}

fn load(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_string()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    value[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_string))
        .collect()
}

/// Reads `api/discovery` of k8s.io/kubernetes.
pub fn read(options: &Options) -> Result<Resources> {
    let dir = options
        .modules
        .join(format!("kubernetes@{}/api/discovery", options.kubernetes));
    let mut groups = vec![(String::new(), vec!["v1".to_string()])];
    for group in load(&dir.join("apis.json"))?["groups"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let versions = group["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|v| text(v, "version"))
            .collect();
        groups.push((text(group, "name"), versions));
    }
    let mut list = Vec::new();
    for (group, versions) in &groups {
        for version in versions {
            let name = if group.is_empty() {
                format!("api__{version}.json")
            } else {
                format!("apis__{group}__{version}.json")
            };
            read_version(&load(&dir.join(name))?, group, version, &mut list)?;
        }
    }
    let known: Vec<(String, String, String)> = list
        .iter()
        .map(|r| (r.group.clone(), r.version.clone(), r.kind.clone()))
        .collect();
    for resource in &mut list {
        resource.storage = storage_version(resource, &known)?;
    }
    Ok(Resources { list, groups })
}

fn read_version(
    document: &Value,
    group: &str,
    version: &str,
    list: &mut Vec<Resource>,
) -> Result<()> {
    for entry in document["resources"]
        .as_array()
        .context("no resources in a discovery document")?
    {
        let name = text(entry, "name");
        if let Some((plural, sub)) = name.split_once('/') {
            let owner = list
                .iter_mut()
                .rfind(|r| r.plural == plural && r.group == group && r.version == version);
            let Some(owner) = owner else {
                bail!("{name} comes before its resource")
            };
            let or = |key: &str, other: &str| {
                if entry[key].is_string() {
                    text(entry, key)
                } else {
                    other.to_string()
                }
            };
            let (group, version) = if entry["version"].is_string() {
                (text(entry, "group"), text(entry, "version"))
            } else {
                (or("group", group), version.to_string())
            };
            owner.subresources.push(Subresource {
                name: sub.to_string(),
                group,
                version,
                kind: text(entry, "kind"),
                verbs: texts(entry, "verbs"),
            });
            continue;
        }
        list.push(Resource {
            group: group.into(),
            version: version.into(),
            kind: text(entry, "kind"),
            singular: text(entry, "singularName"),
            namespaced: entry["namespaced"].as_bool().unwrap_or(false),
            short_names: texts(entry, "shortNames"),
            categories: texts(entry, "categories"),
            verbs: texts(entry, "verbs"),
            hash: text(entry, "storageVersionHash"),
            storage: Default::default(),
            prefix: prefix(group, &name),
            plural: name,
            subresources: Vec::new(),
        });
    }
    Ok(())
}

/// Upstream's key below `/registry/`: the plural, but for the oldest resources and the two aggregated servers.
fn prefix(group: &str, plural: &str) -> String {
    match (group, plural) {
        ("", "replicationcontrollers") => "controllers".into(),
        ("", "endpoints") => "services/endpoints".into(),
        ("", "nodes") => "minions".into(),
        ("", "services") => "services/specs".into(),
        ("networking.k8s.io", "ingresses") => "ingress".into(),
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", plural) => format!("{group}/{plural}"),
        (_, plural) => plural.into(),
    }
}

/// The group and version whose hash discovery shows: the first 8 bytes of SHA-256 of `group/version/kind`.
fn storage_version(
    resource: &Resource,
    known: &[(String, String, String)],
) -> Result<(String, String)> {
    if resource.hash.is_empty() {
        return Ok((resource.group.clone(), resource.version.clone()));
    }
    // CustomResourceDefinitions are stored in a version that is not served any more.
    let unserved = (
        resource.group.clone(),
        "v1beta1".to_string(),
        resource.kind.clone(),
    );
    for (group, version, kind) in known
        .iter()
        .filter(|k| k.2 == resource.kind)
        .chain([&unserved])
    {
        let digest = Sha256::digest(format!("{group}/{version}/{kind}").as_bytes());
        if corten_core::convert::base64_encode(&digest[..8]) == resource.hash {
            return Ok((group.clone(), version.clone()));
        }
    }
    bail!(
        "no version of {} has the storage hash {}",
        resource.kind,
        resource.hash
    )
}

/// The text of `resources.rs`.
pub fn emit(resources: &Resources) -> String {
    let quoted = |list: &[String]| {
        list.iter()
            .map(|t| format!("{t:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut out = String::from(
        "//! Generated by `cargo xtask codegen`; do not edit.\n\nuse crate::{Group, Resource, Subresource};\n\n",
    );
    out.push_str("pub(crate) static GROUPS: &[Group] = &[\n");
    for (name, versions) in &resources.groups {
        let _ = writeln!(
            out,
            "    Group {{ name: {name:?}, versions: &[{}] }},",
            quoted(versions)
        );
    }
    out.push_str("];\n\npub(crate) static RESOURCES: &[Resource] = &[\n");
    let mut sorted: Vec<&Resource> = resources.list.iter().collect();
    sorted.sort_by_key(|r| (&r.group, &r.version, &r.plural));
    for r in sorted {
        let _ = writeln!(
            out,
            "    Resource {{\n        group: {:?}, version: {:?}, kind: {:?}, plural: {:?}, singular: {:?}, namespaced: {},\n        short_names: &[{}], categories: &[{}],\n        verbs: &[{}],\n        storage_version_hash: {:?}, storage_group: {:?}, storage_version: {:?}, storage_prefix: {:?},\n        subresources: &[",
            r.group,
            r.version,
            r.kind,
            r.plural,
            r.singular,
            r.namespaced,
            quoted(&r.short_names),
            quoted(&r.categories),
            quoted(&r.verbs),
            r.hash,
            r.storage.0,
            r.storage.1,
            r.prefix
        );
        for s in &r.subresources {
            let _ = writeln!(
                out,
                "            Subresource {{ name: {:?}, group: {:?}, version: {:?}, kind: {:?}, verbs: &[{}] }},",
                s.name,
                s.group,
                s.version,
                s.kind,
                quoted(&s.verbs)
            );
        }
        out.push_str("        ],\n    },\n");
    }
    out.push_str("];\n");
    out
}
