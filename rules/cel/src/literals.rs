//! What can be said of constants once types are known: durations, timestamps and regular expressions are ones, the
//! elements of a literal agree, and `format` gets what its clauses want.

use crate::ast::{Expr, Kind, Literal};
use crate::check::Checked;
use crate::env::each_child;
use crate::regexes::compile;
use crate::source::Issue;
use crate::time;
use crate::types::Type;

struct Validator<'a> {
    checked: &'a Checked,
    positions: &'a [usize],
    issues: Vec<Issue>,
}

/// What is wrong with the constants of an expression.
pub(crate) fn check(root: &Expr, checked: &Checked, positions: &[usize]) -> Vec<Issue> {
    let mut validator = Validator {
        checked,
        positions,
        issues: Vec::new(),
    };
    validator.visit(root, false);
    validator.issues
}

impl Validator<'_> {
    fn report(&mut self, id: usize, message: String) {
        self.issues.push(Issue {
            offset: self.positions[id],
            message,
        });
    }

    fn visit(&mut self, expr: &Expr, exempt: bool) {
        let mut exempt = exempt;
        match &expr.kind {
            Kind::Call {
                function,
                target,
                args,
            } => {
                self.constant(function, args);
                if function == "format" {
                    exempt = true;
                    if let Some(target) = target {
                        self.format(expr, target, args);
                    }
                }
            }
            Kind::List(elements) if !exempt => {
                let types: Vec<(usize, Type)> = elements
                    .iter()
                    .map(|e| (e.expr.id, self.known(&e.expr, e.optional)))
                    .collect();
                self.agree(&types, true);
            }
            Kind::Map(entries) if !exempt => {
                let keys: Vec<(usize, Type)> = entries
                    .iter()
                    .map(|e| (e.key.id, self.known(&e.key, false)))
                    .collect();
                self.agree(&keys, false);
                let values: Vec<(usize, Type)> = entries
                    .iter()
                    .map(|e| (e.value.id, self.known(&e.value, e.optional)))
                    .collect();
                self.agree(&values, false);
            }
            _ => {}
        }
        let mut children = Vec::new();
        each_child(expr, &mut |child| children.push(child));
        for child in children {
            self.visit(child, exempt);
        }
    }

    fn known(&self, expr: &Expr, optional: bool) -> Type {
        let t = &self.checked.types[expr.id];
        match t.unwrap_optional() {
            Some(inner) if optional => inner.clone(),
            _ => t.clone(),
        }
    }

    fn agree(&mut self, types: &[(usize, Type)], first_only: bool) {
        let Some((_, wanted)) = types.first() else {
            return;
        };
        for (id, t) in &types[1..] {
            if t != wanted {
                self.report(*id, format!("expected type '{wanted}' but found '{t}'"));
                if first_only {
                    return;
                }
            }
        }
    }

    fn constant(&mut self, function: &str, args: &[Expr]) {
        let Some(Expr {
            id,
            kind: Kind::Literal(Literal::Str(text)),
        }) = args.first()
        else {
            return;
        };
        let fine = match function {
            "duration" => time::parse_duration(text).is_ok(),
            "timestamp" => time::parse_timestamp(text).is_ok(),
            "matches" => compile(text).is_ok(),
            _ => true,
        };
        if !fine {
            self.report(*id, format!("invalid {function} argument"));
        }
    }

    /// A constant format with a list literal of arguments.
    fn format(&mut self, call: &Expr, target: &Expr, args: &[Expr]) {
        let (Kind::Literal(Literal::Str(text)), [list]) = (&target.kind, args) else {
            return;
        };
        let Kind::List(elements) = &list.kind else {
            return;
        };
        let mut used = 0;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' || chars.next_if_eq(&'%').is_some() {
                continue;
            }
            let Some(element) = elements.get(used) else {
                return self.report(call.id, format!("index {used} out of range"));
            };
            used += 1;
            if chars.next_if_eq(&'.').is_some() {
                while chars.next_if(char::is_ascii_digit).is_some() {}
            }
            let t = self.checked.types[element.expr.id].clone();
            match chars.next() {
                None => {
                    let text = "could not parse formatting clause: unexpected end of string";
                    return self.report(call.id, text.into());
                }
                Some(verb) => match clause(verb, &t) {
                    Ok(()) => {}
                    Err(why) if why.starts_with("could not") => return self.report(call.id, why),
                    Err(why) => {
                        let text = format!("error during formatting: {why}");
                        return self.report(element.expr.id, text);
                    }
                },
            }
        }
        if elements.len() > used {
            let text = format!(
                "too many arguments supplied to string.format (expected {used}, got {})",
                elements.len()
            );
            self.report(call.id, text);
        }
    }
}

fn clause(verb: char, t: &Type) -> Result<(), String> {
    let given = crate::convert::runtime_name(t);
    let integer = matches!(t, Type::Int | Type::Uint | Type::Dyn);
    let (fine, text) = match verb {
        's' => (
            !matches!(t, Type::Object(_) | Type::Opaque(..)),
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        ),
        'd' => (integer, "decimal clause can only be used on integers"),
        'f' => (
            matches!(t, Type::Double | Type::String | Type::Dyn),
            "fixed-point clause can only be used on doubles",
        ),
        'e' => (
            matches!(t, Type::Double | Type::String | Type::Dyn),
            "scientific clause can only be used on doubles",
        ),
        'b' => (
            integer || *t == Type::Bool,
            "only integers and bools can be formatted as binary",
        ),
        'x' | 'X' => (
            integer || matches!(t, Type::String | Type::Bytes),
            "only integers, byte buffers, and strings can be formatted as hex",
        ),
        'o' => (integer, "octal clause can only be used on integers"),
        other => {
            return Err(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            ));
        }
    };
    if fine {
        Ok(())
    } else {
        Err(format!("{text}, was given {given}"))
    }
}
