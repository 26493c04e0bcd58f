//! Secrets: what clients write as text is kept as data.

use super::columns;
use crate::rules::Rules;
use crate::{Column, Context, cells};
use corten_api::core::v1::Secret;
use corten_core::{Bin, Map, Str, Time, Value};

/// The strategy of Secrets.
pub struct Secrets;

impl Rules for Secrets {
    type Of = Secret;

    fn default(&self, secret: &mut Secret) {
        if secret.type_.is_empty() {
            secret.type_ = "Opaque".into();
        }
        for (key, text) in &std::mem::replace(&mut secret.string_data, Map::NIL) {
            secret.data.insert(key.clone(), Bin::from(text.as_str()));
        }
    }
    fn prepare_update(&self, _cx: &Context, _part: &str, new: &mut Secret, old: &Secret) {
        if new.type_.is_empty() {
            new.type_ = old.type_.clone();
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::SECRET
    }
    fn cells(&self, secret: &Secret, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&secret.metadata.name),
            Value::from(&secret.type_),
            Value::from(secret.data.len() as i64),
            cells::age(&secret.metadata.creation_timestamp, now),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["type"]
    }
    fn field_values(&self, secret: &Secret) -> Vec<Str> {
        vec![secret.type_.clone()]
    }
}
