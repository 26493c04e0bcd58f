//! Which FlowSchema a request falls under: the one with the lowest matching precedence (then name) among those that
//! match and whose priority level exists. The mandatory two stand in for themselves when they were deleted.

use corten_api::flowcontrol::v1::{
    FlowSchema, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};
use corten_core::{List, Str};

/// What a request shows to the rules.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The API verb, or the lower-case method.
    pub verb: &'a str,
    /// The URL path.
    pub path: &'a str,
    /// Whether it is about a resource; if not, only `verb` and `path` count.
    pub resource_request: bool,
    /// API group.
    pub group: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource, empty for none.
    pub subresource: &'a str,
    /// Namespace, empty for none.
    pub namespace: &'a str,
}

/// How flows of a schema are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinguisher {
    None,
    User,
    Namespace,
}

/// A FlowSchema ready for matching.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Its name.
    pub name: Str,
    /// Its uid.
    pub uid: Str,
    /// The name of its priority level.
    pub level: Str,
    precedence: i32,
    distinguisher: Distinguisher,
    rules: List<PolicyRulesWithSubjects>,
}

/// All schemas in matching order.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Vec<Schema>);

/// Where a request belongs.
#[derive(Clone, Copy, Debug)]
pub struct Class<'a> {
    /// Its index in matching order.
    pub index: usize,
    /// The schema.
    pub schema: &'a Schema,
    /// The flow within the schema: a user, a namespace or nothing.
    pub flow: &'a str,
}

impl Schemas {
    /// Those whose level exists, in matching order.
    pub fn build<'a>(
        all: impl Iterator<Item = &'a FlowSchema>,
        level_exists: impl Fn(&str) -> bool,
    ) -> Schemas {
        let mut list: Vec<Schema> = all
            .filter(|schema| level_exists(&schema.spec.priority_level_configuration.name))
            .map(Schema::of)
            .collect();
        list.sort_by(|a, b| (a.precedence, &*a.name).cmp(&(b.precedence, &*b.name)));
        if !list.iter().any(|s| s.name == "exempt") {
            list.insert(0, Schema::of(&exempt()));
        }
        if !list.iter().any(|s| s.name == "catch-all") {
            list.push(Schema::of(&catch_all()));
        }
        Schemas(list)
    }

    /// The schema of a request. What nothing matches falls under the last one.
    pub fn classify<'a>(&'a self, request: &Request<'a>) -> Option<Class<'a>> {
        let matching = self.0.iter().position(|s| s.matches(request));
        let index = matching.or(self.0.len().checked_sub(1))?;
        let schema = &self.0[index];
        let flow = match schema.distinguisher {
            Distinguisher::None => "",
            Distinguisher::User => request.user,
            Distinguisher::Namespace => request.namespace,
        };
        Some(Class {
            index,
            schema,
            flow,
        })
    }

    /// In matching order.
    pub fn iter(&self) -> impl Iterator<Item = &Schema> {
        self.0.iter()
    }
}

/// Everything of system:masters to the exempt level.
fn exempt() -> FlowSchema {
    mandatory("exempt", "exempt", 1, &["system:masters"])
}

/// Everything of everyone to the catch-all level.
fn catch_all() -> FlowSchema {
    let mut schema = mandatory(
        "catch-all",
        "catch-all",
        10_000,
        &["system:unauthenticated", "system:authenticated"],
    );
    let method = schema.spec.distinguisher_method.insert(Box::default());
    method.type_ = "ByUser".into();
    schema
}

fn mandatory(name: &str, level: &str, precedence: i32, groups: &[&str]) -> FlowSchema {
    let all = || -> List<Str> { std::iter::once(Str::from("*")).collect() };
    let mut rules = PolicyRulesWithSubjects::default();
    for group in groups {
        let mut subject = Subject {
            kind: "Group".into(),
            ..Subject::default()
        };
        subject.group.insert(Box::default()).name = (*group).into();
        rules.subjects.push(subject);
    }
    rules.resource_rules.push(ResourcePolicyRule {
        verbs: all(),
        api_groups: all(),
        resources: all(),
        cluster_scope: true,
        namespaces: all(),
    });
    rules.non_resource_rules.push(NonResourcePolicyRule {
        verbs: all(),
        non_resource_urls: all(),
    });
    let mut schema = FlowSchema::default();
    schema.metadata.name = name.into();
    schema.spec.matching_precedence = precedence;
    schema.spec.priority_level_configuration.name = level.into();
    schema.spec.rules.push(rules);
    schema
}

impl Schema {
    fn of(schema: &FlowSchema) -> Schema {
        let method = schema.spec.distinguisher_method.as_ref();
        Schema {
            name: schema.metadata.name.clone(),
            uid: schema.metadata.uid.clone(),
            level: schema.spec.priority_level_configuration.name.clone(),
            precedence: schema.spec.matching_precedence,
            distinguisher: match method.map(|m| &*m.type_) {
                Some("ByUser") => Distinguisher::User,
                Some("ByNamespace") => Distinguisher::Namespace,
                _ => Distinguisher::None,
            },
            rules: schema.spec.rules.clone(),
        }
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|s| subject_matches(s, request))
                && if request.resource_request {
                    rule.resource_rules
                        .iter()
                        .any(|r| resource_matches(r, request))
                } else {
                    rule.non_resource_rules
                        .iter()
                        .any(|r| path_matches(r, request))
                }
        })
    }
}

fn subject_matches(subject: &Subject, request: &Request<'_>) -> bool {
    match &*subject.kind {
        "User" => subject
            .user
            .as_ref()
            .is_some_and(|u| u.name == "*" || u.name == request.user),
        "Group" => subject.group.as_ref().is_some_and(|g| {
            g.name == "*" || request.groups.iter().any(|group| g.name == group.as_str())
        }),
        "ServiceAccount" => subject.service_account.as_ref().is_some_and(|account| {
            let named = request
                .user
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.strip_prefix(&*account.namespace))
                .and_then(|rest| rest.strip_prefix(':'));
            named.is_some_and(|name| account.name == "*" || account.name == name)
        }),
        _ => false,
    }
}

/// `*` stands for everything only when it is alone.
fn contains(list: &List<Str>, all: &str, wanted: &str) -> bool {
    matches!(&**list, [only] if *only == all) || list.iter().any(|item| *item == wanted)
}

fn resource_matches(rule: &ResourcePolicyRule, request: &Request<'_>) -> bool {
    let resource = || match request.subresource {
        "" => contains(&rule.resources, "*", request.resource),
        sub => {
            matches!(&*rule.resources, [only] if *only == "*")
                || rule.resources.iter().any(|item| {
                    item.strip_prefix(request.resource)
                        .and_then(|rest| rest.strip_prefix('/'))
                        == Some(sub)
                })
        }
    };
    contains(&rule.verbs, "*", request.verb)
        && resource()
        && contains(&rule.api_groups, "*", request.group)
        && match request.namespace {
            "" => rule.cluster_scope,
            namespace => contains(&rule.namespaces, "*", namespace),
        }
}

fn path_matches(rule: &NonResourcePolicyRule, request: &Request<'_>) -> bool {
    contains(&rule.verbs, "*", request.verb)
        && rule.non_resource_urls.iter().any(|url| {
            let prefix = url.strip_suffix('*').unwrap_or(url).trim_end_matches('/');
            *url == "*"
                || *url == request.path
                || request
                    .path
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
}

/// The hash of a flow, which deals its hand of queues. The seed keeps clients from choosing their neighbours.
pub fn flow_hash(seed: u64, schema: &str, flow: &str) -> u64 {
    let mut hash = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut mix = |word: u64| {
        let product = u128::from(hash ^ word) * 0xa076_1d64_78bd_642f_u128;
        hash = (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(23);
    };
    for text in [schema, flow] {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(u64::from_le_bytes(word));
        }
        mix(text.len() as u64 | 1 << 63);
    }
    mix(seed);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str, precedence: i32, url: &str) -> FlowSchema {
        let mut schema = mandatory(name, "level", precedence, &["team"]);
        schema.metadata.name = name.into();
        let rule = &mut schema.spec.rules[0];
        rule.non_resource_rules[0].non_resource_urls = std::iter::once(Str::from(url)).collect();
        rule.resource_rules[0].resources =
            ["pods", "pods/log"].map(Str::from).into_iter().collect();
        rule.resource_rules[0].cluster_scope = false;
        schema
    }

    fn of<'a>(schemas: &'a Schemas, request: Request<'a>) -> (&'a str, &'a str) {
        let class = schemas.classify(&request).unwrap();
        (&class.schema.name, class.flow)
    }

    #[test]
    fn the_lowest_precedence_that_matches() {
        let team = ["team".to_owned(), "system:authenticated".to_owned()];
        let list = [
            schema("b", 20, "/x/*"),
            schema("c", 10, "/y"),
            schema("a", 20, "/x/*"),
            schema("gone", 1, "*"),
        ];
        let schemas = Schemas::build(list[..3].iter(), |level| level == "level");
        let request = Request {
            user: "ann",
            groups: &team,
            verb: "get",
            path: "/x/y",
            resource_request: false,
            group: "",
            resource: "",
            subresource: "",
            namespace: "",
        };
        assert_eq!(of(&schemas, request), ("a", ""));
        let at = |path| Request { path, ..request };
        assert_eq!(of(&schemas, at("/y")).0, "c");
        assert_eq!(of(&schemas, at("/y/z")).0, "c");
        assert_eq!(of(&schemas, at("/yz")), ("catch-all", "ann"));
        let pods = |subresource, namespace| Request {
            resource_request: true,
            resource: "pods",
            subresource,
            namespace,
            ..request
        };
        assert_eq!(of(&schemas, pods("", "n")).0, "c");
        assert_eq!(of(&schemas, pods("log", "n")).0, "c");
        assert_eq!(of(&schemas, pods("exec", "n")).0, "catch-all");
        assert_eq!(of(&schemas, pods("", "")).0, "catch-all");
        let dangling = Schemas::build(list.iter(), |_| false);
        assert_eq!(of(&dangling, at("/y")).0, "catch-all");
        let masters = ["system:masters".to_owned()];
        let master = Request {
            groups: &masters,
            ..at("/q")
        };
        assert_eq!(of(&dangling, master).0, "exempt");
    }

    #[test]
    fn service_accounts_match_by_namespace_and_name() {
        let mut subject = Subject {
            kind: "ServiceAccount".into(),
            ..Subject::default()
        };
        let account = subject.service_account.insert(Box::default());
        account.namespace = "kube-system".into();
        account.name = "*".into();
        let request = |user| Request {
            user,
            groups: &[],
            verb: "get",
            path: "",
            resource_request: false,
            group: "",
            resource: "",
            subresource: "",
            namespace: "",
        };
        assert!(subject_matches(
            &subject,
            &request("system:serviceaccount:kube-system:x")
        ));
        assert!(!subject_matches(
            &subject,
            &request("system:serviceaccount:kube-systems:x")
        ));
    }

    #[test]
    fn flows_differ() {
        assert_ne!(flow_hash(1, "a", "bc"), flow_hash(1, "ab", "c"));
        assert_ne!(flow_hash(1, "a", "b"), flow_hash(2, "a", "b"));
        assert_eq!(flow_hash(3, "a", "b"), flow_hash(3, "a", "b"));
    }
}
