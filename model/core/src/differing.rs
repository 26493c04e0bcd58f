//! What differs between two messages of one type, as values: what is the same in both is left out of both.
//! Invariant: the values differ exactly where the whole ones do. Lists are whole or left out.

use crate::access::{MsgRef, Ref};
use crate::convert::ConvertError;
use crate::many::MapRef;
use crate::str::Str;
use crate::table::Form;
use crate::value::{Value, ValueMap};

impl MsgRef<'_> {
    /// This message and another one as values, both without the members that say the same, at any depth of messages and
    /// maps, and without fields of the name `beside`. Two messages without a difference are two empty objects.
    ///
    /// # Errors
    /// When raw JSON in what differs is not JSON.
    pub fn differing(self, other: MsgRef, beside: &str) -> Result<(Value, Value), ConvertError> {
        if self.msg() != other.msg() || self.msg().form != Form::Struct {
            return Ok((self.to_value()?, other.to_value()?));
        }
        let (mut left, mut right) = (ValueMap::new(), ValueMap::new());
        for (i, field) in self.msg().json.iter().enumerate() {
            let (a, b) = (self.json(i), other.json(i));
            if field.key == beside || a.says_as(b) {
                continue;
            }
            let key = || Str::from_static(field.key);
            match (field.omits(a), field.omits(b)) {
                (true, true) => {}
                (true, false) => drop(right.insert(key(), b.to_value()?)),
                (false, true) => drop(left.insert(key(), a.to_value()?)),
                (false, false) => {
                    let (a, b) = differing(a, b, beside)?;
                    left.insert(key(), a);
                    right.insert(key(), b);
                }
            }
        }
        Ok((Value::Map(left), Value::Map(right)))
    }
}

/// Two values that are both there and differ.
fn differing(a: Ref, b: Ref, beside: &str) -> Result<(Value, Value), ConvertError> {
    match (a, b) {
        (Ref::Msg(a), Ref::Msg(b)) => a.differing(b, beside),
        (Ref::Map(a), Ref::Map(b)) if !a.is_nil() && !b.is_nil() => {
            Ok((only_here(a, b)?, only_here(b, a)?))
        }
        _ => Ok((a.to_value()?, b.to_value()?)),
    }
}

/// The members of a map that another one does not have as they are.
fn only_here(map: MapRef, other: MapRef) -> Result<Value, ConvertError> {
    let mut out = ValueMap::new();
    for (key, value) in map.iter() {
        let same = other.iter().any(|(k, v)| k == key && v.says_as(value));
        if !same {
            out.insert(key.clone(), value.to_value()?);
        }
    }
    Ok(Value::Map(out))
}
