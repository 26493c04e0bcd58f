//! Expressions in configuration files: each is over one variable. Invariant: one that does not compile is refused when
//! the file is read; evaluating one costs no more than upstream lets a call cost.

use std::fmt;
use std::sync::Arc;

use corten_cel::{Activation, Budget, Env, Program, Type};
use corten_core::Value;

/// An expression over one variable.
#[derive(Clone)]
pub struct Expression {
    variable: &'static str,
    program: Arc<Program>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an expression over {}", self.variable)
    }
}

fn compile(variable: &'static str, source: &str, wanted: &[Type]) -> Result<Expression, String> {
    let t = match variable {
        "claims" => Type::map(Type::String, Type::Any),
        _ => Type::Dyn,
    };
    let env = Env::builder().variable(variable, t).build();
    let program = env.compile(source, wanted)?;
    Ok(Expression {
        variable,
        program: Arc::new(program),
    })
}

impl Expression {
    /// Compiles one that may give anything.
    pub(super) fn any(variable: &'static str, source: &str) -> Result<Expression, String> {
        compile(variable, source, &[])
    }

    /// Compiles one that says yes or no.
    pub(super) fn condition(variable: &'static str, source: &str) -> Result<Expression, String> {
        compile(variable, source, &[Type::Bool])
    }

    /// What it gives for a value of its variable.
    pub fn evaluate(&self, value: &Value) -> Result<Value, String> {
        let activation = Activation::new().data(self.variable, value);
        let found = self.program.evaluate(&activation, &mut Budget::default());
        found.map_err(|e| e.to_string())?.to_value()
    }
}

/// Whether an expression reads this field of `claims`.
pub(super) fn reads_claim(source: &str, field: &str) -> bool {
    let wanted = format!("claims.{field}");
    let mut rest = source;
    while let Some(at) = rest.find(&wanted) {
        rest = &rest[at + wanted.len()..];
        let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !rest.starts_with(goes_on) {
            return true;
        }
    }
    source.contains(&format!("claims.?{field}")) || source.contains(&format!("claims[\"{field}\"]"))
}
