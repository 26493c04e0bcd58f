//! One view of types for all walks: what a place may hold (scalar, list, map), how its list or map merges, and the types below,
//! from a field table, a structural schema, or nothing.

mod openapi;
mod table;

use crate::Schema;
use corten_core::{Field, Msg, Value};

/// The type of one place in an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type<'a> {
    /// A struct; `atomic` when the field says so.
    Msg { msg: &'static Msg, atomic: bool },
    /// What a field holds, with its list or map.
    Field(&'static Field),
    /// One element of a field's list or map.
    Element(&'static Field),
    /// A text.
    Text,
    /// A structural schema.
    OpenApi(openapi::Node<'a>),
    /// Anything, replaced as a whole.
    Untyped,
    /// Anything; maps are merged member by member, lists are replaced.
    Deduced,
}

/// What a place may hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Atom<'a> {
    pub map: Option<MapAtom<'a>>,
    pub scalar: Option<Scalar>,
    pub list: Option<ListAtom<'a>>,
}

/// Which scalars are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Numeric,
    Text,
    Boolean,
    Untyped,
}

/// How a list merges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListAtom<'a> {
    /// A set, or a map by `keys`; else replaced as a whole.
    pub associative: bool,
    /// Empty for sets.
    pub keys: Keys<'a>,
    pub element: Type<'a>,
}

/// Names of the members that identify a list's items.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys<'a> {
    None,
    One(&'static str),
    Static(&'static [&'static str]),
    Values(&'a [Value]),
}

/// How a map or struct merges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapAtom<'a> {
    /// Replaced as a whole.
    pub atomic: bool,
    /// Members that are known by name.
    pub fields: Fields<'a>,
    /// Type of all other members; None forbids them.
    pub element: Option<Type<'a>>,
}

/// Members known by name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fields<'a> {
    None,
    Msg(&'static Msg),
    OpenApi(openapi::Node<'a>),
}

impl<'a> Type<'a> {
    /// The type of a whole object.
    pub fn root(schema: Schema<'a>) -> Type<'a> {
        match schema {
            Schema::Table(msg) => Type::Msg { msg, atomic: false },
            Schema::OpenApi(schema) => Type::OpenApi(openapi::Node::root(schema)),
            Schema::Free => Type::Deduced,
        }
    }

    /// What the place may hold.
    pub fn atom(self) -> Atom<'a> {
        match self {
            Type::Msg { msg, atomic } => table::of_msg(msg, atomic),
            Type::Field(field) => table::of_field(field),
            Type::Element(field) => table::of_element(field),
            Type::Text => Atom {
                scalar: Some(Scalar::Text),
                ..Atom::default()
            },
            Type::OpenApi(node) => node.atom(),
            Type::Untyped => anything(Type::Untyped, true),
            Type::Deduced => anything(Type::Deduced, false),
        }
    }
}

/// Any scalar, list or map; lists are replaced as a whole, maps when `atomic`.
fn anything<'a>(element: Type<'a>, atomic: bool) -> Atom<'a> {
    Atom {
        map: Some(MapAtom {
            atomic,
            fields: Fields::None,
            element: Some(element),
        }),
        scalar: Some(Scalar::Untyped),
        list: Some(ListAtom {
            associative: false,
            keys: Keys::None,
            element: Type::Untyped,
        }),
    }
}

impl<'a> Atom<'a> {
    /// Only what fits the value; all of it when the value is null, missing or fits nothing.
    pub fn deduced(self, value: Option<&Value>) -> Atom<'a> {
        let only = match value {
            None | Some(Value::Null) => return self,
            Some(Value::List(_)) => Atom {
                list: self.list,
                ..Atom::default()
            },
            Some(Value::Map(_)) => Atom {
                map: self.map,
                ..Atom::default()
            },
            Some(_) => Atom {
                scalar: self.scalar,
                ..Atom::default()
            },
        };
        if only.mask() == 0 { self } else { only }
    }

    /// Which of the three are possible; equal masks of one type's atoms mean equal atoms.
    pub fn mask(&self) -> u8 {
        u8::from(self.map.is_some())
            | u8::from(self.scalar.is_some()) << 1
            | u8::from(self.list.is_some()) << 2
    }
}

impl<'a> MapAtom<'a> {
    /// The type of a member.
    pub fn type_of(&self, name: &str) -> Option<Type<'a>> {
        self.fields.get(name).or(self.element)
    }
}

impl<'a> Fields<'a> {
    /// The type of a member that is known by name.
    pub fn get(&self, name: &str) -> Option<Type<'a>> {
        match self {
            Fields::None => None,
            Fields::Msg(msg) => msg.field(name).map(Type::Field),
            Fields::OpenApi(node) => node.field(name),
        }
    }

    /// The default that a member has as a list's key.
    pub fn default(&self, name: &str) -> Option<Value> {
        match self {
            Fields::None => None,
            Fields::Msg(msg) => msg.field(name).and_then(table::default),
            Fields::OpenApi(node) => node.default(name),
        }
    }
}

impl<'a> Keys<'a> {
    /// The names.
    pub fn names(self) -> Vec<&'a str> {
        match self {
            Keys::None => Vec::new(),
            Keys::One(name) => vec![name],
            Keys::Static(names) => names.to_vec(),
            Keys::Values(values) => values.iter().filter_map(Value::as_str).collect(),
        }
    }
}
