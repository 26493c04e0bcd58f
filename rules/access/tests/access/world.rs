//! A cluster from YAML, and questions to ask it.

use corten_access::admission::{self, Denial, Operation, PluginSet, PluginSettings, Review};
use corten_access::{Attributes, Decision, Rules, UserInfo};
use corten_api::Object;
use corten_core::Time;
use corten_meta::{GroupResource, GroupVersionKind, GroupVersionResource, ObjectKey, Snapshot};
use std::sync::Arc;

/// A cluster and the rules compiled from it.
pub struct World {
    pub snapshot: Snapshot,
    pub rules: Rules,
    /// The plugins that run.
    pub enabled: PluginSet,
    /// What they are told.
    pub settings: PluginSettings,
}

pub fn object(yaml: &str) -> Object {
    let value = corten_codec::yaml::decode_value(yaml.as_bytes()).expect("the fixture is YAML");
    Object::from_value(&value).expect("the fixture is an object")
}

/// Group and plural name of an object's kind.
pub fn resource_of(object: &Object) -> GroupVersionResource {
    let gvk = object.gvk();
    let found = corten_api::resources()
        .iter()
        .find(|r| r.kind == gvk.kind && r.group == gvk.group && r.version == gvk.version);
    let plural = match found {
        Some(resource) => resource.plural.to_owned(),
        None => format!("{}s", gvk.kind.to_lowercase()),
    };
    GroupVersionResource::new(gvk.group, gvk.version, plural)
}

impl World {
    pub fn new(yaml: &str) -> World {
        let mut snapshot = Snapshot::new();
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n";
        let yaml = format!("{namespace}{yaml}");
        for document in
            corten_codec::yaml::decode_documents(yaml.as_bytes()).expect("the fixture is YAML")
        {
            let object = Object::from_value(&document).expect("the fixture is an object");
            let resource = resource_of(&object);
            let meta = object.meta();
            let key = ObjectKey::new(meta.namespace.clone(), meta.name.clone());
            let resource = GroupResource::new(resource.group, resource.resource);
            snapshot.insert(&resource, key, Arc::new(object));
        }
        let rules = Rules::build(&snapshot);
        World {
            snapshot,
            rules,
            enabled: PluginSet::default(),
            settings: PluginSettings::default(),
        }
    }

    /// The same with these plugins too.
    pub fn with(mut self, plugins: &[&str]) -> World {
        self.enabled = PluginSet::with(plugins, &[]).expect("the plugins exist");
        self
    }

    /// The same with plugins that are told something.
    pub fn told(mut self, tell: impl FnOnce(&mut PluginSettings) -> Result<(), String>) -> World {
        tell(&mut self.settings).expect("the settings are fine");
        self
    }

    /// `verb group/resource[/subresource] namespace name`, with `-` for nothing.
    pub fn ask(&self, user: &UserInfo, question: &str) -> Decision {
        self.ask_selecting(user, question, "")
    }

    pub fn ask_selecting(&self, user: &UserInfo, question: &str, fields: &str) -> Decision {
        let words: Vec<&str> = question
            .split(' ')
            .map(|w| if w == "-" { "" } else { w })
            .collect();
        let path: Vec<&str> = words[1].splitn(3, '/').collect();
        let of_path = words.len() == 2;
        let attributes = Attributes {
            user,
            verb: words[0],
            group: if of_path { "" } else { path[0] },
            version: "v1",
            resource: if of_path { "" } else { path[1] },
            subresource: if of_path {
                ""
            } else {
                path.get(2).unwrap_or(&"")
            },
            namespace: words.get(2).unwrap_or(&""),
            name: words.get(3).unwrap_or(&""),
            path: if of_path { words[1] } else { "" },
            resource_request: !of_path,
            field_selector: fields,
            label_selector: "",
        };
        corten_access::authorize(&self.rules, &self.snapshot, &attributes)
    }

    pub fn request<'a>(&'a self, user: &'a UserInfo, operation: Operation) -> Request<'a> {
        Request {
            world: self,
            user,
            operation,
            part: "",
            resource: None,
            dry_run: false,
        }
    }

    pub fn create(&self, user: &UserInfo, object: &Object) -> Result<Outcome, Denial> {
        self.request(user, Operation::Create).validate(object, None)
    }

    pub fn update(
        &self,
        user: &UserInfo,
        object: &Object,
        old: &Object,
    ) -> Result<Outcome, Denial> {
        let request = self.request(user, Operation::Update);
        request.validate(object, Some(old))
    }

    pub fn mutate(&self, user: &UserInfo, object: &mut Object) -> Result<Vec<String>, Denial> {
        self.request(user, Operation::Create).mutate(object)
    }
}

/// What validating admission found beside refusals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Texts for Warning headers.
    pub warnings: Vec<String>,
    /// ResourceQuota objects with the usage that the request adds.
    pub charges: Vec<Object>,
}

fn validated(review: &Review, object: Option<&Object>) -> Result<Outcome, Denial> {
    Ok(Outcome {
        warnings: admission::validate(review, object)?,
        charges: admission::charge(review, object)?,
    })
}

/// One request to admission.
pub struct Request<'a> {
    pub world: &'a World,
    pub user: &'a UserInfo,
    pub operation: Operation,
    pub part: &'a str,
    /// When it is not that of the object.
    pub resource: Option<(&'a str, &'a str, &'a str)>,
    pub dry_run: bool,
}

impl Request<'_> {
    fn with<R>(&self, object: &Object, old: Option<&Object>, run: impl FnOnce(&Review) -> R) -> R {
        let gvk = object.gvk();
        let kind = GroupVersionKind::new(gvk.group, gvk.version, gvk.kind);
        let (resource, name) = match self.resource {
            Some((group, resource, name)) => (
                GroupVersionResource::new(group, "v1", resource),
                name.to_owned(),
            ),
            None => (resource_of(object), object.meta().name.to_string()),
        };
        let now = Time::from_unix(1_700_000_000);
        run(&Review {
            snapshot: &self.world.snapshot,
            authorizer: &admission::ByRoles {
                snapshot: &self.world.snapshot,
                rules: &self.world.rules,
            },
            rules: &self.world.rules,
            enabled: &self.world.enabled,
            settings: &self.world.settings,
            now: &now,
            random: 7,
            user: self.user,
            operation: self.operation,
            kind: &kind,
            resource: &resource,
            subresource: self.part,
            namespace: &object.meta().namespace,
            name: &name,
            dry_run: self.dry_run,
            old,
        })
    }

    pub fn validate(&self, object: &Object, old: Option<&Object>) -> Result<Outcome, Denial> {
        self.with(object, old, |review| validated(review, Some(object)))
    }

    /// What the audit event is told, a `key=value` each, without the prefix of PodSecurity's keys.
    pub fn audited(&self, object: &Object) -> Vec<String> {
        let notes = self.with(object, None, |review| {
            admission::audit_notes(review, Some(object))
        });
        let short = |key: &str| key.replace("pod-security.kubernetes.io/", "");
        let notes = notes.iter();
        notes
            .map(|(key, value)| format!("{}={value}", short(key)))
            .collect()
    }

    pub fn charge(&self, object: &Object) -> Result<Vec<Object>, Denial> {
        self.with(object, None, |review| {
            admission::charge(review, Some(object))
        })
    }

    pub fn delete(&self, old: &Object) -> Result<Outcome, Denial> {
        self.with(old, Some(old), |review| validated(review, None))
    }

    pub fn mutate(&self, object: &mut Object) -> Result<Vec<String>, Denial> {
        self.mutate_from(object, None)
    }

    pub fn mutate_from(
        &self,
        object: &mut Object,
        old: Option<&Object>,
    ) -> Result<Vec<String>, Denial> {
        let seen = object.clone();
        self.with(&seen, old, |review| admission::mutate(review, object))
    }
}

pub fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.to_owned(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn admin() -> UserInfo {
    user("admin", &["system:masters"])
}

pub fn node(name: &str) -> UserInfo {
    user(&format!("system:node:{name}"), &["system:nodes"])
}

/// The text of a refusal with code 403.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Denial>) -> String {
    let denial = result.expect_err("it should be refused");
    assert_eq!(
        (denial.code, denial.reason),
        (403, "Forbidden"),
        "{denial:?}"
    );
    denial.message
}
