//! Evaluates a checked expression, counting what it costs. Invariant: costs are charged where upstream charges them,
//! so that an expression that is over its budget there is over it here.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::activation::{Activation, Budget, EvalError};
use crate::actual::call_cost;
use crate::ast::{Element, Entry, Expr, FieldInit, Fold, Kind, Literal};
use crate::calls::{self, call};
use crate::convert::shown;
use crate::env::Program;
use crate::equal::equal;
use crate::val::{Key, ListVal, MapVal, ObjectVal, Text, Val};

type Evaluated<'a> = Result<Val<'a>, EvalError>;

fn failed<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::Failed(message.into()))
}

struct Evaluator<'a, 'b> {
    program: &'a Program,
    activation: Activation<'a>,
    budget: &'b mut Budget,
    locals: Vec<(&'a str, Slot<'a>)>,
}

/// What a variable of a fold holds.
#[derive(Clone)]
enum Slot<'a> {
    Ready(Result<Val<'a>, String>),
    /// Not evaluated before it is used.
    Lazy(&'a Expr),
}

impl Program {
    /// The value, with variables as the activation has them.
    ///
    /// # Errors
    /// Upstream's message, or that the budget is exhausted.
    pub fn evaluate<'a>(
        &'a self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, EvalError> {
        self.evaluate_in(activation.clone(), budget)
    }

    pub(crate) fn evaluate_in<'a>(
        &'a self,
        activation: Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, EvalError> {
        let mut evaluator = Evaluator {
            program: self,
            activation,
            budget,
            locals: Vec::new(),
        };
        evaluator.eval(&self.ast.root)
    }

    /// What keeps the program from being made although it compiles: constants that cannot be converted.
    pub fn instantiation_error(&self) -> Option<String> {
        crate::regexes::wrong(&self.ast.root)
    }
}

/// Whether an expression is constant, so that evaluating it costs nothing.
fn constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(_) => true,
        Kind::List(elements) => elements.iter().all(|e| constant(&e.expr)),
        Kind::Map(entries) => entries
            .iter()
            .all(|e| constant(&e.key) && constant(&e.value)),
        Kind::Call {
            function,
            target: None,
            args,
        } => {
            args.len() == 1
                && matches!(
                    function.as_str(),
                    "bool"
                        | "bytes"
                        | "double"
                        | "dyn"
                        | "duration"
                        | "int"
                        | "string"
                        | "timestamp"
                        | "type"
                        | "uint"
                )
                && constant(&args[0])
        }
        _ => false,
    }
}

/// Why a constant cannot be converted.
pub(crate) fn constant_error(expr: &Expr) -> Option<String> {
    let Kind::Call {
        function,
        target: None,
        args,
    } = &expr.kind
    else {
        return None;
    };
    match args.as_slice() {
        [
            Expr {
                kind: Kind::Literal(literal),
                ..
            },
        ] if constant(expr) => crate::convert::convert(function, &literal_value(literal)).err(),
        _ => None,
    }
}

fn is_attribute(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Ident(_) | Kind::Select { .. } => true,
        Kind::Call { function, .. } => {
            matches!(function.as_str(), "_?_:_" | "_[_]" | "_[?_]" | "_?._")
        }
        _ => false,
    }
}

impl<'a> Evaluator<'a, '_> {
    fn eval(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(literal_value(literal)),
            Kind::Ident(_) if self.program.checked.type_names.contains_key(&expr.id) => {
                Ok(Val::Type(self.program.checked.type_names[&expr.id].clone()))
            }
            Kind::Ident(_) => self.charged(expr),
            Kind::Select { test: true, .. } => self.resolve(expr),
            Kind::Select { .. } => self.charged(expr),
            Kind::Call { function, .. } => match function.as_str() {
                "_[_]" | "_[?_]" | "_?._" => self.charged(expr),
                "_?_:_" => self.resolve(expr),
                _ => self.call(expr),
            },
            Kind::List(elements) => self.list(expr, elements),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { name, fields } => self.object(name, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    /// An attribute: its steps, and one for reading it.
    fn charged(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        let value = self.resolve(expr);
        if matches!(value, Err(EvalError::CostLimit)) {
            return value;
        }
        self.budget.spend(1)?;
        value
    }

    /// What an attribute leads to, charging its steps only.
    fn resolve(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        match &expr.kind {
            Kind::Ident(name) => self.variable(name),
            Kind::Select {
                operand,
                field,
                test,
            } => {
                let object = self.operand(operand)?;
                let key = Val::Str(Text::Ref(field));
                if *test {
                    let found = present(&object, &key);
                    self.budget.spend(1)?;
                    return Ok(Val::Bool(found?));
                }
                self.step(object, &key, false)
            }
            Kind::Call { function, args, .. } => match function.as_str() {
                "_?_:_" => self.conditional(args),
                "_?._" => {
                    let object = self.operand(&args[0])?;
                    let key = self.eval(&args[1])?;
                    self.step(object, &key, true)
                }
                "_[_]" | "_[?_]" => {
                    let object = self.operand(&args[0])?;
                    let key = self.operand(&args[1])?;
                    self.step(object, &key, function == "_[?_]")
                }
                _ => self.eval(expr),
            },
            _ => self.eval(expr),
        }
    }

    fn operand(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        let named = self.program.checked.type_names.contains_key(&expr.id);
        if is_attribute(expr) && !named {
            self.resolve(expr)
        } else {
            self.eval(expr)
        }
    }

    /// One step into a value: a field, an element, an entry.
    fn step(&mut self, object: Val<'a>, key: &Val<'a>, optional: bool) -> Evaluated<'a> {
        let (object, optional) = match object {
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, optional),
        };
        let found = qualify(&object, key);
        if optional {
            let Some(value) = found? else {
                return Ok(Val::Optional(None));
            };
            self.budget.spend(1)?;
            return Ok(Val::some(value));
        }
        self.budget.spend(1)?;
        match found? {
            Some(value) => Ok(value),
            None if matches!(object, Val::List(_)) => {
                failed(format!("index out of bounds: {}", shown(key)))
            }
            None => failed(format!("no such key: {}", shown(key))),
        }
    }

    fn conditional(&mut self, args: &'a [Expr]) -> Evaluated<'a> {
        match self.eval(&args[0])? {
            Val::Bool(true) => self.operand(&args[1]),
            Val::Bool(false) => self.operand(&args[2]),
            _ => failed("no such overload"),
        }
    }

    fn variable(&mut self, name: &str) -> Evaluated<'a> {
        let Some(at) = self.locals.iter().rposition(|(n, _)| *n == name) else {
            return match self.activation.find(name) {
                Some(value) => value.clone().map_err(EvalError::Failed),
                None => failed(format!("no such attribute(s): {name}")),
            };
        };
        match &self.locals[at].1 {
            Slot::Ready(value) => value.clone().map_err(EvalError::Failed),
            Slot::Lazy(init) => {
                let init = *init;
                let inner = self.locals.split_off(at);
                let value = self.eval(init);
                self.locals.extend(inner);
                let kept = kept(&value)?;
                self.locals[at].1 = Slot::Ready(kept);
                value
            }
        }
    }

    fn call(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        let Kind::Call {
            function,
            target,
            args,
        } = &expr.kind
        else {
            return failed("no such overload");
        };
        match function.as_str() {
            "_&&_" => return self.logical(args, false),
            "_||_" => return self.logical(args, true),
            "@not_strictly_false" => {
                let value = self.eval(&args[0]);
                if matches!(value, Err(EvalError::CostLimit)) {
                    return value;
                }
                self.budget.spend(1)?;
                return Ok(Val::Bool(!matches!(value, Ok(Val::Bool(false)))));
            }
            "or" | "orValue" => {
                if let Some(target) = target {
                    return self.alternative(function, target, &args[0]);
                }
            }
            "_+_" => {
                if let Some(value) = self.append(args)? {
                    return Ok(value);
                }
            }
            _ => {}
        }
        let overloads = &self.program.checked.overloads[expr.id];
        let overload = match overloads.as_slice() {
            [one] => one.as_str(),
            _ => "",
        };
        if overload == "in_list" && constant(&args[1]) {
            return self.member_of_constants(args);
        }
        let free = constant(expr);
        let mut values = Vec::with_capacity(args.len() + 1);
        let mut wrong = None;
        for arg in target.iter().map(|t| &**t).chain(args) {
            match self.eval(arg) {
                Ok(value) => values.push(value),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(error) => {
                    wrong.get_or_insert(error);
                    values.push(Val::Null);
                }
            }
        }
        let result = match wrong {
            Some(error) => Err(error),
            None => {
                let program = self.program;
                call(function, overload, &values, &|p| {
                    program.regexes.get(p).cloned()
                })
                .map_err(EvalError::Failed)
            }
        };
        if !free {
            let cost = call_cost(function, overload, &values, result.as_ref().ok());
            self.budget.spend(cost)?;
        }
        result
    }

    /// `a && b` and `a || b`: an error counts only when the other side does not decide.
    fn logical(&mut self, args: &'a [Expr], decisive: bool) -> Evaluated<'a> {
        let mut error = None;
        for arg in args {
            match self.eval(arg) {
                Ok(Val::Bool(v)) if v == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => {
                    error.get_or_insert(EvalError::Failed("no such overload".into()));
                }
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(other) => {
                    error.get_or_insert(other);
                }
            }
        }
        error.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    /// `a.or(b)` and `a.orValue(b)`: the second is evaluated only when the first is none.
    fn alternative(
        &mut self,
        function: &str,
        target: &'a Expr,
        otherwise: &'a Expr,
    ) -> Evaluated<'a> {
        let value = match self.eval(target)? {
            Val::Optional(None) => self.eval(otherwise)?,
            Val::Optional(Some(inner)) if function == "orValue" => (*inner).clone(),
            other @ Val::Optional(_) => other,
            _ => return failed(format!("no such overload: {function}")),
        };
        Ok(value)
    }

    fn member_of_constants(&mut self, args: &'a [Expr]) -> Evaluated<'a> {
        let Kind::List(elements) = &args[1].kind else {
            return failed("no such overload");
        };
        if elements.is_empty() {
            return Ok(Val::Bool(false));
        }
        let wanted = self.eval(&args[0])?;
        let mut primitive = true;
        let mut found = false;
        for element in elements {
            let value = self.eval(&element.expr)?;
            primitive = primitive && !matches!(value, Val::Bytes(_) | Val::List(_) | Val::Map(_));
            found = found || equal(&value, &wanted)?;
        }
        if !primitive {
            self.budget.spend(elements.len() as u64)?;
        }
        Ok(Val::Bool(found))
    }

    /// `accu + [x]` in a fold: nobody else holds the list, so the element is added in place.
    fn append(&mut self, args: &'a [Expr]) -> Result<Option<Val<'a>>, EvalError> {
        let (Kind::Ident(name), Kind::List(elements)) = (&args[0].kind, &args[1].kind) else {
            return Ok(None);
        };
        let [element] = elements.as_slice() else {
            return Ok(None);
        };
        if name != crate::macros::ACCUMULATOR || element.optional {
            return Ok(None);
        }
        self.charged(&args[0])?;
        let value = self.eval(&element.expr)?;
        if !constant(&args[1]) {
            self.budget.spend(10)?;
        }
        self.budget.spend(1)?;
        let Some(slot) = self.locals.iter_mut().rev().find(|(n, _)| n == name) else {
            return Ok(None);
        };
        let taken = std::mem::replace(&mut slot.1, Slot::Ready(Ok(Val::Null)));
        match taken {
            Slot::Ready(Ok(list)) => Ok(Some(calls::push(list, value)?)),
            _ => failed("no such overload"),
        }
    }

    fn list(&mut self, expr: &'a Expr, elements: &'a [Element]) -> Evaluated<'a> {
        let mut all = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.eval(&element.expr)?;
            if !element.optional {
                all.push(value);
                continue;
            }
            match value {
                Val::Optional(None) => {}
                Val::Optional(Some(inner)) => all.push((*inner).clone()),
                other => {
                    return failed(format!(
                        "cannot initialize optional list element from non-optional value {}",
                        shown(&other)
                    ));
                }
            }
        }
        if !constant(expr) {
            self.budget.spend(10)?;
        }
        Ok(Val::List(ListVal::Own(Rc::new(all), None)))
    }

    fn map(&mut self, expr: &'a Expr, entries: &'a [Entry]) -> Evaluated<'a> {
        let mut all = BTreeMap::new();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let mut value = self.eval(&entry.value)?;
            if entry.optional {
                match value {
                    Val::Optional(None) => continue,
                    Val::Optional(Some(inner)) => value = (*inner).clone(),
                    other => {
                        return failed(format!(
                            "cannot initialize optional entry '{}' from non-optional value {}",
                            shown(&key),
                            shown(&other)
                        ));
                    }
                }
            }
            let Some(key) = Key::of(&key) else {
                return failed(format!("unsupported key type: {}", key.type_of()));
            };
            all.insert(key, value);
        }
        if !constant(expr) {
            self.budget.spend(30)?;
        }
        Ok(Val::Map(MapVal::Own(Rc::new(all))))
    }

    fn object(&mut self, name: &str, inits: &'a [FieldInit]) -> Evaluated<'a> {
        let mut fields = BTreeMap::new();
        for init in inits {
            let mut value = self.eval(&init.value)?;
            if init.optional {
                match value {
                    Val::Optional(None) => continue,
                    Val::Optional(Some(inner)) => value = (*inner).clone(),
                    other => {
                        return failed(format!(
                            "cannot initialize optional entry '{}' from non-optional value {}",
                            init.name,
                            shown(&other)
                        ));
                    }
                }
            }
            let field = crate::escape::unescape(&init.name).unwrap_or_else(|| init.name.clone());
            fields.insert(field, value);
        }
        self.budget.spend(40)?;
        Ok(Val::Object(Rc::new(ObjectVal {
            name: name.to_owned(),
            fields,
        })))
    }

    fn fold(&mut self, fold: &'a Fold) -> Evaluated<'a> {
        let range = self.eval(&fold.range)?;
        let depth = self.locals.len();
        self.locals.push((&fold.accu, Slot::Lazy(&fold.init)));
        let result = self.iterate(fold, &range, depth);
        let result = match result {
            Ok(()) => {
                self.locals.truncate(depth + 1);
                self.eval(&fold.result)
            }
            Err(error) => Err(error),
        };
        self.locals.truncate(depth);
        result
    }

    fn iterate(&mut self, fold: &'a Fold, range: &Val<'a>, depth: usize) -> Result<(), EvalError> {
        let elements = calls::elements(range)?;
        for (i, element) in elements.into_iter().enumerate() {
            match &fold.var2 {
                None => self.locals.push((&fold.var, Slot::Ready(element))),
                Some(var2) => {
                    let (first, second) = pair(range, i, element);
                    self.locals.push((&fold.var, Slot::Ready(first)));
                    self.locals.push((var2, Slot::Ready(second)));
                }
            }
            let condition = self.eval(&fold.condition)?;
            if matches!(condition, Val::Bool(false)) {
                break;
            }
            let value = self.eval(&fold.step);
            let kept = kept(&value)?;
            drop(value);
            self.locals.truncate(depth + 1);
            self.locals[depth].1 = Slot::Ready(kept);
        }
        Ok(())
    }
}

/// A value or error to keep in a variable; an exhausted budget is neither.
fn kept<'a>(value: &Evaluated<'a>) -> Result<Result<Val<'a>, String>, EvalError> {
    match value {
        Ok(value) => Ok(Ok(value.clone())),
        Err(EvalError::Failed(message)) => Ok(Err(message.clone())),
        Err(EvalError::CostLimit) => Err(EvalError::CostLimit),
    }
}

/// What the two variables of a fold hold.
fn pair<'a>(
    range: &Val<'a>,
    index: usize,
    element: Result<Val<'a>, String>,
) -> (Result<Val<'a>, String>, Result<Val<'a>, String>) {
    match (range, element) {
        (Val::Map(map), Ok(key)) => {
            let value = map.find(&key).map(|v| v.unwrap_or(Val::Null));
            (Ok(key), value)
        }
        (_, element) => (Ok(Val::Int(index as i64)), element),
    }
}

fn literal_value(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(v) => Val::Bool(*v),
        Literal::Int(v) => Val::Int(*v),
        Literal::Uint(v) => Val::Uint(*v),
        Literal::Double(v) => Val::Double(*v),
        Literal::Str(v) => Val::Str(Text::Ref(v)),
        Literal::Bytes(v) => Val::Bytes(v.as_slice().into()),
    }
}

/// What a key leads to; none when it leads nowhere.
fn qualify<'a>(object: &Val<'a>, key: &Val<'a>) -> Result<Option<Val<'a>>, EvalError> {
    match object {
        Val::Map(map) => Ok(map.find(key)?),
        Val::Object(object) => Ok(key.as_str().and_then(|k| object.fields.get(k).cloned())),
        Val::List(list) => {
            let index = match key {
                Val::Int(v) => *v,
                Val::Uint(v) => i64::try_from(*v).unwrap_or(-1),
                Val::Double(v) if v.fract() == 0.0 => *v as i64,
                Val::Double(v) => return failed(format!("unsupported index value {v} in list")),
                other => {
                    return failed(format!(
                        "unsupported index type '{}' in list",
                        other.type_of()
                    ));
                }
            };
            match usize::try_from(index) {
                Ok(index) if index < list.len() => Ok(Some(list.get(index)?)),
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Whether a field is there (`has`).
fn present<'a>(object: &Val<'a>, key: &Val<'a>) -> Result<bool, EvalError> {
    match object {
        Val::Optional(None) => Ok(false),
        Val::Optional(Some(inner)) => present(inner, key),
        Val::List(_) => failed(format!(
            "unsupported index type '{}' in list",
            key.type_of()
        )),
        other => Ok(qualify(other, key)?.is_some()),
    }
}
