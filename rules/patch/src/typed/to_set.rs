//! The set of fields that a value names: what an applied configuration owns.

use super::{item_element, member_type};
use crate::fields::{FieldSet, PathElement};
use crate::schema::{ListAtom, MapAtom, Type};
use corten_core::{Value, ValueMap};
use std::collections::BTreeMap;

/// All leaves, list items and members of maps that `value` names.
pub(crate) fn to_set(of: Type, value: &Value) -> FieldSet {
    let mut walk = Walk {
        set: FieldSet::default(),
        path: Vec::new(),
    };
    walk.visit(of, value);
    walk.set
}

struct Walk {
    set: FieldSet,
    path: Vec<PathElement>,
}

impl Walk {
    fn insert(&mut self) {
        self.set.insert(&self.path);
    }

    fn visit(&mut self, of: Type, value: &Value) {
        let atom = of.atom().deduced(Some(value));
        if let Some(map) = atom.map {
            match value {
                _ if map.atomic => self.insert(),
                Value::Map(members) => self.visit_map(&map, members),
                _ => {}
            }
        } else if atom.scalar.is_some() {
            self.insert();
        } else if let Some(list) = atom.list {
            match value {
                _ if !list.associative => self.insert(),
                Value::List(items) => self.visit_list(&list, items),
                _ => {}
            }
        }
    }

    fn visit_list(&mut self, list: &ListAtom, items: &[Value]) {
        let mut named: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
        for item in items {
            if let Ok(element) = item_element(list, item) {
                named.entry(element).or_default().push(item);
            }
        }
        for (element, items) in named {
            self.path.push(element);
            // Items with the same name are owned together and as a whole.
            if let [one] = items.as_slice() {
                self.visit(list.element, one);
            }
            self.insert();
            self.path.pop();
        }
    }

    fn visit_map(&mut self, map: &MapAtom, members: &ValueMap) {
        for (name, value) in members.iter() {
            self.path.push(PathElement::Field(name.clone()));
            self.visit(member_type(map, name), value);
            let empty = value.is_null() || value.as_map().is_some_and(ValueMap::is_empty);
            if empty || map.fields.get(name).is_none() {
                self.insert();
            }
            self.path.pop();
        }
    }
}
