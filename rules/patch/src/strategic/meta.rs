//! What the field table says about merging one level: the table, or Go's kind of what has none.

use crate::PatchError;
use crate::error::bad;
use corten_core::{Field, Kind, Msg, Shape};

/// The type of one level.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meta {
    /// A struct.
    Msg(&'static Msg),
    /// Anything else, by Go's word for its kind.
    Other(&'static str),
}

/// How one field merges.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldFacts {
    strategy: &'static str,
    /// The merge key, or empty.
    pub key: &'static str,
}

impl FieldFacts {
    /// `patchStrategy=merge`
    pub fn merges(self) -> bool {
        self.strategy.split(',').any(|s| s == "merge")
    }
    /// `patchStrategy=replace`
    pub fn replaces(self) -> bool {
        self.strategy.split(',').any(|s| s == "replace")
    }
}

impl Meta {
    pub fn of(msg: &'static Msg) -> Meta {
        Meta::Msg(msg)
    }

    /// Go's word for the kind of the type.
    pub fn name(self) -> &'static str {
        match self {
            Meta::Msg(_) => "struct",
            Meta::Other(kind) => kind,
        }
    }

    fn field(self, key: &str) -> Result<&'static Field, PatchError> {
        match self {
            Meta::Msg(msg) => msg.field(key).map_or_else(
                || {
                    bad(format!(
                        "unable to find api field in struct {} for the json field {key:?}",
                        msg.name
                    ))
                },
                Ok,
            ),
            Meta::Other(kind) => bad(format!(
                "merging an object in json but data type is not struct, instead is: {kind}"
            )),
        }
    }

    /// The type and facts of a field that holds an object.
    pub fn of_struct(self, key: &str) -> Result<(Meta, FieldFacts), PatchError> {
        let field = self.field(key)?;
        let meta = match field.shape {
            Shape::Map => Meta::Other("map"),
            Shape::List => Meta::Other("slice"),
            Shape::Plain | Shape::Pointer => element(field),
        };
        Ok((meta, facts(field)))
    }

    /// The element type and facts of a field that holds a list.
    pub fn of_list(self, key: &str) -> Result<(Meta, FieldFacts), PatchError> {
        let field = self.field(key)?;
        match field.shape {
            Shape::List => Ok((element(field), facts(field))),
            _ => bad(format!(
                "expected slice or array type, but got: {}",
                self.name()
            )),
        }
    }
}

fn element(field: &'static Field) -> Meta {
    match field.msg() {
        Some(msg) => Meta::Msg(msg),
        None => Meta::Other(match field.kind {
            Kind::Bool => "bool",
            Kind::I32 => "int32",
            Kind::I64 => "int64",
            Kind::F64 => "float64",
            Kind::Str => "string",
            Kind::Bin | Kind::StrList => "slice",
            _ => "struct",
        }),
    }
}

fn facts(field: &'static Field) -> FieldFacts {
    FieldFacts {
        strategy: field.facts.patch_strategy,
        key: field.facts.patch_merge_key,
    }
}
