//! metadata.managedFields as sets by manager.
//! Invariant: an applier's identity does not contain the version, an updater's does.

use crate::fields::FieldSet;
use corten_api::meta::v1::ManagedFieldsEntry;
use corten_core::{List, RawJson, Time, Value, ValueMap};
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
    /// The text that the set was read from, as long as it says the same.
    pub text: Option<RawJson>,
}

impl Entry {
    /// An entry that was not there before.
    pub fn new(set: FieldSet, api_version: &str, time: Option<Time>) -> Entry {
        Entry {
            set,
            api_version: api_version.into(),
            time,
            text: None,
        }
    }

    /// Takes paths away; what is below them stays.
    pub fn subtract(&mut self, gone: &FieldSet) {
        if self.set.subtract(gone) {
            self.text = None;
        }
    }

    /// Adds paths.
    pub fn absorb(&mut self, more: FieldSet) {
        if !self.set.has_all(&more) {
            self.text = None;
            self.set.absorb(more);
        }
    }

    /// Exchanges what is owned.
    pub fn replace(&mut self, set: FieldSet) {
        self.text = None;
        self.set = set;
    }
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
            out.insert(manager, Entry::new(set, api_version, time));
        }
        Ok(Entries(out))
    }

    /// The same of entries that are no values.
    ///
    /// # Errors
    /// As for [`Entries::parse`].
    pub fn read(list: &[ManagedFieldsEntry]) -> Result<Entries, String> {
        let mut out = BTreeMap::new();
        for (i, entry) in list.iter().enumerate() {
            let text = entry.fields_v1.as_ref().filter(|text| !text.is_nil());
            let fields = text.map(RawJson::to_value).transpose();
            let fields = fields.map_err(|e| e.to_string())?.unwrap_or_default();
            let mut head = ValueMap::new();
            head.insert("manager", entry.manager.clone());
            head.insert("operation", entry.operation.clone());
            head.insert("apiVersion", entry.api_version.clone());
            head.insert("fieldsType", entry.fields_type.clone());
            head.insert("subresource", entry.subresource.clone());
            head.insert("fieldsV1", fields);
            let one = Entries::parse(&Value::List(vec![Value::Map(head)]));
            let one = one.map_err(|why| match i {
                0 => why,
                i => why.replace("entry 0", &format!("entry {i}")),
            })?;
            for (manager, mut read) in one.0 {
                read.time = entry.time.filter(|time| !time.is_zero());
                read.text = text.cloned();
                out.insert(manager, read);
            }
        }
        Ok(Entries(out))
    }

    /// In the order of [`Entries::to_value`]; nil when there are none.
    pub fn written(&self) -> List<ManagedFieldsEntry> {
        if self.0.is_empty() {
            return List::NIL;
        }
        let written = self.in_order().into_iter().map(|(manager, entry)| {
            let text = entry.text.clone();
            ManagedFieldsEntry {
                manager: manager.name.as_str().into(),
                operation: manager.operation.text().into(),
                api_version: entry.api_version.as_str().into(),
                time: entry.time,
                fields_type: "FieldsV1".into(),
                fields_v1: Some(text.unwrap_or_else(|| entry.set.to_text())),
                subresource: manager.subresource.as_str().into(),
            }
        });
        written.collect()
    }

    fn in_order(&self) -> Vec<(&FieldOwner, &Entry)> {
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
        all
    }

    /// Appliers first, then by time and name; null when there are none.
    pub fn to_value(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        Value::List(
            self.in_order()
                .into_iter()
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
