//! Types of built-in kinds, as upstream derives them from its OpenAPI: list types from the markers, else from the patch strategy.

use super::{Atom, Fields, Keys, ListAtom, MapAtom, Scalar, Type, anything};
use corten_core::{Field, Form, Kind, ListType, Msg, Shape, Value};

pub(super) fn of_msg<'a>(msg: &'static Msg, atomic: bool) -> Atom<'a> {
    if msg.form != Form::Struct {
        return anything(Type::Deduced, false);
    }
    // A struct without members is a free object in OpenAPI.
    let element = msg.json.is_empty().then_some(Type::Deduced);
    let map = MapAtom {
        atomic: atomic || msg.atomic,
        fields: Fields::Msg(msg),
        element,
    };
    Atom {
        map: Some(map),
        ..Atom::default()
    }
}

/// The one field whose marker makes an atomic struct granular: a volume's reference to its claim.
const GRANULAR: &str = "claimRef";

fn granular<'a>(msg: &'static Msg) -> Atom<'a> {
    let mut atom = of_msg(msg, false);
    if let Some(map) = &mut atom.map {
        map.atomic = false;
    }
    atom
}

pub(super) fn of_field<'a>(field: &'static Field) -> Atom<'a> {
    match field.shape {
        Shape::List => list(field),
        Shape::Map => {
            let element = Some(Type::Element(field));
            let map = MapAtom {
                atomic: field.facts.atomic,
                fields: Fields::None,
                element,
            };
            Atom {
                map: Some(map),
                ..Atom::default()
            }
        }
        Shape::Plain | Shape::Pointer => one(field, field.facts.atomic),
    }
}

pub(super) fn of_element<'a>(field: &'static Field) -> Atom<'a> {
    one(field, false)
}

fn one<'a>(field: &'static Field, atomic: bool) -> Atom<'a> {
    let scalar = match field.kind {
        Kind::Msg => {
            let msg = field.msg().expect("a field of kind Msg has a table");
            return if field.key == GRANULAR {
                granular(msg)
            } else {
                of_msg(msg, atomic)
            };
        }
        Kind::Raw => return anything(Type::Untyped, true),
        Kind::StrList => {
            let list = ListAtom {
                associative: false,
                keys: Keys::None,
                element: Type::Text,
            };
            return Atom {
                list: Some(list),
                ..Atom::default()
            };
        }
        Kind::Bool => Scalar::Boolean,
        Kind::I32 | Kind::I64 | Kind::F64 => Scalar::Numeric,
        Kind::Str | Kind::Bin | Kind::Duration => Scalar::Text,
        Kind::Time | Kind::MicroTime | Kind::Quantity | Kind::IntOrString => Scalar::Untyped,
    };
    Atom {
        scalar: Some(scalar),
        ..Atom::default()
    }
}

fn list<'a>(field: &'static Field) -> Atom<'a> {
    let facts = field.facts;
    let (associative, keys) = match facts.list_type {
        ListType::Atomic => (false, Keys::None),
        ListType::Set => (true, Keys::None),
        ListType::Map => (true, Keys::Static(facts.map_keys)),
        ListType::Unset => match (facts.patch_strategy, facts.patch_merge_key) {
            ("merge" | "merge,retainKeys", "") => (true, Keys::None),
            ("merge" | "merge,retainKeys", key) => (true, Keys::One(key)),
            _ => (false, Keys::None),
        },
    };
    let list = ListAtom {
        associative,
        keys,
        element: Type::Element(field),
    };
    Atom {
        list: Some(list),
        ..Atom::default()
    }
}

/// The marker's default, else the zero value of members that are always written.
pub(super) fn default(field: &'static Field) -> Option<Value> {
    if !field.facts.default.is_empty() {
        return corten_core::json_text::parse(field.facts.default.as_bytes()).ok();
    }
    if field.shape != Shape::Plain || field.omit_empty() || field.omit_zero() {
        return None;
    }
    match field.kind {
        Kind::Str => Some("".into()),
        Kind::I32 | Kind::I64 | Kind::F64 => Some(0.into()),
        Kind::Bool => Some(false.into()),
        _ => None,
    }
}
