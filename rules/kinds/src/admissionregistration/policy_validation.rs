//! Validation of admission policies: what both sorts share, validations, audit annotations and mutations.

use super::conditions::{Params, validate_conditions};
use super::expressions::{Compiler, Naming, Purpose};
use super::matching::{
    FAILURE_POLICIES, REINVOCATION_POLICIES, validate_match, validate_param_kind,
};
use crate::checks::{Errors, known, one_of, qualified_name};
use crate::error::FieldError;
use corten_api::admissionregistration::v1::{
    AuditAnnotation, MatchCondition, MatchResources, MutatingAdmissionPolicySpec, Mutation,
    ParamKind, ValidatingAdmissionPolicySpec, ValidatingAdmissionPolicyStatus, Validation,
    Variable,
};
use corten_core::Path;

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_MAX: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// What policies of both sorts have.
struct Common<'a> {
    failure_policy: Option<&'a str>,
    param_kind: Option<&'a ParamKind>,
    constraints: Option<&'a MatchResources>,
    conditions: &'a [MatchCondition],
    variables: &'a [Variable],
}

macro_rules! common {
    ($spec:expr) => {
        Common {
            failure_policy: $spec.failure_policy.as_deref(),
            param_kind: $spec.param_kind.as_deref(),
            constraints: $spec.match_constraints.as_deref(),
            conditions: &$spec.match_conditions,
            variables: &$spec.variables,
        }
    };
}

impl Common<'_> {
    /// Conditions that were stored with the same parameters are not looked at again.
    fn same_conditions(&self, old: &Common) -> bool {
        self.param_kind == old.param_kind && self.conditions == old.conditions
    }

    fn validate(&self, errors: &mut Errors, path: &Path, old: Option<&Common>) {
        match self.failure_policy {
            None => errors.push(FieldError::required(path.f("failurePolicy"), "")),
            Some(policy) => known(errors, &path.f("failurePolicy"), policy, &FAILURE_POLICIES),
        }
        if let Some(kind) = self.param_kind {
            validate_param_kind(errors, &path.f("paramKind"), kind);
        }
        let constraints = path.f("matchConstraints");
        match self.constraints {
            None => errors.push(FieldError::required(constraints, "")),
            Some(resources) => {
                validate_match(errors, &constraints, resources);
                if resources.resource_rules.is_empty() {
                    errors.push(FieldError::required(constraints.f("resourceRules"), ""));
                }
            }
        }
        if !old.is_some_and(|old| self.same_conditions(old)) {
            let params = match self.param_kind {
                Some(_) => Params::Known,
                None => Params::Unknown,
            };
            let path = path.f("matchConditions");
            validate_conditions(errors, &path, self.conditions, params);
        }
    }

    /// The variables; answers what compiles the expressions that may name them.
    fn validate_variables(&self, errors: &mut Errors, path: &Path, patches: Patches) -> Compilers {
        let mut compilers = Compilers::new(self.param_kind.is_some(), patches);
        if self.variables.is_empty() && patches == Patches::Unknown {
            return compilers;
        }
        compilers.compose();
        let list = path.f("variables");
        for (i, variable) in self.variables.iter().enumerate() {
            let path = list.i(i);
            let name = variable.name.as_str();
            if name.trim().is_empty() {
                let text = "name is not specified";
                errors.push(FieldError::required(path.f("name"), text));
            } else if !is_identifier(name) {
                let text = "must be a valid CEL identifier";
                errors.push(FieldError::invalid(path.f("name"), name, text));
            }
            let path = path.f("expression");
            if variable.expression.trim().is_empty() {
                let text = "expression is not specified";
                errors.push(FieldError::required(path, text));
            } else if let Err(why) = compilers.variable(variable) {
                errors.push(FieldError::invalid(path, &variable.expression, why));
            }
        }
        compilers
    }
}

/// Whether expressions may make patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patches {
    Known,
    Unknown,
}

/// What compiles the expressions of a policy.
struct Compilers {
    all: Compiler,
    /// Without the authorizer: for messages.
    messages: Compiler,
}

impl Compilers {
    fn new(params: bool, patches: Patches) -> Compilers {
        let naming = Naming {
            params,
            authorizer: true,
            patches: patches == Patches::Known,
        };
        let plain = Naming {
            authorizer: false,
            ..naming
        };
        Compilers {
            all: Compiler::new(naming),
            messages: Compiler::new(plain),
        }
    }

    fn compose(&mut self) {
        self.all = self.all.clone().composed();
        self.messages = self.messages.clone().composed();
    }

    fn variable(&mut self, variable: &Variable) -> Result<(), String> {
        // For messages its type matters, not whether it compiles without the authorizer.
        let _ = self.messages.variable(variable);
        self.all.variable(variable).map(|_| ())
    }

    /// Adds what is wrong with an expression, shown as `shown`.
    fn check(
        &self,
        errors: &mut Errors,
        path: &Path,
        (source, shown): (&str, &str),
        purpose: Purpose,
    ) {
        let compiler = match purpose {
            Purpose::Message => &self.messages,
            _ => &self.all,
        };
        if let Err(why) = compiler.compile(source, purpose) {
            errors.push(FieldError::invalid(path, shown, why));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let word = |b: u8| b == b'_' || b.is_ascii_alphanumeric();
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(word)
        && !corten_cel::is_reserved(name)
}

/// What is wrong with a validating policy.
pub(super) fn validate_validating(
    name: &str,
    spec: &ValidatingAdmissionPolicySpec,
    old: Option<&ValidatingAdmissionPolicySpec>,
) -> Errors {
    let (mut errors, path) = (Errors::new(), Path::Root.f("spec"));
    let common = common!(spec);
    common.validate(&mut errors, &path, old.map(|s| common!(s)).as_ref());
    let compilers = common.validate_variables(&mut errors, &path, Patches::Unknown);
    if spec.validations.is_empty() && spec.audit_annotations.is_empty() {
        let text = "validations or auditAnnotations must contain at least one item";
        for field in ["validations", "auditAnnotations"] {
            errors.push(FieldError::required(path.f(field), text));
        }
        return errors;
    }
    for (i, validation) in spec.validations.iter().enumerate() {
        let list = path.f("validations");
        validate_validation(&mut errors, &list.i(i), validation, &compilers);
    }
    let list = path.f("auditAnnotations");
    if spec.audit_annotations.len() > ANNOTATIONS_MAX {
        let value = crate::internal::printed_list(&spec.audit_annotations);
        let text = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(FieldError::invalid(&list, value, text));
    }
    for (i, annotation) in spec.audit_annotations.iter().enumerate() {
        let path = list.i(i);
        validate_annotation(&mut errors, &path, name, annotation, &compilers);
        let same = |a: &AuditAnnotation| a.key == annotation.key;
        if spec.audit_annotations[..i].iter().any(same) {
            errors.push(FieldError::duplicate(path.f("key"), &annotation.key));
        }
    }
    errors
}

fn validate_validation(
    errors: &mut Errors,
    path: &Path,
    validation: &Validation,
    compilers: &Compilers,
) {
    let source = validation.expression.as_str();
    if source.trim().is_empty() {
        let text = "expression is not specified";
        errors.push(FieldError::required(path.f("expression"), text));
    } else {
        let path = path.f("expression");
        compilers.check(errors, &path, (source, source), Purpose::Condition);
    }
    let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let expression = validation.message_expression.as_str();
    if blank(expression) {
        let text = "must be non-empty if specified";
        errors.push(FieldError::invalid(
            path.f("messageExpression"),
            expression,
            text,
        ));
    }
    if !expression.trim().is_empty() {
        let path = path.f("messageExpression");
        compilers.check(errors, &path, (expression, expression), Purpose::Message);
    }
    let message = validation.message.as_str();
    if blank(message) {
        let text = "must be non-empty if specified";
        errors.push(FieldError::invalid(path.f("message"), message, text));
    } else if message.trim().contains(['\n', '\r']) {
        let text = "must not contain line breaks";
        errors.push(FieldError::invalid(path.f("message"), message, text));
    }
    if let Some(reason) = validation.reason.as_deref() {
        known(errors, &path.f("reason"), reason, &REASONS);
    }
}

fn validate_annotation(
    errors: &mut Errors,
    path: &Path,
    name: &str,
    annotation: &AuditAnnotation,
    compilers: &Compilers,
) {
    let key = path.f("key");
    if name.is_empty() {
        let text = "requires metadata.name be non-empty";
        errors.push(FieldError::invalid(key, &annotation.key, text));
    } else {
        qualified_name(errors, &key, &format!("{name}/{}", annotation.key));
    }
    let path = path.f("valueExpression");
    let length = annotation.value_expression.trim().len();
    if length == 0 {
        let text = "valueExpression is not specified";
        errors.push(FieldError::required(path, text));
    } else if length > ANNOTATION_EXPRESSION_MAX {
        let text = format!("must not exceed {ANNOTATION_EXPRESSION_MAX} bytes in length");
        errors.push(FieldError::required(path, text));
    } else {
        let shown = annotation.value_expression.as_str();
        compilers.check(errors, &path, (shown.trim(), shown), Purpose::Annotation);
    }
}

/// What is wrong with the status that the type checker writes.
pub(super) fn validate_status(status: &ValidatingAdmissionPolicyStatus) -> Errors {
    let mut errors = Errors::new();
    let Some(checking) = &status.type_checking else {
        return errors;
    };
    let status = Path::Root.f("status");
    let checking_path = status.f("typeChecking");
    let list = checking_path.f("expressionWarnings");
    for (i, warning) in checking.expression_warnings.iter().enumerate() {
        let path = list.i(i);
        if warning.warning.is_empty() {
            errors.push(FieldError::required(path.f("warning"), ""));
        }
        if warning.field_ref.trim().is_empty() {
            errors.push(FieldError::required(path.f("fieldRef"), ""));
        }
    }
    errors
}

/// Operations whose objects can be changed.
const MUTATED: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// What is wrong with a mutating policy.
pub(super) fn validate_mutating(
    spec: &MutatingAdmissionPolicySpec,
    old: Option<&MutatingAdmissionPolicySpec>,
) -> Errors {
    let (mut errors, path) = (Errors::new(), Path::Root.f("spec"));
    let common = common!(spec);
    common.validate(&mut errors, &path, old.map(|s| common!(s)).as_ref());
    let rules = common.constraints.map(|c| &c.resource_rules);
    let operations = rules
        .into_iter()
        .flat_map(|rules| rules.iter())
        .flat_map(|rule| rule.rule_with_operations.operations.iter());
    let base = path.f("matchConstraints");
    let at = base.f("resourceRules");
    for operation in operations {
        known(&mut errors, &at.f("operations"), operation, &MUTATED);
    }
    let compilers = common.validate_variables(&mut errors, &path, Patches::Known);
    if spec.mutations.is_empty() {
        let text = "mutations must contain at least one item";
        errors.push(FieldError::required(path.f("mutations"), text));
    }
    for (i, mutation) in spec.mutations.iter().enumerate() {
        let list = path.f("mutations");
        validate_mutation(&mut errors, &list.i(i), mutation, &compilers);
    }
    let policy = &spec.reinvocation_policy;
    let path = path.f("reinvocationPolicy");
    one_of(&mut errors, &path, policy, &REINVOCATION_POLICIES);
    errors
}

fn validate_mutation(errors: &mut Errors, path: &Path, mutation: &Mutation, compilers: &Compilers) {
    let patch = mutation.json_patch.as_ref().map(|p| p.expression.as_str());
    let apply = mutation
        .apply_configuration
        .as_ref()
        .map(|a| a.expression.as_str());
    let patch = ("jsonPatch", "JSONPatch", patch);
    let apply = ("applyConfiguration", "ApplyConfiguration", apply);
    let (wanted, other) = match mutation.patch_type.as_str() {
        "JSONPatch" => (patch, apply),
        "ApplyConfiguration" => (apply, patch),
        unknown => {
            let types = ["ApplyConfiguration", "JSONPatch"];
            one_of(errors, &path.f("patchType"), unknown, &types);
            return;
        }
    };
    match wanted.2 {
        None => {
            let text = format!("must be specified when patchType is {}", wanted.1);
            errors.push(FieldError::required(path.f(wanted.0), text));
        }
        Some(expression) if expression.trim().is_empty() => {
            let base = path.f(wanted.0);
            let path = base.f("expression");
            errors.push(FieldError::required(path, ""));
        }
        Some(expression) => {
            let purpose = match wanted.0 {
                "jsonPatch" => Purpose::Patch,
                _ => Purpose::Apply,
            };
            let base = path.f(wanted.0);
            let source = expression.trim();
            compilers.check(errors, &base.f("expression"), (source, source), purpose);
        }
    }
    if other.2.is_some() {
        let text = format!("must not be specified when patchType is {}", wanted.1);
        let shown = format!("{{{}}}", other.0);
        errors.push(FieldError::invalid(path.f(other.0), shown, text));
    }
}
