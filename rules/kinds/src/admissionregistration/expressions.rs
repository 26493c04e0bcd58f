//! What expressions of webhooks and policies may name, and what they must evaluate to.
//!
//! Invariant: an expression that validation lets through compiles again, in the same environment, when a request is
//! judged by it.

use corten_api::admissionregistration::v1::Variable;
use corten_cel::{Decl, Env, Program, Type};
use std::sync::Arc;

/// What an expression may name beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naming {
    /// `params`: the policy has a kind of parameters.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
    /// `Object{}`, `JSONPatch{}` and `jsonpatch`.
    pub patches: bool,
}

/// The expressions that a webhook or policy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Of match conditions and validations.
    Condition,
    /// Of messages.
    Message,
    /// Of audit annotations.
    Annotation,
    /// Of `variables`.
    Variable,
    /// Of mutations by apply configuration.
    Apply,
    /// Of mutations by JSON patch.
    Patch,
}

impl Purpose {
    fn types(self) -> Vec<Type> {
        match self {
            Purpose::Condition => vec![Type::Bool],
            Purpose::Message => vec![Type::String],
            Purpose::Annotation => vec![Type::String, Type::Null],
            Purpose::Variable => vec![Type::Any],
            Purpose::Apply => vec![Type::object("Object")],
            Purpose::Patch => vec![Type::list(Type::object("JSONPatch"))],
        }
    }
}

/// Compiles the expressions of one webhook or policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compiler {
    env: Env,
    variables: Vec<(String, Arc<Decl>)>,
    composed: bool,
}

impl Compiler {
    /// A compiler without variables of one's own.
    pub fn new(naming: Naming) -> Compiler {
        let (request, namespace) = (request_type(), namespace_type());
        let mut env = Env::builder()
            .variable("object", Type::Dyn)
            .variable("oldObject", Type::Dyn)
            .declared("request", &request)
            .declared("namespaceObject", &namespace);
        if naming.params {
            env = env.variable("params", Type::Dyn);
        }
        if naming.authorizer {
            let authorizer = Type::object("kubernetes.authorization.Authorizer");
            let check = Type::object("kubernetes.authorization.ResourceCheck");
            env = env
                .variable("authorizer", authorizer)
                .variable("authorizer.requestResource", check);
        }
        if naming.patches {
            env = env.with_patches();
        }
        Compiler {
            env: env.build(),
            variables: Vec::new(),
            composed: false,
        }
    }

    /// One that may also name what `variables` have been compiled so far.
    #[must_use]
    pub fn composed(mut self) -> Compiler {
        self.composed = true;
        self.declare();
        self
    }

    fn declare(&mut self) {
        let fields = self.variables.iter();
        let fields = fields.map(|(name, decl)| (name.as_str(), decl.clone()));
        let all = Decl::object("kubernetes.variables", fields);
        self.env = self.env.extend().declared("variables", &all).build();
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Upstream's text: `compilation failed: ERROR: <input>:1:5: ...`, `must evaluate to ...`.
    pub fn compile(&self, source: &str, purpose: Purpose) -> Result<Program, String> {
        let program = self.env.compile(source, &purpose.types())?;
        match program.instantiation_error() {
            None => Ok(program),
            Some(why) => Err(format!("program instantiation failed: {why}")),
        }
    }

    /// Compiles a variable; expressions compiled later may name it.
    ///
    /// # Errors
    /// As `compile`; the variable is then of any type.
    pub fn variable(&mut self, variable: &Variable) -> Result<Program, String> {
        let made = self.compile(&variable.expression, Purpose::Variable);
        let output = match &made {
            Ok(program) => program.output().clone(),
            Err(_) => Type::Dyn,
        };
        self.variables
            .push((variable.name.to_string(), Decl::scalar(output)));
        self.declare();
        made
    }
}

fn text() -> Arc<Decl> {
    Decl::scalar(Type::String)
}

fn texts() -> Arc<Decl> {
    Decl::list(text(), u64::MAX)
}

fn object(name: &str, fields: &[(&str, Arc<Decl>)]) -> Arc<Decl> {
    Decl::object(name, fields.iter().map(|(n, d)| (*n, d.clone())))
}

/// The type of `request`: an AdmissionRequest without its uid and objects.
pub(super) fn request_type() -> Arc<Decl> {
    let kind = object(
        "kubernetes.GroupVersionKind",
        &[("group", text()), ("version", text()), ("kind", text())],
    );
    let resource = object(
        "kubernetes.GroupVersionResource",
        &[("group", text()), ("version", text()), ("resource", text())],
    );
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", text()),
            ("uid", text()),
            ("groups", texts()),
            ("extra", Decl::map(texts(), u64::MAX)),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Decl::scalar(Type::Bool)),
            ("options", Decl::scalar(Type::Dyn)),
        ],
    )
}

/// The type of `namespaceObject`: what policies may know of a namespace.
pub(super) fn namespace_type() -> Arc<Decl> {
    let (number, time) = (Decl::scalar(Type::Int), Decl::scalar(Type::Timestamp));
    let map = || Decl::map(text(), u64::MAX);
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", time.clone()),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let status = object(
        "kubernetes.NamespaceStatus",
        &[
            ("conditions", Decl::list(condition, u64::MAX)),
            ("phase", text()),
        ],
    );
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", map()),
            ("annotations", map()),
            ("UID", text()),
            ("creationTimestamp", time.clone()),
            ("deletionGracePeriodSeconds", number.clone()),
            ("deletionTimestamp", time),
            ("generation", number),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", texts())]);
    object(
        "kubernetes.Namespace",
        &[("metadata", metadata), ("spec", spec), ("status", status)],
    )
}
