//! What variables stand for while expressions are evaluated, and how much evaluating may cost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use corten_core::Value;

use crate::authorizer::Authz;
use crate::env::Program;
use crate::schema::Schema;
use crate::val::{Fields, MapVal, Val};

/// The most that one evaluation may cost.
pub const CALL_COST_MAX: u64 = 1_000_000;

/// The values of variables.
#[derive(Clone, Debug, Default)]
pub struct Activation<'a> {
    values: BTreeMap<&'a str, Result<Val<'a>, String>>,
}

impl<'a> Activation<'a> {
    /// No variables.
    pub fn new() -> Activation<'a> {
        Activation::default()
    }

    /// A variable for data as it is (`object`, `request`).
    #[must_use]
    pub fn data(self, name: &'a str, value: &'a Value) -> Activation<'a> {
        self.value(name, Val::data(value, None))
    }

    /// A variable for data under a schema (`self`, `oldSelf`).
    #[must_use]
    pub fn typed(self, name: &'a str, value: &'a Value, schema: &'a Schema) -> Activation<'a> {
        self.value(name, Val::data(value, Some(schema)))
    }

    /// A variable for an optional of data under a schema.
    #[must_use]
    pub fn optional(
        self,
        name: &'a str,
        value: Option<&'a Value>,
        schema: &'a Schema,
    ) -> Activation<'a> {
        let value = value.map(|v| Val::data(v, Some(schema))).transpose();
        self.value(
            name,
            value.map(|v| v.map_or(Val::Optional(None), Val::some)),
        )
    }

    /// A variable for an authorizer or a check it starts.
    #[must_use]
    pub fn authorizer(self, name: &'a str, authz: Authz) -> Activation<'a> {
        self.value(name, Ok(Val::Authz(Rc::new(authz))))
    }

    /// A variable whose fields are named expressions.
    #[must_use]
    pub fn fields(self, name: &'a str, fields: &'a dyn Fields<'a>) -> Activation<'a> {
        self.value(name, Ok(Val::Map(MapVal::Variables(fields))))
    }

    /// A variable for a value or why there is none.
    #[must_use]
    pub fn value(mut self, name: &'a str, value: Result<Val<'a>, String>) -> Activation<'a> {
        self.values.insert(name, value);
        self
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Result<Val<'a>, String>> {
        self.values.get(name)
    }
}

/// How much evaluating may cost, and has cost.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    spent: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(CALL_COST_MAX)
    }
}

impl Budget {
    /// At most so much.
    pub const fn new(limit: u64) -> Budget {
        Budget { limit, spent: 0 }
    }
    /// What evaluating has cost so far.
    pub const fn spent(&self) -> u64 {
        self.spent
    }
    pub(crate) fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit {
            return Err(EvalError::CostLimit);
        }
        Ok(())
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// It costs more than its budget.
    CostLimit,
    /// What went wrong while evaluating, in upstream's words.
    Failed(String),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::CostLimit => f.write_str("operation cancelled: actual cost limit exceeded"),
            EvalError::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for EvalError {}

impl From<String> for EvalError {
    fn from(message: String) -> EvalError {
        EvalError::Failed(message)
    }
}

/// Named expressions (`variables.x`), each evaluated at most once and only when asked for.
pub struct Variables<'a> {
    programs: Vec<(&'a str, &'a Program)>,
    activation: RefCell<Option<Activation<'a>>>,
    known: RefCell<BTreeMap<String, Result<Val<'a>, String>>>,
    spent: Cell<u64>,
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.programs.iter().map(|(name, _)| name))
            .finish()
    }
}

impl<'a> Variables<'a> {
    /// Variables by name, in order: one may use those before it.
    pub fn new(programs: Vec<(&'a str, &'a Program)>) -> Variables<'a> {
        Variables {
            programs,
            activation: RefCell::new(None),
            known: RefCell::default(),
            spent: Cell::new(0),
        }
    }

    /// The activation with `variables` in it; these are evaluated in the same one.
    pub fn activate(&'a self, activation: Activation<'a>) -> Activation<'a> {
        let activation = activation.fields("variables", self);
        *self.activation.borrow_mut() = Some(activation.clone());
        activation
    }

    /// What evaluating variables has cost since last asked.
    pub fn take_spent(&self) -> u64 {
        self.spent.replace(0)
    }
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(&self, name: &str) -> Option<Result<Val<'a>, String>> {
        let (_, program) = self.programs.iter().find(|(n, _)| *n == name)?;
        if let Some(known) = self.known.borrow().get(name) {
            return Some(known.clone());
        }
        let activation = self.activation.borrow().clone()?;
        let mut budget = Budget::default();
        let value = program
            .evaluate_in(activation, &mut budget)
            .map_err(|e| format!("composited variable {name:?} fails to evaluate: {e}"));
        self.spent.set(self.spent.get() + budget.spent());
        self.known
            .borrow_mut()
            .insert(name.to_owned(), value.clone());
        Some(value)
    }
}
