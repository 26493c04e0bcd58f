//! metadata.managedFields as sets by manager.
//! Invariant: an applier's identity does not contain the version, an updater's does.

use crate::fields::FieldSet;
use corten_core::{Time, Value, ValueMap};
use std::collections::BTreeMap;

/// What an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FieldOwner {
    pub name: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

impl FieldOwner {
    /// As conflicts name it: `"name" with subresource "status" using apps/v1`.
    pub fn shown(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub set: FieldSet,
    pub api_version: String,
    pub time: Option<Time>,
}

/// All entries by manager.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entries(pub BTreeMap<FieldOwner, Entry>);

impl Entries {
    /// The entries of metadata.managedFields; null is none.
    ///
    /// # Errors
    /// What is wrong with an entry.
    pub fn parse(list: &Value) -> Result<Entries, String> {
        let mut out = BTreeMap::new();
        for (i, entry) in list.as_list().unwrap_or(&[]).iter().enumerate() {
            let operation = match entry.str_at(&["operation"]) {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            let api_version = entry.str_at(&["apiVersion"]);
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match entry.str_at(&["fieldsType"]) {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
                other => {
                    return Err(format!(
                        "invalid fieldsType {other:?} in managed fields entry {i}"
                    ));
                }
            }
            let set = FieldSet::parse(&entry["fieldsV1"])
                .map_err(|e| format!("error decoding versioned set from entry {i}: {e}"))?;
            let manager = FieldOwner {
                name: entry.str_at(&["manager"]).into(),
                operation,
                api_version: match operation {
                    Operation::Apply => String::new(),
                    Operation::Update => api_version.into(),
                },
                subresource: entry.str_at(&["subresource"]).into(),
            };
            let time = entry
                .get("time")
                .and_then(Value::as_str)
                .and_then(|t| Time::parse(t).ok());
            out.insert(
                manager,
                Entry {
                    set,
                    api_version: api_version.into(),
                    time,
                },
            );
        }
        Ok(Entries(out))
    }

    /// Appliers first, then by time and name; null when there are none.
    pub fn to_value(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        let mut all: Vec<(&FieldOwner, &Entry)> = self.0.iter().collect();
        all.sort_by_key(|(manager, entry)| {
            let seconds = entry.time.map_or(0, Time::unix);
            let name = (manager.name.as_str(), entry.api_version.as_str());
            (
                manager.operation,
                seconds,
                name,
                manager.subresource.as_str(),
            )
        });
        Value::List(
            all.into_iter()
                .map(|(manager, entry)| one(manager, entry))
                .collect(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops entries that own nothing.
    pub fn drop_empty(&mut self) {
        self.0.retain(|_, entry| !entry.set.is_empty());
    }
}

fn one(manager: &FieldOwner, entry: &Entry) -> Value {
    let mut out = ValueMap::new();
    if !manager.name.is_empty() {
        out.insert("manager", manager.name.as_str());
    }
    out.insert("operation", manager.operation.text());
    out.insert("apiVersion", entry.api_version.as_str());
    if let Some(time) = entry.time {
        let mut text = Vec::new();
        time.write_to(&mut text);
        out.insert("time", String::from_utf8_lossy(&text).as_ref());
    }
    out.insert("fieldsType", "FieldsV1");
    out.insert("fieldsV1", entry.set.to_value());
    if !manager.subresource.is_empty() {
        out.insert("subresource", manager.subresource.as_str());
    }
    Value::Map(out)
}
