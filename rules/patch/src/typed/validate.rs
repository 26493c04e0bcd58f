//! Whether a value has its type's shape: what an apply is refused for before anything else.

use super::{is_named, item_element};
use crate::fields::PathElement;
use crate::go_text::{go_text, go_type};
use crate::schema::{ListAtom, MapAtom, Scalar, Type};
use corten_core::{Value, ValueMap};
use std::collections::BTreeSet;

/// What to do about items of one list that have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicates {
    Allowed,
    Refused,
}

/// Checks a value against its type.
///
/// # Errors
/// All that is wrong, as upstream prints it.
pub(crate) fn validate(of: Type, value: &Value, duplicates: Duplicates) -> Result<(), String> {
    // Nearly every value fits: only what does not is walked with its path.
    if duplicates == Duplicates::Allowed && fits(of, value) {
        return Ok(());
    }
    let mut walk = Walk {
        duplicates,
        path: Vec::new(),
        problems: Vec::new(),
    };
    walk.visit(of, value);
    match walk.problems.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => {
            let lines: String = many.iter().map(|p| format!("\n  {p}")).collect();
            Err(format!("errors:{lines}"))
        }
    }
}

/// Whether there is no problem, duplicates aside.
fn fits(of: Type, value: &Value) -> bool {
    let atom = of.atom().deduced(Some(value));
    if let Some(map) = &atom.map {
        return match value {
            Value::Null => true,
            Value::Map(members) => members
                .iter()
                .all(|(name, value)| map.type_of(name).is_some_and(|of| fits(of, value))),
            _ => false,
        };
    }
    match (atom.scalar, &atom.list, value) {
        (Some(_), _, Value::Null) | (None, _, Value::Null) | (None, None, _) => true,
        (Some(scalar), _, value) => match scalar {
            Scalar::Numeric => matches!(value, Value::Int(_) | Value::Float(_)),
            Scalar::Text => matches!(value, Value::Str(_)),
            Scalar::Boolean => matches!(value, Value::Bool(_)),
            Scalar::Untyped => !matches!(value, Value::Map(_) | Value::List(_)),
        },
        (None, Some(list), Value::List(items)) => items
            .iter()
            .all(|item| (!list.associative || is_named(list, item)) && fits(list.element, item)),
        (None, Some(_), _) => false,
    }
}

struct Walk {
    duplicates: Duplicates,
    path: Vec<PathElement>,
    problems: Vec<String>,
}

impl Walk {
    fn problem(&mut self, text: impl std::fmt::Display) {
        let path: String = self.path.iter().map(PathElement::to_string).collect();
        let separator = if path.is_empty() { "" } else { ": " };
        self.problems.push(format!("{path}{separator}{text}"));
    }

    fn inside(&mut self, element: PathElement, visit: impl FnOnce(&mut Walk)) {
        self.path.push(element);
        visit(self);
        self.path.pop();
    }

    fn visit(&mut self, of: Type, value: &Value) {
        let atom = of.atom().deduced(Some(value));
        if let Some(map) = atom.map {
            match value {
                Value::Null => {}
                Value::Map(members) => self.visit_map(&map, members),
                other => self.problem(format_args!("expected map, got &{{{}}}", go_text(other))),
            }
        } else if let Some(scalar) = atom.scalar {
            self.visit_scalar(scalar, value);
        } else if let Some(list) = atom.list {
            match value {
                Value::Null => {}
                Value::List(items) => self.visit_list(&list, items),
                other => self.problem(format_args!("expected list, got &{{{}}}", go_text(other))),
            }
        }
    }

    fn visit_scalar(&mut self, scalar: Scalar, value: &Value) {
        let text = || go_text(value);
        match (scalar, value) {
            (_, Value::Null)
            | (Scalar::Numeric, Value::Int(_) | Value::Float(_))
            | (Scalar::Text, Value::Str(_))
            | (Scalar::Boolean, Value::Bool(_)) => {}
            (Scalar::Numeric, other) => self.problem(format_args!(
                "expected numeric (int or float), got {}",
                go_type(other)
            )),
            (Scalar::Text, other) => {
                let shown = match other {
                    Value::Map(_) | Value::List(_) => go_type(other).to_string() + "{...}",
                    _ => text(),
                };
                self.problem(format_args!(
                    "expected string, got &value.valueUnstructured{{Value:{shown}}}"
                ));
            }
            (Scalar::Boolean, _) => {
                self.problem(format_args!("expected boolean, got &{{{}}}", text()))
            }
            (Scalar::Untyped, Value::Map(_) | Value::List(_)) => {
                self.problem(format_args!("expected any scalar, got &{{{}}}", text()));
            }
            (Scalar::Untyped, _) => {}
        }
    }

    fn visit_list(&mut self, list: &ListAtom, items: &[Value]) {
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let element = if list.associative {
                match item_element(list, item) {
                    Ok(element) => element,
                    Err(e) => return self.problem(format_args!("element {i}: {e}")),
                }
            } else {
                PathElement::Index(i as i64)
            };
            if list.associative
                && !seen.insert(element.clone())
                && self.duplicates == Duplicates::Refused
            {
                self.problem(format_args!("duplicate entries for key {element}"));
            }
            self.inside(element, |walk| walk.visit(list.element, item));
        }
    }

    fn visit_map(&mut self, map: &MapAtom, members: &ValueMap) {
        for (name, value) in members.iter() {
            let element = PathElement::Field(name.clone());
            let Some(of) = map.type_of(name) else {
                self.inside(element, |walk| walk.problem("field not declared in schema"));
                return;
            };
            self.inside(element, |walk| walk.visit(of, value));
        }
    }
}
