//! Calls that stand for more than a call: `has`, `all`, `exists`, `map`, `filter`, `optMap`, `sortBy` and their
//! two-variable relatives, expanded while parsing. New nodes point where the call points.

use crate::ast::{Element, Expr, Fold, Kind, Literal};
use crate::parser::Parser;

/// The variable that folds keep their result in.
pub(crate) const ACCUMULATOR: &str = "@result";
/// Its old name, which variables may still not have.
pub(crate) const OLD_ACCUMULATOR: &str = "__result__";
const SORT_INPUT: &str = "@__sortBy_input__";

/// What became of a call.
pub(crate) enum Expansion {
    Done(Expr),
    /// It was a macro with wrong arguments; that has been noted.
    Wrong,
    /// It is no macro: its target and arguments.
    Not(Option<Expr>, Vec<Expr>),
}

struct Maker<'a> {
    parser: &'a mut Parser,
    at: usize,
}

/// Expands a call, when it is a macro.
pub(crate) fn expand(
    parser: &mut Parser,
    at: usize,
    function: &str,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Expansion {
    let mut maker = Maker { parser, at };
    let Some(target) = target else {
        if function != "has" || args.len() != 1 {
            return Expansion::Not(None, args);
        }
        return finish(maker.has(args));
    };
    let known = matches!(
        (function, args.len()),
        ("all" | "exists" | "exists_one" | "existsOne", 2 | 3)
            | ("map", 2 | 3)
            | ("filter" | "optMap" | "optFlatMap" | "sortBy", 2)
            | (
                "transformList" | "transformMap" | "transformMapEntry",
                3 | 4
            )
    );
    if !known {
        return Expansion::Not(Some(target), args);
    }
    finish(match function {
        "map" => maker.map(target, args),
        "filter" => maker.filter(target, args),
        "optMap" => maker.opt_map(target, args, true),
        "optFlatMap" => maker.opt_map(target, args, false),
        "sortBy" => maker.sort_by(target, args),
        "transformList" | "transformMap" | "transformMapEntry" => {
            maker.transform(function, target, args)
        }
        _ => maker.quantifier(function, target, args),
    })
}

fn finish(expr: Option<Expr>) -> Expansion {
    expr.map_or(Expansion::Wrong, Expansion::Done)
}

impl Maker<'_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.parser.node(self.at, kind)
    }
    fn literal(&mut self, value: Literal) -> Expr {
        self.node(Kind::Literal(value))
    }
    fn accu(&mut self) -> Expr {
        self.node(Kind::Ident(ACCUMULATOR.into()))
    }
    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call {
            function: function.into(),
            target: None,
            args,
        })
    }
    fn member(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call {
            function: function.into(),
            target: Some(Box::new(target)),
            args,
        })
    }
    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        let elements = elements.into_iter().map(|expr| Element {
            expr,
            optional: false,
        });
        self.node(Kind::List(elements.collect()))
    }
    fn wrong<T>(&mut self, expr: &Expr, message: &str) -> Option<T> {
        let at = self.parser.positions[expr.id];
        self.parser.report(at, message);
        None
    }

    fn has(&mut self, mut args: Vec<Expr>) -> Option<Expr> {
        let arg = args.pop()?;
        match arg.kind {
            Kind::Select {
                operand,
                field,
                test: false,
            } => Some(self.node(Kind::Select {
                operand,
                field,
                test: true,
            })),
            _ => self.wrong(&arg, "invalid argument to has() macro"),
        }
    }

    /// The name of an iteration variable.
    fn variable(&mut self, expr: &Expr, otherwise: &str) -> Option<String> {
        let Kind::Ident(name) = &expr.kind else {
            return self.wrong(expr, otherwise);
        };
        if name == ACCUMULATOR || name == OLD_ACCUMULATOR {
            return self.wrong(expr, "iteration variable overwrites accumulator variable");
        }
        Some(name.clone())
    }

    /// Takes one variable off the arguments, or two.
    fn variables(&mut self, args: &mut Vec<Expr>, two: bool) -> Option<(String, Option<String>)> {
        let text = "argument must be a simple name";
        let first = args.remove(0);
        let var = self.variable(&first, text)?;
        if !two {
            return Some((var, None));
        }
        let second = args.remove(0);
        let var2 = self.variable(&second, text)?;
        if var == var2 {
            return self.wrong(&second, &format!("duplicate variable name: {var}"));
        }
        Some((var, Some(var2)))
    }

    fn fold(
        &mut self,
        range: Expr,
        vars: (String, Option<String>),
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Expr {
        self.node(Kind::Fold(Box::new(Fold {
            range,
            var: vars.0,
            var2: vars.1,
            accu: ACCUMULATOR.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn quantifier(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Option<Expr> {
        let two = args.len() == 3;
        let vars = self.variables(&mut args, two)?;
        let predicate = args.pop()?;
        let (init, condition, step, result);
        match function {
            "all" => {
                init = self.literal(Literal::Bool(true));
                let accu = self.accu();
                condition = self.call("@not_strictly_false", vec![accu]);
                let accu = self.accu();
                step = self.call("_&&_", vec![accu, predicate]);
                result = self.accu();
            }
            "exists" => {
                init = self.literal(Literal::Bool(false));
                let accu = self.accu();
                let not = self.call("!_", vec![accu]);
                condition = self.call("@not_strictly_false", vec![not]);
                let accu = self.accu();
                step = self.call("_||_", vec![accu, predicate]);
                result = self.accu();
            }
            _ => {
                init = self.literal(Literal::Int(0));
                condition = self.literal(Literal::Bool(true));
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                let more = self.call("_+_", vec![accu, one]);
                let accu = self.accu();
                step = self.call("_?_:_", vec![predicate, more, accu]);
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                result = self.call("_==_", vec![accu, one]);
            }
        }
        Some(self.fold(target, vars, init, condition, step, result))
    }

    fn list_fold(
        &mut self,
        target: Expr,
        vars: (String, Option<String>),
        filter: Option<Expr>,
        element: Expr,
    ) -> Expr {
        let init = self.list(Vec::new());
        let condition = self.literal(Literal::Bool(true));
        let (accu, one) = (self.accu(), self.list(vec![element]));
        let mut step = self.call("_+_", vec![accu, one]);
        if let Some(filter) = filter {
            let accu = self.accu();
            step = self.call("_?_:_", vec![filter, step, accu]);
        }
        let result = self.accu();
        self.fold(target, vars, init, condition, step, result)
    }

    fn map(&mut self, target: Expr, mut args: Vec<Expr>) -> Option<Expr> {
        let first = args.remove(0);
        let var = self.variable(&first, "argument is not an identifier")?;
        let element = args.pop()?;
        Some(self.list_fold(target, (var, None), args.pop(), element))
    }

    fn filter(&mut self, target: Expr, mut args: Vec<Expr>) -> Option<Expr> {
        let first = args.remove(0);
        let var = self.variable(&first, "argument is not an identifier")?;
        Some(self.list_fold(target, (var, None), args.pop(), first))
    }

    fn transform(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Option<Expr> {
        let vars = self.variables(&mut args, true)?;
        let value = args.pop()?;
        let filter = args.pop();
        if function == "transformList" {
            return Some(self.list_fold(target, vars, filter, value));
        }
        let mut parts = vec![self.accu()];
        if function == "transformMap" {
            parts.push(self.node(Kind::Ident(vars.0.clone())));
        }
        parts.push(value);
        let mut step = self.call("cel.@mapInsert", parts);
        if let Some(filter) = filter {
            let accu = self.accu();
            step = self.call("_?_:_", vec![filter, step, accu]);
        }
        let init = self.node(Kind::Map(Vec::new()));
        let condition = self.literal(Literal::Bool(true));
        let result = self.accu();
        Some(self.fold(target, vars, init, condition, step, result))
    }

    /// Names a value: a fold over nothing.
    fn bind(&mut self, name: String, value: Expr, current: Expr, body: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.literal(Literal::Bool(false));
        self.node(Kind::Fold(Box::new(Fold {
            range,
            var: "#unused".into(),
            var2: None,
            accu: name,
            init: value,
            condition,
            step: current,
            result: body,
        })))
    }

    fn opt_map(&mut self, target: Expr, mut args: Vec<Expr>, wrap: bool) -> Option<Expr> {
        let body = args.pop()?;
        let var = args.pop()?;
        let Kind::Ident(name) = var.kind.clone() else {
            let which = if wrap { "optMap" } else { "optFlatMap" };
            let text = format!("{which}() variable name must be a simple identifier");
            return self.wrong(&var, &text);
        };
        let copy = self.copy(&target);
        let has = self.member("hasValue", target, Vec::new());
        let value = self.member("value", copy, Vec::new());
        let current = self.node(Kind::Ident(name.clone()));
        let mut bound = self.bind(name, value, current, body);
        if wrap {
            bound = self.call("optional.of", vec![bound]);
        }
        let none = self.call("optional.none", Vec::new());
        Some(self.call("_?_:_", vec![has, bound, none]))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Option<Expr> {
        if matches!(
            target.kind,
            Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }
        ) {
            let text = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return self.wrong(&target, text);
        }
        let input = |m: &mut Self| m.node(Kind::Ident(SORT_INPUT.into()));
        let range = input(self);
        let keys = self.map(range, args)?;
        let sorted = input(self);
        let body = self.member("@sortByAssociatedKeys", sorted, vec![keys]);
        let current = input(self);
        Some(self.bind(SORT_INPUT.into(), target, current, body))
    }

    /// The same expression with ids of its own.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let at = self.parser.positions[expr.id];
        let kind = match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => expr.kind.clone(),
            Kind::Select {
                operand,
                field,
                test,
            } => Kind::Select {
                operand: Box::new(self.copy(operand)),
                field: field.clone(),
                test: *test,
            },
            Kind::Call {
                function,
                target,
                args,
            } => Kind::Call {
                function: function.clone(),
                target: target.as_ref().map(|t| Box::new(self.copy(t))),
                args: args.iter().map(|a| self.copy(a)).collect(),
            },
            Kind::List(elements) => {
                let mut elements = elements.clone();
                for element in &mut elements {
                    element.expr = self.copy(&element.expr);
                }
                Kind::List(elements)
            }
            Kind::Map(entries) => {
                let mut entries = entries.clone();
                for entry in &mut entries {
                    entry.key = self.copy(&entry.key);
                    entry.value = self.copy(&entry.value);
                }
                Kind::Map(entries)
            }
            Kind::Struct { name, fields } => {
                let mut fields = fields.clone();
                for field in &mut fields {
                    field.value = self.copy(&field.value);
                }
                Kind::Struct {
                    name: name.clone(),
                    fields,
                }
            }
            Kind::Fold(fold) => {
                let mut fold = fold.clone();
                for part in [
                    &mut fold.range,
                    &mut fold.init,
                    &mut fold.condition,
                    &mut fold.step,
                    &mut fold.result,
                ] {
                    *part = self.copy(part);
                }
                Kind::Fold(fold)
            }
        };
        self.parser.node(at, kind)
    }
}
