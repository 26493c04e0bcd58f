//! Admission policies and their bindings, made ready once per change; and what both sorts of policy share: matching
//! and the parameters of a binding.

use std::sync::Arc;

use corten_api::Object;
use corten_api::admissionregistration::v1::{
    MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamKind, ParamRef,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Variable,
};
use corten_client::Status;
use corten_core::Value;
use corten_kinds::admissionregistration::{Compiler, Naming, Purpose};
use corten_meta::{GroupResource, ObjectKey, Selector, Snapshot};

use super::asked::Asked;
use super::conditions::Conditions;
use super::expressions::Expression;
use super::matching::{Matched, Selectors, as_sent, match_named_rules, matches};

/// What a policy or a binding matches.
#[derive(Debug)]
pub(super) struct Constraints {
    resources: MatchResources,
    selectors: Selectors,
}

impl Constraints {
    fn of(resources: Option<&MatchResources>) -> Constraints {
        let resources = resources.cloned().unwrap_or_default();
        Constraints {
            selectors: Selectors::new(
                resources.namespace_selector.as_deref(),
                resources.object_selector.as_deref(),
            ),
            resources,
        }
    }

    /// How the request matches, if it does.
    pub(super) fn matches(
        &self,
        asked: &Asked<'_>,
        object: Option<&Object>,
    ) -> Result<Option<Matched>, Status> {
        let resources = &self.resources;
        let equivalent = resources.match_policy.as_deref() == Some("Equivalent");
        let find = || {
            let excluded = &resources.exclude_resource_rules;
            if match_named_rules(asked, excluded, equivalent).is_some() {
                return None;
            }
            match resources.resource_rules.is_empty() {
                true => Some(as_sent(asked)),
                false => match_named_rules(asked, &resources.resource_rules, equivalent),
            }
        };
        matches(asked, object, &self.selectors, find)
    }
}

/// A binding of a policy of either sort.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    /// None: what the policy matches is matched.
    pub constraints: Option<Constraints>,
    pub params: Option<ParamRef>,
    /// Deny, Warn, Audit.
    pub actions: Vec<String>,
}

/// What policies of both sorts have.
#[derive(Debug)]
pub(super) struct Policy {
    pub name: String,
    pub fails_open: bool,
    pub constraints: Constraints,
    pub params: Option<ParamKind>,
    pub conditions: Conditions,
    pub variables: Vec<(String, Expression)>,
    pub bindings: Vec<Binding>,
}

/// A validation.
#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

/// A policy that judges.
#[derive(Debug)]
pub(super) struct Validating {
    pub policy: Policy,
    pub validations: Vec<Validation>,
    /// Key and value.
    pub annotations: Vec<(String, Expression)>,
}

/// How a mutation changes an object.
#[derive(Debug)]
pub(super) enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

/// A policy that changes.
#[derive(Debug)]
pub(super) struct Mutating {
    pub policy: Policy,
    pub mutations: Vec<Mutation>,
    pub reinvoked: bool,
}

fn expression(compiler: &Compiler, source: &str, purpose: Purpose) -> Expression {
    Expression {
        source: source.to_owned(),
        program: compiler.compile(source, purpose),
    }
}

/// The variables in order, and a compiler that knows them.
fn compose(compiler: Compiler, variables: &[Variable]) -> (Compiler, Vec<(String, Expression)>) {
    let mut compiler = compiler.composed();
    let made = variables.iter().map(|variable| {
        let program = compiler.variable(variable);
        let source = variable.expression.to_string();
        (variable.name.to_string(), Expression { source, program })
    });
    let made = made.collect();
    (compiler, made)
}

/// The policies that judge and have bindings.
pub(super) fn validating(snapshot: &Snapshot) -> Vec<Validating> {
    let bindings: Vec<&ValidatingAdmissionPolicyBinding> = snapshot.list().collect();
    let bound = |policy: &ValidatingAdmissionPolicy| -> Vec<Binding> {
        let of = bindings
            .iter()
            .filter(|b| b.spec.policy_name == policy.metadata.name);
        let ready = of.map(|binding| Binding {
            name: binding.metadata.name.to_string(),
            constraints: binding
                .spec
                .match_resources
                .as_deref()
                .map(|r| Constraints::of(Some(r))),
            params: binding.spec.param_ref.as_deref().cloned(),
            actions: binding
                .spec
                .validation_actions
                .iter()
                .map(|a| a.to_string())
                .collect(),
        });
        ready.collect()
    };
    let policies = snapshot.list::<ValidatingAdmissionPolicy>();
    policies
        .map(|policy| (policy, bound(policy)))
        .filter(|(_, bindings)| !bindings.is_empty())
        .map(|(policy, bindings)| validating_of(policy, bindings))
        .collect()
}

fn validating_of(policy: &ValidatingAdmissionPolicy, bindings: Vec<Binding>) -> Validating {
    let spec = &policy.spec;
    let naming = Naming {
        params: spec.param_kind.is_some(),
        authorizer: true,
        patches: false,
    };
    let fails_open = spec.failure_policy.as_deref() == Some("Ignore");
    let (compiler, variables) = compose(Compiler::new(naming), &spec.variables);
    // Messages may not ask what the user may do.
    let plain = Naming {
        authorizer: false,
        ..naming
    };
    let (messages, _) = compose(Compiler::new(plain), &spec.variables);
    let validations = spec.validations.iter().map(|validation| Validation {
        expression: expression(&compiler, &validation.expression, Purpose::Condition),
        message: validation.message.to_string(),
        message_expression: match validation.message_expression.as_str() {
            "" => None,
            source => Some(expression(&messages, source, Purpose::Message)),
        },
        reason: validation.reason.as_deref().unwrap_or("Invalid").to_owned(),
    });
    let annotations = spec.audit_annotations.iter().map(|annotation| {
        let source = annotation.value_expression.as_str();
        let value = expression(&compiler, source, Purpose::Annotation);
        (annotation.key.to_string(), value)
    });
    Validating {
        validations: validations.collect(),
        annotations: annotations.collect(),
        policy: Policy {
            name: policy.metadata.name.to_string(),
            fails_open,
            constraints: Constraints::of(spec.match_constraints.as_deref()),
            params: spec.param_kind.as_deref().cloned(),
            conditions: Conditions::compile(&spec.match_conditions, fails_open, &compiler),
            variables,
            bindings,
        },
    }
}

/// The policies that change and have bindings.
pub(super) fn mutating(snapshot: &Snapshot) -> Vec<Mutating> {
    let bindings: Vec<&MutatingAdmissionPolicyBinding> = snapshot.list().collect();
    let bound = |policy: &MutatingAdmissionPolicy| -> Vec<Binding> {
        let of = bindings
            .iter()
            .filter(|b| b.spec.policy_name == policy.metadata.name);
        let ready = of.map(|binding| Binding {
            name: binding.metadata.name.to_string(),
            constraints: binding
                .spec
                .match_resources
                .as_deref()
                .map(|r| Constraints::of(Some(r))),
            params: binding.spec.param_ref.as_deref().cloned(),
            actions: Vec::new(),
        });
        ready.collect()
    };
    let policies = snapshot.list::<MutatingAdmissionPolicy>();
    policies
        .map(|policy| (policy, bound(policy)))
        .filter(|(_, bindings)| !bindings.is_empty())
        .map(|(policy, bindings)| mutating_of(policy, bindings))
        .collect()
}

fn mutating_of(policy: &MutatingAdmissionPolicy, bindings: Vec<Binding>) -> Mutating {
    let spec = &policy.spec;
    let naming = Naming {
        params: spec.param_kind.is_some(),
        authorizer: true,
        patches: true,
    };
    let fails_open = spec.failure_policy.as_deref() == Some("Ignore");
    let (compiler, variables) = compose(Compiler::new(naming), &spec.variables);
    let mutations = spec.mutations.iter().filter_map(|mutation| {
        let apply = mutation.apply_configuration.as_deref();
        let patch = mutation.json_patch.as_deref();
        match (mutation.patch_type.as_str(), apply, patch) {
            ("ApplyConfiguration", Some(apply), _) => Some(Mutation::Apply(expression(
                &compiler,
                &apply.expression,
                Purpose::Apply,
            ))),
            ("JSONPatch", _, Some(patch)) => Some(Mutation::Patch(expression(
                &compiler,
                &patch.expression,
                Purpose::Patch,
            ))),
            _ => None,
        }
    });
    Mutating {
        mutations: mutations.collect(),
        reinvoked: spec.reinvocation_policy == "IfNeeded",
        policy: Policy {
            name: policy.metadata.name.to_string(),
            fails_open,
            constraints: Constraints::of(spec.match_constraints.as_deref()),
            params: spec.param_kind.as_deref().cloned(),
            conditions: Conditions::compile(&spec.match_conditions, fails_open, &compiler),
            variables,
            bindings,
        },
    }
}

/// The parameters of a binding for a request: one null when none are asked for, nothing when there are none and that
/// is fine.
pub(super) fn parameters(
    asked: &Asked<'_>,
    policy: &Policy,
    binding: &Binding,
) -> Result<Vec<Value>, String> {
    let (Some(kind), Some(wanted)) = (&policy.params, &binding.params) else {
        return Ok(vec![Value::Null]);
    };
    let catalog = asked.server.catalog();
    let (group, version) = kind
        .api_version
        .split_once('/')
        .unwrap_or(("", &kind.api_version));
    let served = catalog
        .in_version(group, version)
        .find(|s| s.kind == kind.kind.as_str() && s.is_stored());
    let served = served.ok_or_else(|| {
        format!(
            "paramKind kind `&ParamKind{{APIVersion:{},Kind:{},}}` not known",
            kind.api_version, kind.kind
        )
    })?;
    let namespace = match (served.namespaced, wanted.namespace.as_str()) {
        (false, "") => "",
        (false, _) => {
            let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
            return Err(why.into());
        }
        (true, "") if asked.namespace.is_empty() => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.into());
        }
        (true, "") => asked.namespace.as_str(),
        (true, named) => named,
    };
    let resource = served.storage_resource();
    let found = find(&asked.view.snapshot, &resource, namespace, wanted)?;
    if found.is_empty() && wanted.parameter_not_found_action.as_deref() == Some("Deny") {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".into(),
        );
    }
    let shown = found.into_iter().map(|object| {
        let other = served.served_version(&object).map_err(|s| s.message)?;
        let object = other.as_ref().unwrap_or(&object);
        object.to_value().map_err(|e| e.to_string())
    });
    shown.collect()
}

fn find(
    snapshot: &Snapshot,
    resource: &GroupResource,
    namespace: &str,
    wanted: &ParamRef,
) -> Result<Vec<Arc<Object>>, String> {
    if !wanted.name.is_empty() {
        let key = ObjectKey::new(namespace, wanted.name.as_str());
        return Ok(snapshot.find_object(resource, &key).into_iter().collect());
    }
    let selector = match wanted.selector.as_deref() {
        None => return Err("one of name or selector must be provided".into()),
        Some(selector) => {
            Selector::from_label_selector(Some(selector)).map_err(|e| e.to_string())?
        }
    };
    let mut chosen = snapshot.find_objects_in(resource, namespace, None);
    chosen.retain(|object| selector.matches(&object.meta().labels));
    Ok(chosen)
}
