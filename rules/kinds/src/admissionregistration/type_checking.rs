//! Checking a policy's expressions against the kinds that it matches: warnings for its status, never a refusal.
//!
//! Invariant: the same policy and schemas give the same warnings, in upstream's words; what has no schema is not checked.

use super::expressions::{namespace_type, request_type};
use corten_api::admissionregistration::v1::ValidatingAdmissionPolicy;
use corten_api::meta::v1::ObjectMeta;
use corten_cel::{Decl, Env, EnvBuilder, Schema, Type};
use corten_core::{Form, Kind, List, Message, Msg, Shape, Str, Value, ValueMap};
use corten_meta::GroupVersionKind;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many kinds one rule is checked against.
const KINDS_MAX: usize = 10;

/// The kinds that a policy's rules name outright, in order; `kind_of` knows the kind of a group, version and resource.
pub fn kinds_to_check(
    policy: &ValidatingAdmissionPolicy,
    kind_of: impl Fn(&str, &str, &str) -> Option<GroupVersionKind>,
) -> Vec<GroupVersionKind> {
    let constraints = policy.spec.match_constraints.as_deref();
    let rules = constraints.map_or(&[][..], |c| &c.resource_rules[..]);
    let mut found: BTreeSet<(Str, Str, Str)> = BTreeSet::new();
    'rules: for rule in rules {
        let rule = &rule.rule_with_operations.rule;
        let wild = |list: &List<Str>| list.iter().any(|text| text.contains('*'));
        if wild(&rule.api_groups) || wild(&rule.api_versions) {
            continue;
        }
        let mut count = 0;
        for group in sorted(&rule.api_groups) {
            for version in sorted(&rule.api_versions) {
                for resource in sorted(&rule.resources) {
                    if resource.contains(['*', '/']) {
                        continue;
                    }
                    if let Some(kind) = kind_of(group, version, resource) {
                        found.insert((kind.group, kind.version, kind.kind));
                        count += 1;
                    }
                    if count == KINDS_MAX {
                        break 'rules;
                    }
                }
            }
        }
    }
    let kinds = found.into_iter();
    kinds
        .map(|(group, version, kind)| GroupVersionKind::new(group, version, kind))
        .collect()
}

fn sorted(list: &List<Str>) -> Vec<&str> {
    let mut all: Vec<&str> = list.iter().map(|text| text.as_str()).collect();
    all.sort_unstable();
    all
}

/// The schema of a built-in kind, as far as types go.
pub fn message_schema(msg: &'static Msg) -> Value {
    schema_within(msg, &mut Vec::new())
}

/// What expressions may do anything with.
fn anything() -> Value {
    let mut schema = Value::map();
    schema.set(&["x-kubernetes-int-or-string"], true);
    schema
}

fn simple(kind: &str, format: &str) -> Value {
    let mut schema = Value::map();
    schema.set(&["type"], kind);
    if !format.is_empty() {
        schema.set(&["format"], format);
    }
    schema
}

fn schema_within(msg: &'static Msg, above: &mut Vec<*const Msg>) -> Value {
    let this: *const Msg = msg;
    if above.contains(&this) || msg.form != Form::Struct {
        return anything();
    }
    above.push(this);
    let mut properties = ValueMap::new();
    for field in msg.json {
        let one = match field.kind {
            Kind::Bool => simple("boolean", ""),
            Kind::I32 | Kind::I64 => simple("integer", ""),
            Kind::F64 => simple("number", ""),
            Kind::Str | Kind::Duration | Kind::Quantity => simple("string", ""),
            Kind::Bin => simple("string", "byte"),
            Kind::Time | Kind::MicroTime => simple("string", "date-time"),
            Kind::IntOrString | Kind::Raw => anything(),
            Kind::StrList => list_of(simple("string", "")),
            Kind::Msg => match field.msg() {
                Some(inner) => schema_within(inner, above),
                None => anything(),
            },
        };
        let schema = match field.shape {
            Shape::Plain | Shape::Pointer => one,
            Shape::List => list_of(one),
            Shape::Map => {
                let mut map = simple("object", "");
                map.set(&["additionalProperties"], one);
                map
            }
        };
        properties.insert(field.key, schema);
    }
    above.pop();
    let mut schema = simple("object", "");
    schema.set(&["properties"], Value::Map(properties));
    schema
}

fn list_of(items: Value) -> Value {
    let mut list = simple("array", "");
    list.set(&["items"], items);
    list
}

/// A whole kind's type as expressions see it: of a schema, with the metadata that all objects have; none when expressions
/// cannot see such objects.
pub fn resource_type(schema: &Value, kind: &str) -> Option<Arc<Decl>> {
    let mut schema = schema.clone();
    schema.set(&["type"], "object");
    schema.set(
        &["properties", "metadata"],
        message_schema(ObjectMeta::MSG.get()?),
    );
    schema.set(&["properties", "apiVersion"], simple("string", ""));
    schema.set(&["properties", "kind"], simple("string", ""));
    let decl = Schema::new(&schema).decl()?;
    Some(decl.named(kind))
}

/// The warnings of a policy: the field of each expression that some kind has objections to, and those.
pub fn type_warnings(
    policy: &ValidatingAdmissionPolicy,
    kinds: &[(GroupVersionKind, Arc<Decl>)],
    params: Option<&Arc<Decl>>,
) -> Vec<(String, String)> {
    let checkers: Vec<(&GroupVersionKind, Env)> = kinds
        .iter()
        .map(|(kind, decl)| (kind, environment(policy, decl, params)))
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in policy.spec.validations.iter().enumerate() {
        let parts = [
            ("expression", &validation.expression),
            ("messageExpression", &validation.message_expression),
        ];
        for (part, source) in parts {
            if source.is_empty() && part == "messageExpression" {
                continue;
            }
            let said: Vec<String> = checkers
                .iter()
                .filter_map(|(kind, env)| {
                    let issues = env.parse(source).err()?;
                    Some(format!("{}: {}\n", shown(kind), issues.display()))
                })
                .collect();
            if !said.is_empty() {
                let field = format!("spec.validations[{index}].{part}");
                warnings.push((field, said.join("\n")));
            }
        }
    }
    warnings
}

/// A kind as Go prints it.
fn shown(kind: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

/// What expressions may name, with the policy's own variables as far as they make sense.
fn environment(
    policy: &ValidatingAdmissionPolicy,
    object: &Arc<Decl>,
    params: Option<&Arc<Decl>>,
) -> Env {
    let mut env: EnvBuilder = Env::builder()
        .declared("object", object)
        .declared("oldObject", object)
        .declared("request", &request_type())
        .declared("namespaceObject", &namespace_type())
        .variable(
            "authorizer",
            Type::object("kubernetes.authorization.Authorizer"),
        );
    if policy.spec.param_kind.is_some() {
        env = match params {
            Some(params) => env.declared("params", params),
            None => env.variable("params", Type::Dyn),
        };
    }
    let mut env = env.build();
    let mut variables: Vec<(&str, Arc<Decl>)> = Vec::new();
    env = declare(&env, &variables);
    for variable in policy.spec.variables.iter() {
        let output = env.parse(&variable.expression);
        let output = output.map_or(Type::Dyn, |program| program.output().clone());
        variables.push((variable.name.as_str(), Decl::scalar(output)));
        env = declare(&env, &variables);
    }
    env
}

/// The same with the variables that are known by now.
fn declare(env: &Env, variables: &[(&str, Arc<Decl>)]) -> Env {
    let fields = variables.iter().map(|(name, decl)| (*name, decl.clone()));
    let all = Decl::object("kubernetes.variables", fields);
    env.extend().declared("variables", &all).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::apps::v1::Deployment;

    fn policy(spec: &str) -> ValidatingAdmissionPolicy {
        let yaml = format!("{{metadata: {{name: p}}, spec: {spec}}}");
        let value = corten_codec::yaml::decode_value(yaml.as_bytes()).unwrap();
        corten_core::from_value(&value).unwrap()
    }

    fn deployment() -> (GroupVersionKind, Arc<Decl>) {
        let schema = message_schema(Deployment::MSG.get().unwrap());
        let decl = resource_type(&schema, "Deployment").unwrap();
        (GroupVersionKind::new("apps", "v1", "Deployment"), decl)
    }

    fn warnings(validations: &str) -> Vec<(String, String)> {
        let policy = policy(&format!(
            "{{validations: {validations}, variables: [{{name: wanted, expression: object.spec.replicas}}]}}"
        ));
        type_warnings(&policy, &[deployment()], None)
    }

    #[test]
    fn fields_that_do_not_exist_are_named() {
        let found = warnings(
            "[{expression: 'object.spec.replicas > 1'}, {expression: 'object.replicas > 1', messageExpression: 'object.spec.replicas + \"x\"'}]",
        );
        let told: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            told,
            [
                "spec.validations[1].expression",
                "spec.validations[1].messageExpression"
            ]
        );
        assert_eq!(
            found[0].1,
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"
        );
        assert!(
            found[1]
                .1
                .contains("found no matching overload for '_+_' applied to '(int, string)'"),
            "{}",
            found[1].1
        );
    }

    #[test]
    fn what_is_there_is_fine() {
        let fine = "[{expression: 'object.spec.template.spec.containers.all(c, c.image != \"\" && c.resources.limits.size() > 0)'}, \
            {expression: 'object.metadata.labels[\"a\"] == oldObject.metadata.name'}, \
            {expression: 'variables.wanted > 1 && request.userInfo.username != \"\"'}, \
            {expression: 'object.spec.strategy.rollingUpdate.maxSurge == 1'}, \
            {expression: 'object.metadata.creationTimestamp < timestamp(\"2024-01-01T00:00:00Z\")'}, \
            {expression: 'authorizer.path(\"/x\").check(\"get\").allowed()'}]";
        assert_eq!(warnings(fine), []);
    }

    #[test]
    fn rules_with_wildcards_are_passed_over() {
        let policy = policy(
            "{matchConstraints: {resourceRules: [\
             {apiGroups: ['*'], apiVersions: [v1], resources: [pods]}, \
             {apiGroups: ['', apps], apiVersions: [v1], resources: [pods, deployments, pods/status, '*']}]}}",
        );
        let known = |group: &str, version: &str, resource: &str| {
            let kind = match (group, resource) {
                ("", "pods") => "Pod",
                ("apps", "deployments") => "Deployment",
                _ => return None,
            };
            Some(GroupVersionKind::new(group, version, kind))
        };
        let kinds: Vec<String> = kinds_to_check(&policy, known).iter().map(shown).collect();
        assert_eq!(kinds, ["/v1, Kind=Pod", "apps/v1, Kind=Deployment"]);
    }
}
