//! MutatingAdmissionPolicies: every bound policy that matches changes the object in turn, by merging a configuration into
//! it or by a JSON patch; those that want to are asked once more when the object changed after they saw it.

use corten_api::Object;
use corten_cel::{ListVal, MapVal, ObjectVal, Val};
use corten_client::{Cause, Status};
use corten_core::Value;

use super::asked::Asked;
use super::conditions::Verdict;
use super::expressions::{Asking, COST_MAX, Evaluation, Expression, Facts, Remaining};
use super::matching::Matched;
use super::mutating::Round;
use super::policies::{Binding, Mutating, Mutation, parameters};

/// A policy with a binding and the name of a parameter.
pub(super) type Id = (String, String, String);

/// One policy that is to change the object.
struct Invocation<'p> {
    policy: &'p Mutating,
    binding: &'p Binding,
    matched: Matched,
    param: Value,
}

impl Invocation<'_> {
    fn id(&self) -> Id {
        let meta = |field: &str| self.param.str_at(&["metadata", field]).to_owned();
        (
            self.policy.policy.name.clone(),
            self.binding.name.clone(),
            format!("{}/{}", meta("namespace"), meta("name")),
        )
    }
}

/// What went wrong, in the words of the refusal.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, policy: &Mutating, binding: Option<&Binding>, why: &str) {
        if policy.policy.fails_open {
            return;
        }
        let name = &policy.policy.name;
        self.0.push(match binding {
            Some(binding) => format!(
                "policy '{name}' with binding '{}' denied request: {why}",
                binding.name
            ),
            None => format!("policy {name:?} denied request: {why}"),
        });
    }

    /// 403 with the first as message and all as causes.
    fn status(self, asked: &Asked<'_>, object: Option<&Object>) -> Result<(), Status> {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let mut status = asked.forbidden(object, "");
        status.message = first.clone();
        status.reason = "Invalid".into();
        if let Some(details) = &mut status.details {
            details.causes = self
                .0
                .into_iter()
                .map(|message| Cause {
                    message,
                    ..Cause::default()
                })
                .collect();
        }
        Err(status)
    }
}

/// Lets the policies change an object (in the version that is stored).
pub(super) async fn mutate(
    asked: &Asked<'_>,
    mut object: Option<&mut Object>,
    policies: &[Mutating],
    round: &mut Round,
) -> Result<(), Status> {
    let mut problems = Problems::default();
    let invocations = invocations(asked, object.as_deref(), policies, &mut problems);
    let memory = &mut round.policies;
    if round.number > 0 {
        memory.compare(object.as_deref());
    }
    let mut dirty = false;
    for invocation in &invocations {
        let mut facts = Facts::of(asked, &invocation.matched, object.as_deref())?;
        facts.params = invocation.param.clone();
        let policy = &invocation.policy.policy;
        match policy
            .conditions
            .judge(asked, &facts, &policy.variables)
            .await
        {
            Verdict::Hold => {}
            Verdict::Fail => continue,
            Verdict::Wrong(why) => {
                problems.add(invocation.policy, Some(invocation.binding), &why);
                continue;
            }
        }
        let id = invocation.id();
        if round.number > 0 && !memory.is_unsettled(&id) {
            continue;
        }
        if let Some(object) = object.as_deref_mut() {
            let invoked = invoke(asked, invocation, &mut facts, object, &mut problems).await;
            let (changed, applied) = invoked?;
            dirty |= applied;
            if changed {
                memory.unsettle();
                round.again = true;
            }
        }
        if invocation.policy.reinvoked {
            memory.settle(id);
        }
    }
    if dirty {
        memory.unsettle();
        round.again = true;
    }
    memory.remember(object.as_deref());
    problems.status(asked, object.as_deref())
}

/// Which policies are to change the object, decided on what it was before any of them.
fn invocations<'p>(
    asked: &Asked<'_>,
    object: Option<&Object>,
    policies: &'p [Mutating],
    problems: &mut Problems,
) -> Vec<Invocation<'p>> {
    let mut found = Vec::new();
    for policy in policies {
        let matched = match policy.policy.constraints.matches(asked, object) {
            Ok(Some(matched)) => matched,
            Ok(None) => continue,
            Err(status) => {
                let why = format!("failed to configure policy: {}", status.message);
                problems.add(policy, None, &why);
                continue;
            }
        };
        for binding in &policy.policy.bindings {
            let applies = match &binding.constraints {
                None => Ok(true),
                Some(constraints) => constraints.matches(asked, object).map(|m| m.is_some()),
            };
            let params = match applies {
                Ok(false) => continue,
                Ok(true) => parameters(asked, &policy.policy, binding),
                Err(status) => Err(status.message),
            };
            match params {
                Err(why) => {
                    let why = format!("failed to configure binding: {why}");
                    problems.add(policy, Some(binding), &why);
                }
                Ok(params) => found.extend(params.into_iter().map(|param| Invocation {
                    policy,
                    binding,
                    matched: matched.clone(),
                    param,
                })),
            }
        }
    }
    found
}

/// Applies a policy's mutations in order; whether the object changed, and whether any was applied.
async fn invoke(
    asked: &Asked<'_>,
    invocation: &Invocation<'_>,
    facts: &mut Facts,
    object: &mut Object,
    problems: &mut Problems,
) -> Result<(bool, bool), Status> {
    let before = object.clone();
    let mut applied = false;
    for mutation in &invocation.policy.mutations {
        let compute = || change(asked, invocation, facts, mutation);
        let wanted = match asked.rights.settle(asked.server, compute).await {
            Ok(wanted) => wanted,
            Err(why) => {
                problems.add(invocation.policy, Some(invocation.binding), &why);
                continue;
            }
        };
        let version = object.meta().resource_version.clone();
        let mut new = asked.stored(&wanted, &invocation.matched.resource)?;
        if new.has_meta() {
            new.meta_mut().resource_version = version;
        }
        *object = new;
        applied = true;
        facts.object = super::expressions::shown(asked, &invocation.matched, Some(object))?;
    }
    Ok((!before.semantic_eq(object), applied))
}

/// The object as a mutation wants it, in the version of the match.
fn change(
    asked: &Asked<'_>,
    invocation: &Invocation<'_>,
    facts: &Facts,
    mutation: &Mutation,
) -> Result<Value, String> {
    let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
    if let Err(why) = &expression.program {
        return Err(why.clone());
    }
    let made = evaluated(asked, invocation, facts, expression)?;
    match mutation {
        Mutation::Apply(_) => {
            let mut configuration = made;
            for name in ["apiVersion", "kind"] {
                configuration.set(&[name], facts.object[name].clone());
            }
            let served = asked
                .served_as(&invocation.matched.resource)
                .map_err(|status| status.message)?;
            corten_patch::merge_configuration(&facts.object, &configuration, served.patch_schema())
                .map_err(|e| format!("error applying patch: {e}"))
        }
        Mutation::Patch(_) => match corten_patch::json(facts.object.clone(), &made) {
            Ok(new) => Ok(new),
            // A patch whose test fails changes nothing, and that is fine.
            Err(e) if e.to_string().contains("test") => Ok(facts.object.clone()),
            Err(e) => Err(format!("JSON Patch: {e}")),
        },
    }
}

/// What a mutation's expression makes, as data.
fn evaluated(
    asked: &Asked<'_>,
    invocation: &Invocation<'_>,
    facts: &Facts,
    expression: &Expression,
) -> Result<Value, String> {
    let variables = &invocation.policy.policy.variables;
    let evaluation = Evaluation::new(asked, facts, Asking::Allowed);
    let mut made = Err("the expression was not evaluated".to_owned());
    evaluation.each(
        variables,
        &[Some(expression)],
        &mut Remaining(COST_MAX),
        &mut |value| {
            made = value.unwrap_or(Ok(Val::Null)).and_then(|value| {
                check_names(&value)?;
                value.to_value()
            });
        },
    )?;
    made
}

/// Objects must be made under the names of the fields that they are put into.
fn check_names(value: &Val<'_>) -> Result<(), String> {
    let mut wrong = Vec::new();
    match value {
        Val::List(ListVal::Own(patches, _)) => {
            for patch in patches.iter() {
                if let Val::Object(patch) = patch
                    && let Some(Val::Object(inner)) = patch.fields.get("value")
                {
                    check_object(inner, &inner.name, &mut wrong);
                }
            }
        }
        Val::Object(object) => check_object(object, "Object", &mut wrong),
        _ => {}
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("type mismatch: {}", wrong.join("\n"))),
    }
}

fn check_object(object: &ObjectVal<'_>, path: &str, wrong: &mut Vec<String>) {
    if object.name != path {
        wrong.push(format!(
            "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
            object.name
        ));
    }
    for (field, value) in &object.fields {
        check_value(value, &format!("{path}.{field}"), wrong);
    }
}

fn check_value(value: &Val<'_>, path: &str, wrong: &mut Vec<String>) {
    match value {
        Val::Object(object) => check_object(object, path, wrong),
        Val::Optional(Some(inner)) => check_value(inner, path, wrong),
        Val::List(ListVal::Own(items, _)) => {
            items.iter().for_each(|item| check_value(item, path, wrong));
        }
        Val::Map(MapVal::Own(map)) => {
            map.values().for_each(|item| check_value(item, path, wrong));
        }
        _ => {}
    }
}
