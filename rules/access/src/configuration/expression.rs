//! Expressions in configuration files. They are refused when a file is read: nothing evaluates them here yet, and a
//! rule that is never evaluated must not look as if it held.

use corten_core::Value;

/// An expression over one variable.
#[derive(Clone, Debug)]
pub struct Expression {}

impl Expression {
    /// Compiles one that may give anything.
    pub(super) fn any(_variable: &'static str, source: &str) -> Result<Expression, String> {
        Err(format!(
            "compilation failed: expressions are not supported here: {source:?}"
        ))
    }

    /// Compiles one that says yes or no.
    pub(super) fn condition(variable: &'static str, source: &str) -> Result<Expression, String> {
        Expression::any(variable, source)
    }

    /// What it gives for a value of its variable.
    pub fn evaluate(&self, _value: &Value) -> Result<Value, String> {
        Err("expressions are not supported".to_owned())
    }
}
