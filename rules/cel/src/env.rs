//! Environments: the variables and types that expressions may name; and programs: expressions ready to evaluate.
//! Invariant: a program is immutable and may be shared between threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Expr, Kind};
use crate::check::{Checked, check};
use crate::cost::{Cost, Coster};
use crate::decl::Decl;
use crate::functions::{self, Functions};
use crate::parser::{Ast, parse};
use crate::source::{Issue, display};
use crate::types::Type;

/// What expressions may name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub variables: BTreeMap<String, Type>,
    pub objects: BTreeMap<Arc<str>, Arc<Decl>>,
    pub functions: Arc<Functions>,
    /// Whether there are `Object` and `JSONPatch`.
    pub patch: bool,
}

impl Scope {
    pub fn type_named(&self, name: &str) -> Option<Type> {
        let patch_type = name == "JSONPatch" || name == "Object" || name.starts_with("Object.");
        if self.objects.contains_key(name) || (self.patch && patch_type) {
            return Some(Type::object(name));
        }
        Some(match name {
            "bool" => Type::Bool,
            "bytes" => Type::Bytes,
            "double" => Type::Double,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "string" => Type::String,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "null_type" => Type::Null,
            "type" => Type::TypeOf(None),
            "duration" | "google.protobuf.Duration" => Type::Duration,
            "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
            "optional_type" => Type::optional(Type::Dyn),
            "net.IP" | "net.CIDR" => Type::Opaque(name.into(), Vec::new()),
            _ => return None,
        })
    }
}

/// An environment to compile in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env(Arc<Scope>);

/// Collects what an environment has.
#[derive(Clone, Debug)]
pub struct EnvBuilder(Scope);

impl Env {
    /// An environment with Kubernetes' libraries and no variables.
    pub fn builder() -> EnvBuilder {
        EnvBuilder(Scope {
            functions: Arc::new(functions::standard()),
            ..Scope::default()
        })
    }

    /// A type as policies name it in messages.
    pub fn type_name(t: &Type) -> String {
        named(t)
    }

    /// One like this, to add to. Shares the libraries.
    pub fn extend(&self) -> EnvBuilder {
        EnvBuilder((*self.0).clone())
    }

    /// Parses and checks an expression, of whatever type.
    ///
    /// # Errors
    /// All issues found; [`Issues::display`] words them as upstream does.
    pub fn parse(&self, source: &str) -> Result<Program, Issues> {
        let wrong = |issues: Vec<Issue>| Issues {
            text: display(source, &issues),
            issues,
        };
        let mut ast = parse(source).map_err(wrong)?;
        let checked = check(&mut ast, &self.0).map_err(wrong)?;
        let issues = crate::literals::check(&ast.root, &checked, &ast.positions);
        if !issues.is_empty() {
            return Err(wrong(issues));
        }
        let regexes = crate::regexes::constants(&ast.root);
        Ok(Program {
            ast,
            checked,
            regexes,
        })
    }

    /// Parses and checks an expression that must have one of the wanted types (none: any type).
    ///
    /// # Errors
    /// `compilation failed: ERROR: <input>:1:5: ...` or `must evaluate to ...`, as policies report it.
    pub fn compile(&self, source: &str, wanted: &[Type]) -> Result<Program, String> {
        let program = self
            .parse(source)
            .map_err(|issues| format!("compilation failed: {}", issues.text))?;
        let found = program.output();
        if wanted.is_empty() || wanted.iter().any(|t| *t == *found || *t == Type::Any) {
            return Ok(program);
        }
        let found = named(found);
        Err(match wanted {
            [one] => format!("must evaluate to {} but got {found}", named(one)),
            _ => {
                let all: Vec<String> = wanted.iter().map(named).collect();
                format!(
                    "must evaluate to one of [{}] but got {found}",
                    all.join(" ")
                )
            }
        })
    }
}

/// A type as policies name it.
fn named(t: &Type) -> String {
    match t {
        Type::Null => "null_type".into(),
        Type::Duration => "google.protobuf.Duration".into(),
        Type::Timestamp => "google.protobuf.Timestamp".into(),
        Type::TypeOf(Some(inner)) => format!("type({})", named(inner)),
        Type::List(inner) => format!("list({})", named(inner)),
        Type::Map(key, value) => format!("map({}, {})", named(key), named(value)),
        Type::Opaque(name, params) if !params.is_empty() => {
            let inner: Vec<String> = params.iter().map(named).collect();
            format!("{name}({})", inner.join(", "))
        }
        t => t.to_string(),
    }
}

impl EnvBuilder {
    /// Declares a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, t: Type) -> EnvBuilder {
        self.0.variables.insert(name.to_owned(), t);
        self
    }

    /// Declares a variable of a declared type, and the objects in that.
    #[must_use]
    pub fn declared(self, name: &str, decl: &Arc<Decl>) -> EnvBuilder {
        let t = decl.cel_type();
        self.object(decl).variable(name, t)
    }

    /// Declares an object type and those in it.
    #[must_use]
    pub fn object(mut self, decl: &Arc<Decl>) -> EnvBuilder {
        decl.objects(&mut self.0.objects);
        self
    }

    /// Adds what mutating policies have: `Object`, `JSONPatch` and `jsonpatch.escapeKey`.
    #[must_use]
    pub fn with_patches(mut self) -> EnvBuilder {
        functions::add_patch(Arc::make_mut(&mut self.0.functions));
        self.0.patch = true;
        self
    }

    /// The environment.
    pub fn build(self) -> Env {
        Env(Arc::new(self.0))
    }
}

/// Why an expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    issues: Vec<Issue>,
    text: String,
}

impl Issues {
    /// All of them in upstream's words: `ERROR: <input>:1:5: ...` with lines and carets.
    pub fn display(&self) -> &str {
        &self.text
    }
    /// Each with its place.
    pub fn list(&self) -> &[Issue] {
        &self.issues
    }
}

/// An expression ready to evaluate.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) ast: Ast,
    pub(crate) checked: Checked,
    pub(crate) regexes: BTreeMap<String, regex::Regex>,
}

impl Program {
    /// The type that it evaluates to.
    pub fn output(&self) -> &Type {
        &self.checked.types[self.ast.root.id]
    }

    /// Whether it refers to a variable.
    pub fn refers_to(&self, variable: &str) -> bool {
        self.checked.variables.iter().any(|v| v == variable)
    }

    /// The least and most that evaluating may cost, values as large as `sizes` lets them be. Every variable is taken
    /// to be of that declared type; without it sizes are unknown.
    pub fn cost_estimate(&self, sizes: Option<&Decl>) -> Cost {
        Coster::new(&self.checked, sizes).estimate(&self.ast.root)
    }
}

/// Calls with every direct part of an expression.
pub(crate) fn each_child<'a>(expr: &'a Expr, go: &mut dyn FnMut(&'a Expr)) {
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => go(operand),
        Kind::Call { target, args, .. } => {
            target.iter().for_each(|t| go(t));
            args.iter().for_each(go);
        }
        Kind::List(elements) => elements.iter().for_each(|e| go(&e.expr)),
        Kind::Map(entries) => {
            for entry in entries {
                go(&entry.key);
                go(&entry.value);
            }
        }
        Kind::Struct { fields, .. } => fields.iter().for_each(|f| go(&f.value)),
        Kind::Fold(fold) => {
            go(&fold.range);
            go(&fold.init);
            go(&fold.condition);
            go(&fold.step);
            go(&fold.result);
        }
    }
}
