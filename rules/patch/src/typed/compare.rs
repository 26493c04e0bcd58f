//! What differs between two values of one type, as sets of fields.

use super::{item_element, list_of, map_of, member_type, names};
use crate::fields::{FieldSet, PathElement, values_equal};
use crate::schema::{Atom, ListAtom, MapAtom, Type};
use corten_core::Value;
use std::collections::BTreeMap;

/// Three disjoint sets; all empty when the values are equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Comparison {
    /// Without the given fields and what is below them.
    pub fn without(mut self, fields: &FieldSet) -> Comparison {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            set.subtract_below(fields);
        }
        self
    }

    /// All that is there now and was not, or was different.
    pub fn changed(self) -> FieldSet {
        let mut changed = self.modified;
        changed.absorb(self.added);
        changed
    }
}

/// Compares two values of one type, which both fit it.
///
/// # Errors
/// When an item of an associative list has no name.
pub(crate) fn compare(of: Type, old: &Value, new: &Value) -> Result<Comparison, String> {
    let mut walk = Walk {
        out: Comparison::default(),
        path: Vec::new(),
    };
    walk.visit(of, Some(old), Some(new))?;
    Ok(walk.out)
}

/// Adds a place where nothing was and all places below it.
fn add(of: Type, value: &Value, into: &mut FieldSet, place: PathElement) -> Result<(), String> {
    let mut below = FieldSet::default();
    let atom = of.atom().deduced(Some(value));
    match (&atom.map, &atom.list, value) {
        (Some(map), _, Value::Map(members)) if !map.atomic => {
            for (name, value) in members.iter() {
                let element = PathElement::Field(name.clone());
                add(member_type(map, name), value, &mut below, element)?;
            }
        }
        (None, Some(list), Value::List(items)) if atom.scalar.is_none() && list.associative => {
            let mut named: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
            for item in items {
                named
                    .entry(item_element(list, item)?)
                    .or_default()
                    .push(item);
            }
            for (element, items) in named {
                match items.as_slice() {
                    [one] => add(list.element, one, &mut below, element)?,
                    // Items with the same name are added together and as a whole.
                    _ => drop(below.members.insert(element)),
                }
            }
        }
        _ => {}
    }
    if !below.is_empty() {
        into.children.insert(place.clone(), below);
    }
    into.members.insert(place);
    Ok(())
}

struct Walk {
    out: Comparison,
    path: Vec<PathElement>,
}

/// Whether a place was compared as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Leaf,
    Inner,
}

impl Walk {
    fn visit(&mut self, of: Type, old: Option<&Value>, new: Option<&Value>) -> Result<(), String> {
        match (old, new, self.path.split_last()) {
            // What is the same has no differences below it.
            (Some(old), Some(new), _) if values_equal(old, new) => return Ok(()),
            (None, Some(new), Some((last, before))) => {
                let into = self.out.added.at_mut(before);
                return add(of, new, into, last.clone());
            }
            _ => {}
        }
        let atom = of.atom();
        let (old_atom, new_atom) = (atom.deduced(old), atom.deduced(new));
        let seen = if new.is_none() {
            self.visit_atom(&old_atom, old, new)?
        } else if old.is_none() || old_atom.mask() == new_atom.mask() {
            self.visit_atom(&new_atom, old, new)?
        } else {
            self.visit_atom(&old_atom, old, new)?;
            self.visit_atom(&new_atom, old, new)?
        };
        if seen == Seen::Inner {
            match (old, new) {
                (None, _) => self.out.added.insert(&self.path),
                (_, None) => self.out.removed.insert(&self.path),
                _ => {}
            }
        }
        Ok(())
    }

    fn visit_atom(
        &mut self,
        atom: &Atom,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Seen, String> {
        if let Some(map) = &atom.map {
            return self.visit_map(map, old, new);
        }
        if let (None, Some(list)) = (atom.scalar, &atom.list) {
            return self.visit_list(list, old, new);
        }
        Ok(self.leaf(old, new))
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) -> Seen {
        match (old, new) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) if !values_equal(old, new) => {
                self.out.modified.insert(&self.path);
            }
            _ => {}
        }
        Seen::Leaf
    }

    fn visit_map(
        &mut self,
        map: &MapAtom,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Seen, String> {
        let (old_map, new_map) = (map_of(old), map_of(new));
        let names = names(old_map, new_map);
        // Two empty ones are a leaf, so that empty and null differ.
        if map.atomic || names.is_empty() {
            return Ok(self.leaf(old, new));
        }
        for name in names {
            self.path.push(PathElement::Field(name.clone()));
            let old = old_map.and_then(|members| members.get(name));
            let new = new_map.and_then(|members| members.get(name));
            let result = self.visit(member_type(map, name), old, new);
            self.path.pop();
            result?;
        }
        Ok(Seen::Inner)
    }

    fn visit_list(
        &mut self,
        list: &ListAtom,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Seen, String> {
        let (old_items, new_items) = (list_of(old), list_of(new));
        if !list.associative || (old_items.is_empty() && new_items.is_empty()) {
            return Ok(self.leaf(old, new));
        }
        let mut named: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for item in old_items {
            named
                .entry(item_element(list, item)?)
                .or_default()
                .0
                .push(item);
        }
        for item in new_items {
            named
                .entry(item_element(list, item)?)
                .or_default()
                .1
                .push(item);
        }
        for (element, (old, new)) in named {
            self.path.push(element);
            let result = self.visit_items(list, &old, &new);
            self.path.pop();
            result?;
        }
        Ok(Seen::Inner)
    }

    /// Items of one name: several are compared as a whole.
    fn visit_items(
        &mut self,
        list: &ListAtom,
        old: &[&Value],
        new: &[&Value],
    ) -> Result<(), String> {
        match (old, new) {
            ([], []) => {}
            ([] | [_], [] | [_]) => {
                self.visit(list.element, old.first().copied(), new.first().copied())?;
            }
            ([_, _, ..], [_, _, ..]) => {
                let same = old.len() == new.len()
                    && old.iter().zip(new).all(|(old, new)| values_equal(old, new));
                if !same {
                    self.out.modified.insert(&self.path);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    self.visit(list.element, None, Some(new))?;
                }
                self.out.removed.insert(&self.path);
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    self.visit(list.element, Some(old), None)?;
                }
                self.out.added.insert(&self.path);
            }
        }
        Ok(())
    }
}
