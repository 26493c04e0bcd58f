//! Audit policy: what is written down about which requests. The first rule that fits a request decides; a request that
//! none fits is not audited. Invariant: a policy in use was found valid as upstream's.

use crate::attributes::Attributes;
use corten_api::audit::v1::{Policy as Wire, PolicyRule};
use corten_core::{List, Str};

/// How much is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what and what became of it.
    Metadata,
    /// That and what was sent.
    Request,
    /// That and what was answered.
    RequestResponse,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

impl Level {
    /// As events name it.
    pub fn name(self) -> &'static str {
        LEVELS[self as usize].0
    }
}

/// When something is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before anything is decided.
    RequestReceived,
    /// A long answer has begun.
    ResponseStarted,
    /// Everything is said.
    ResponseComplete,
    /// The server failed at it.
    Panic,
}

const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

impl Stage {
    /// As events name it.
    pub fn name(self) -> &'static str {
        STAGES[self as usize].0
    }
}

/// What a policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// How much is written down.
    pub level: Level,
    /// Whether managed fields are left out of objects.
    pub omit_managed_fields: bool,
    omitted: [bool; STAGES.len()],
}

impl Scope {
    /// Whether nothing is written down at a stage.
    pub fn omits(&self, stage: Stage) -> bool {
        self.omitted[stage as usize]
    }
}

/// A valid policy.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<(PolicyRule, Scope)>,
    default: Scope,
}

impl Policy {
    /// A policy as its file has it. `Err` says everything that is wrong with it.
    pub fn new(wire: &Wire) -> Result<Policy, String> {
        let mut errors = Vec::new();
        check_stages("omitStages", &wire.omit_stages, &mut errors);
        for (i, rule) in wire.rules.iter().enumerate() {
            check_rule(&format!("rules[{i}]"), rule, &mut errors);
        }
        match errors.len() {
            0 if wire.rules.is_empty() => {
                return Err("loaded illegal policy with 0 rules".to_owned());
            }
            0 => {}
            1 => return Err(errors.remove(0)),
            _ => return Err(format!("[{}]", errors.join(", "))),
        }
        let default = Scope {
            level: Level::None,
            omit_managed_fields: wire.omit_managed_fields,
            omitted: omitted(&[&wire.omit_stages]),
        };
        let scope = |rule: &PolicyRule| Scope {
            level: level(&rule.level).unwrap_or_default(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(wire.omit_managed_fields),
            omitted: omitted(&[&wire.omit_stages, &rule.omit_stages]),
        };
        Ok(Policy {
            rules: wire.rules.iter().map(|r| (r.clone(), scope(r))).collect(),
            default,
        })
    }

    /// What is written down about a request.
    pub fn scope(&self, attributes: &Attributes) -> &Scope {
        let rule = self.rules.iter().find(|(rule, _)| fits(rule, attributes));
        rule.map_or(&self.default, |(_, scope)| scope)
    }
}

fn level(name: &str) -> Option<Level> {
    LEVELS.iter().find(|(n, _)| *n == name).map(|(_, l)| *l)
}

fn omitted(lists: &[&List<Str>]) -> [bool; STAGES.len()] {
    STAGES.map(|(name, _)| lists.iter().any(|list| list.iter().any(|s| s == name)))
}

fn check_stages(path: &str, stages: &List<Str>, errors: &mut Vec<String>) {
    let names = STAGES.map(|(name, _)| name);
    for (i, stage) in stages.iter().enumerate() {
        if !names.contains(&stage.as_str()) {
            errors.push(format!(
                "{path}[{i}]: Invalid value: {:?}: allowed stages are {}",
                stage.as_str(),
                names.join(",")
            ));
        }
    }
}

fn check_rule(path: &str, rule: &PolicyRule, errors: &mut Vec<String>) {
    if rule.level.is_empty() {
        errors.push(format!("{path}.level: Required value"));
    } else if level(&rule.level).is_none() {
        let known = LEVELS.map(|(name, _)| format!("{name:?}"));
        errors.push(format!(
            "{path}.level: Unsupported value: {:?}: supported values: {}",
            rule.level.as_str(),
            known.join(", ")
        ));
    }
    for (i, url) in rule.non_resource_urls.iter().enumerate() {
        let at = format!(
            "{path}.nonResourceURLs[{i}]: Invalid value: {:?}",
            url.as_str()
        );
        if url == "*" {
            continue;
        }
        if !url.starts_with('/') {
            errors.push(format!(
                "{at}: non-resource URL rules must begin with a '/' character"
            ));
        }
        if url.find('*').is_some_and(|at| at + 1 < url.len()) {
            errors.push(format!(
                "{at}: non-resource URL wildcards '*' must be the final character of the rule"
            ));
        }
    }
    for resources in rule.resources.iter() {
        if !resources.resource_names.is_empty() && resources.resources.is_empty() {
            errors.push(format!(
                "{path}.resources.resourceNames: Invalid value: {}: using resourceNames requires at least one resource",
                quoted(&resources.resource_names)
            ));
        }
    }
    check_stages(&format!("{path}.omitStages"), &rule.omit_stages, errors);
    let about_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if !rule.non_resource_urls.is_empty() && about_resources {
        errors.push(format!(
            "{path}.nonResourceURLs: Invalid value: {}: rules cannot apply to both regular resources and non-resource URLs",
            quoted(&rule.non_resource_urls)
        ));
    }
}

fn quoted(list: &List<Str>) -> String {
    let items: Vec<String> = list.iter().map(|i| format!("{:?}", i.as_str())).collect();
    format!("[{}]", items.join(","))
}

fn has(list: &List<Str>, wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

fn fits(rule: &PolicyRule, a: &Attributes) -> bool {
    let user = a.user;
    if !rule.users.is_empty() && !has(&rule.users, &user.name) {
        return false;
    }
    if !rule.user_groups.is_empty() && !user.groups.iter().any(|g| has(&rule.user_groups, g)) {
        return false;
    }
    if !rule.verbs.is_empty() && !has(&rule.verbs, a.verb) {
        return false;
    }
    if !rule.namespaces.is_empty() || !rule.resources.is_empty() {
        return a.resource_request && fits_resource(rule, a);
    }
    if rule.non_resource_urls.is_empty() {
        return true;
    }
    let path_fits = |spec: &Str| {
        let prefix = spec.trim_end_matches('*');
        spec == a.path || (spec.ends_with('*') && a.path.starts_with(prefix))
    };
    !a.resource_request && rule.non_resource_urls.iter().any(path_fits)
}

fn fits_resource(rule: &PolicyRule, a: &Attributes) -> bool {
    if !rule.namespaces.is_empty() && !has(&rule.namespaces, a.namespace) {
        return false;
    }
    if rule.resources.is_empty() {
        return true;
    }
    let combined = match a.subresource.is_empty() {
        true => a.resource.to_owned(),
        false => format!("{}/{}", a.resource, a.subresource),
    };
    rule.resources.iter().any(|given| {
        if given.group != a.group && given.group != "*" {
            return false;
        }
        if given.resources.is_empty() {
            return true;
        }
        let named = given.resource_names.is_empty() || has(&given.resource_names, a.name);
        let one = |resource: &Str| {
            let any_main = resource.strip_prefix("*/");
            let any_sub = resource.strip_suffix("/*");
            resource == "*"
                || *resource == *combined
                || (!a.subresource.is_empty() && any_main == Some(a.subresource))
                || any_sub == Some(a.resource)
        };
        named && given.resources.iter().any(one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;
    use corten_core::Value;

    fn policy(text: &str) -> Result<Policy, String> {
        let value = corten_codec::yaml::decode_value(text.as_bytes()).unwrap();
        let mut wire = Wire::default();
        corten_core::MsgMut::new(&mut wire)
            .merge_value(&value, &mut Vec::new())
            .unwrap();
        assert_ne!(value, Value::Null);
        Policy::new(&wire)
    }

    /// `user verb group/resource/subresource namespace name` (`core` for the core group) or `user verb /path`.
    fn level_of(policy: &Policy, request: &str) -> &'static str {
        let words: Vec<&str> = request.split(' ').collect();
        let user = UserInfo {
            name: words[0].to_owned(),
            groups: vec![format!("{}s", words[0])],
            ..UserInfo::default()
        };
        let mut attributes = Attributes {
            user: &user,
            verb: words[1],
            group: "",
            version: "v1",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path: words[2],
            resource_request: false,
            field_selector: "",
            label_selector: "",
        };
        if !words[2].starts_with('/') {
            let mut parts = words[2].split('/');
            attributes.group = parts.next().filter(|g| *g != "core").unwrap_or_default();
            attributes.resource = parts.next().unwrap_or_default();
            attributes.subresource = parts.next().unwrap_or_default();
            attributes.namespace = words.get(3).copied().unwrap_or_default();
            attributes.name = words.get(4).copied().unwrap_or_default();
            attributes.resource_request = true;
        }
        policy.scope(&attributes).level.name()
    }

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [noisy]}
- {level: RequestResponse, userGroups: [janes], verbs: [create], namespaces: [a], omitStages: [Panic]}
- {level: None, nonResourceURLs: [/healthz*, /version]}
- {level: Request, resources: [{group: "", resources: [pods, "*/status"]}], omitManagedFields: false}
- {level: Metadata, resources: [{group: "", resources: [configmaps], resourceNames: [x]}]}
- {level: Request, resources: [{group: apps}]}
- {level: Metadata, resources: [{group: "*", resources: ["services/*"]}]}
- {level: Metadata, nonResourceURLs: ["*"]}
"#;

    #[test]
    fn the_first_rule_decides() {
        let policy = policy(POLICY).unwrap();
        let cases = [
            ("noisy create core/pods a", "None"),
            ("jane create core/secrets a", "RequestResponse"),
            ("jane create apps/deployments b", "Request"),
            ("jane get /healthz/etcd", "None"),
            ("jane get /version", "None"),
            ("jane get /versions", "Metadata"),
            ("joe get core/pods a x", "Request"),
            ("joe get core/pods/log a x", "None"),
            ("joe update core/nodes/status - x", "Request"),
            ("joe get core/configmaps a x", "Metadata"),
            ("joe get core/configmaps a y", "None"),
            ("joe get core/services a y", "Metadata"),
            ("joe get core/services/proxy a y", "Metadata"),
            ("joe get batch/jobs a y", "None"),
        ];
        for (request, expected) in cases {
            assert_eq!(level_of(&policy, request), expected, "{request}");
        }
    }

    #[test]
    fn stages_and_fields_are_inherited() {
        let policy = policy(POLICY).unwrap();
        let scope = &policy.rules[1].1;
        assert!(scope.omits(Stage::RequestReceived) && scope.omits(Stage::Panic));
        assert!(!scope.omits(Stage::ResponseStarted) && scope.omit_managed_fields);
        assert!(!policy.rules[3].1.omit_managed_fields);
        assert!(policy.default.omits(Stage::RequestReceived));
        assert_eq!(Stage::Panic.name(), "Panic");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, expected: &str| {
            assert_eq!(policy(text).unwrap_err(), expected, "{text}");
        };
        check("kind: Policy", "loaded illegal policy with 0 rules");
        check("rules: [{users: [a]}]", "rules[0].level: Required value");
        check(
            "rules: [{level: All}]",
            "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"",
        );
        check(
            "{omitStages: [x], rules: [{level: None, nonResourceURLs: [a, /*b]}]}",
            "[omitStages[0]: Invalid value: \"x\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic, \
             rules[0].nonResourceURLs[0]: Invalid value: \"a\": non-resource URL rules must begin with a '/' character, \
             rules[0].nonResourceURLs[1]: Invalid value: \"/*b\": non-resource URL wildcards '*' must be the final character of the rule]",
        );
        check(
            "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]",
            "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs",
        );
    }
}
