//! Finds every expression's type and which overloads a call may mean. Invariant: after it, each node id has a type
//! (`dyn` where none was found) and calls that named a namespaced function no longer have a target.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Entry, Expr, FieldInit, Fold, Kind, Literal};
use crate::decl::{Decl, Shape};
use crate::functions::Overload;
use crate::parser::Ast;
use crate::source::Issue;
use crate::types::{Mapping, Type, Unknown, most_general};

use crate::env::Scope;

/// What checking found out, by node id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    pub types: Vec<Type>,
    pub overloads: Vec<Vec<String>>,
    /// Identifiers that name a type.
    pub type_names: BTreeMap<usize, Type>,
    /// Which declared variables are referred to.
    pub variables: Vec<String>,
}

struct Checker<'a> {
    scope: &'a Scope,
    positions: &'a [usize],
    locals: Vec<(String, Type)>,
    mapping: Mapping,
    fresh: usize,
    types: Vec<Option<Type>>,
    out: Checked,
    issues: Vec<Issue>,
}

/// Checks an expression and names what it refers to.
pub(crate) fn check(ast: &mut Ast, scope: &Scope) -> Result<Checked, Vec<Issue>> {
    let count = ast.positions.len();
    let mut checker = Checker {
        scope,
        positions: &ast.positions,
        locals: Vec::new(),
        mapping: Mapping::default(),
        fresh: 0,
        types: vec![None; count],
        out: Checked {
            overloads: vec![Vec::new(); count],
            ..Checked::default()
        },
        issues: Vec::new(),
    };
    checker.check(&mut ast.root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let Checker {
        mapping,
        types,
        mut out,
        ..
    } = checker;
    let known = |t: Option<Type>| t.map_or(Type::Dyn, |t| mapping.substitute(&t, Unknown::Dyn));
    out.types = types.into_iter().map(known).collect();
    Ok(out)
}

impl Checker<'_> {
    fn report(&mut self, id: usize, message: String) {
        let offset = self.positions[id];
        self.issues.push(Issue { offset, message });
    }

    fn type_of(&self, expr: &Expr) -> Type {
        self.types[expr.id].clone().unwrap_or(Type::Error)
    }

    fn fresh(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(format!("_var{}", self.fresh - 1).into())
    }

    fn known(&self, t: &Type) -> Type {
        self.mapping.substitute(t, Unknown::Keep)
    }

    fn check(&mut self, expr: &mut Expr) {
        let t = match &mut expr.kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::Str(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => {
                let name = name.clone();
                self.identifier(expr, &name)
            }
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(_) => self.list(expr),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.object(expr.id, name, fields),
            Kind::Fold(fold) => self.fold(fold),
        };
        self.types[expr.id] = Some(t);
    }

    /// The type of a name, when it is one that is known.
    fn lookup(&mut self, id: usize, name: &str) -> Option<Type> {
        let plain = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, t)) = self.locals.iter().rev().find(|(n, _)| n == plain) {
            return Some(t.clone());
        }
        if let Some(t) = self.scope.variables.get(plain) {
            self.out.variables.push(plain.to_owned());
            return Some(t.clone());
        }
        let t = self.scope.type_named(plain)?;
        self.out.type_names.insert(id, t.clone());
        Some(Type::TypeOf(Some(Arc::new(t))))
    }

    fn undeclared(&mut self, id: usize, name: &str) -> Type {
        self.report(
            id,
            format!("undeclared reference to '{name}' (in container '')"),
        );
        Type::Error
    }

    fn identifier(&mut self, expr: &mut Expr, name: &str) -> Type {
        match self.lookup(expr.id, name) {
            Some(t) => {
                expr.kind = Kind::Ident(name.trim_start_matches('.').to_owned());
                t
            }
            None => self.undeclared(expr.id, name),
        }
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && let Some(t) = self.lookup(expr.id, &name)
        {
            expr.kind = Kind::Ident(name);
            return t;
        }
        let id = expr.id;
        let Kind::Select {
            operand,
            field,
            test,
        } = &mut expr.kind
        else {
            return Type::Error;
        };
        let t = self.field(id, operand, field, false);
        if *test { Type::Bool } else { self.known(&t) }
    }

    fn field(&mut self, id: usize, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let whole = self.known(&self.type_of(operand));
        let inner = whole.unwrap_optional();
        let target = inner.unwrap_or(&whole).clone();
        let result = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(name) => self.object_field(id, name, field),
            Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            t if t.is_dyn_or_error() => Type::Dyn,
            t => {
                self.report(id, format!("type '{t}' does not support field selection"));
                Type::Dyn
            }
        };
        if inner.is_some() || optional {
            Type::optional(result)
        } else {
            result
        }
    }

    fn object_field(&mut self, id: usize, name: &str, field: &str) -> Type {
        if self.scope.patch && (name == "Object" || name.starts_with("Object.")) {
            return Type::Dyn;
        }
        if self.scope.patch && name == "JSONPatch" {
            return match field {
                "op" | "path" | "from" => Type::String,
                _ => Type::Dyn,
            };
        }
        let Some(decl) = self.scope.objects.get(name) else {
            self.report(id, format!("unexpected failed resolution of '{name}'"));
            return Type::Error;
        };
        if let Some(t) = field_type(decl, field) {
            return t;
        }
        // `self.namespace` is read as `self.__namespace__`.
        if crate::escape::is_reserved(field)
            && let Some(t) = field_type(decl, &format!("__{field}__"))
        {
            return t;
        }
        self.report(id, format!("undefined field '{field}'"));
        Type::Error
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call {
            function,
            target,
            args,
        } = &mut expr.kind
        else {
            return Type::Error;
        };
        if function == "_?._" {
            let field = match &args[1].kind {
                Kind::Literal(Literal::Str(field)) => field.clone(),
                _ => String::new(),
            };
            let t = self.field(id, &mut args[0], &field, true);
            self.types[args[1].id] = Some(Type::String);
            self.out.overloads[id] = vec!["select_optional_field".into()];
            return self.known(&t);
        }
        for arg in args.iter_mut() {
            self.check(arg);
        }
        let scope = self.scope;
        let Some(receiver) = target else {
            let plain = function.trim_start_matches('.').to_owned();
            let Some(overloads) = scope.functions.get(&plain) else {
                let name = function.clone();
                return self.undeclared(id, &name);
            };
            *function = plain;
            return self.resolve(id, function, overloads, None, args);
        };
        if let Some(prefix) = receiver.qualified_name() {
            let name = format!("{prefix}.{function}");
            if let Some(overloads) = scope.functions.get(&name) {
                *function = name;
                *target = None;
                return self.resolve(id, function, overloads, None, args);
            }
        }
        self.check(receiver);
        let Some(overloads) = scope.functions.get(function.as_str()) else {
            let name = function.clone();
            return self.undeclared(id, &name);
        };
        self.resolve(id, function, overloads, Some(receiver), args)
    }

    fn resolve(
        &mut self,
        id: usize,
        function: &str,
        overloads: &[Overload],
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Type {
        let mut given: Vec<Type> = target
            .into_iter()
            .chain(args)
            .map(|e| self.type_of(e))
            .collect();
        if matches!(function, "_&&_" | "_||_") {
            return self.logical(id, &overloads[0], args, &given);
        }
        let mut result: Option<Type> = None;
        let mut found = Vec::new();
        for overload in overloads {
            if overload.member != target.is_some() {
                continue;
            }
            let mut fresh = Mapping::default();
            for param in &overload.params {
                let new = self.fresh();
                fresh.add(&Type::Param(param.as_str().into()), new);
            }
            let wanted: Vec<Type> = overload
                .args
                .iter()
                .map(|t| fresh.substitute(t, Unknown::Keep))
                .collect();
            if !self.mapping.assignable_all(&given, &wanted) {
                continue;
            }
            found.push(overload.id.clone());
            let t = self.known(&fresh.substitute(&overload.result, Unknown::Keep));
            result = Some(match result {
                None => t,
                Some(old) if old.is_dyn() || old == t => old,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(result) = result {
            self.out.overloads[id] = found;
            return result;
        }
        for t in &mut given {
            *t = self.mapping.substitute(t, Unknown::Dyn);
        }
        let texts: Vec<String> = given.iter().map(Type::to_string).collect();
        let signature = match target {
            Some(_) => format!("{}.({})", texts[0], texts[1..].join(", ")),
            None => format!("({})", texts.join(", ")),
        };
        self.report(
            id,
            format!("found no matching overload for '{function}' applied to '{signature}'"),
        );
        Type::Error
    }

    fn logical(&mut self, id: usize, overload: &Overload, args: &[Expr], given: &[Type]) -> Type {
        let mut result = Type::Bool;
        for (arg, t) in args.iter().zip(given) {
            if !self.mapping.assignable(t, &Type::Bool) {
                let text = format!("expected type 'bool' but found '{t}'");
                self.report(arg.id, text);
                result = Type::Error;
            }
        }
        self.out.overloads[id] = vec![overload.id.clone()];
        result
    }

    /// The type of an optional element or entry, unwrapped.
    fn unwrapped(&mut self, expr: &Expr, optional: bool) -> Type {
        let t = self.type_of(expr);
        if !optional {
            return t;
        }
        if let Some(inner) = t.unwrap_optional() {
            return inner.clone();
        }
        if !t.is_dyn() {
            let wanted = Type::optional(t.clone());
            self.report(expr.id, format!("expected type '{wanted}' but found '{t}'"));
        }
        t
    }

    /// The type of two elements together; `dyn` when they do not agree.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else {
            return current;
        };
        if self.mapping.assignable(&previous, &current) {
            return most_general(&previous, &current).clone();
        }
        Type::Dyn
    }

    fn list(&mut self, expr: &mut Expr) -> Type {
        let Kind::List(elements) = &mut expr.kind else {
            return Type::Error;
        };
        let mut all = None;
        for element in elements {
            self.check(&mut element.expr);
            let t = self.unwrapped(&element.expr, element.optional);
            all = Some(self.join(all, t));
        }
        let element = all.unwrap_or_else(|| self.fresh());
        Type::list(element)
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            self.check(&mut entry.key);
            let t = self.type_of(&entry.key);
            keys = Some(self.join(keys, t));
            self.check(&mut entry.value);
            let t = self.unwrapped(&entry.value, entry.optional);
            values = Some(self.join(values, t));
        }
        let key = keys.unwrap_or_else(|| self.fresh());
        let value = values.unwrap_or_else(|| self.fresh());
        Type::map(key, value)
    }

    fn object(&mut self, id: usize, name: &mut String, fields: &mut [FieldInit]) -> Type {
        let plain = name.trim_start_matches('.').to_owned();
        let t = match self.lookup(id, &plain) {
            None => return self.undeclared(id, &plain),
            Some(Type::TypeOf(Some(t))) => (*t).clone(),
            Some(t) => {
                self.report(id, format!("'{t}' is not a type"));
                return Type::Error;
            }
        };
        *name = plain;
        if !matches!(t, Type::Object(_)) {
            self.report(id, format!("'{t}' is not a message type"));
            return Type::Error;
        }
        for field in fields {
            self.check(&mut field.value);
            let wanted = self.object_field(field.id, name, &field.name);
            let given = self.unwrapped(&field.value, field.optional);
            if !self.mapping.assignable(&wanted, &given) {
                self.report(
                    field.id,
                    format!(
                        "expected type of field '{}' is '{wanted}' but provided type is '{given}'",
                        field.name
                    ),
                );
            }
        }
        t
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.known(&self.type_of(&fold.range));
        let accu = self.type_of(&fold.init);
        let depth = self.locals.len();
        self.locals.push((fold.accu.clone(), accu.clone()));
        let (first, second) = match &range {
            Type::List(t) if fold.var2.is_some() => (Type::Int, (**t).clone()),
            Type::List(t) => ((**t).clone(), Type::Dyn),
            Type::Map(k, v) => ((**k).clone(), (**v).clone()),
            Type::Dyn | Type::Any | Type::Error | Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(fold.range.id, text);
                (Type::Error, Type::Error)
            }
        };
        self.locals.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.locals.push((var2.clone(), second));
        }
        self.check(&mut fold.condition);
        self.want(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.want(&fold.step, &accu);
        self.locals.truncate(depth + 1);
        self.check(&mut fold.result);
        self.locals.truncate(depth);
        self.known(&self.type_of(&fold.result))
    }

    fn want(&mut self, expr: &Expr, t: &Type) {
        let given = self.type_of(expr);
        if !self.mapping.assignable(t, &given) {
            self.report(expr.id, format!("expected type '{t}' but found '{given}'"));
        }
    }
}

fn field_type(decl: &Decl, field: &str) -> Option<Type> {
    match &decl.shape {
        Shape::Object(fields) => fields.get(field).map(|d| d.cel_type()),
        Shape::Map(value) => Some(value.cel_type()),
        _ => None,
    }
}
