//! A set of fields as a tree. A path is in the set when its last step is a member where the others lead.
//! Invariant: no child is empty after an operation that could have emptied it.

use super::element::PathElement;
use crate::schema::Type;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of the paths below one that is taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Stays,
    Goes,
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    pub members: BTreeSet<PathElement>,
    pub children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// A set of paths of members.
    pub fn of(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            let path: Vec<_> = path
                .iter()
                .map(|name| PathElement::Field((*name).into()))
                .collect();
            set.insert(&path);
        }
        set
    }

    /// Adds a path; its parents are not in the set by that. The empty path is never in a set.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => match self.children.get_mut(first) {
                Some(child) => child.insert(rest),
                None => self.children.entry(first.clone()).or_default().insert(rest),
            },
        }
    }

    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self
                .children
                .get(first)
                .is_some_and(|child| child.has(rest)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(FieldSet::is_empty)
    }

    /// What is below `element`, when that is something.
    pub fn below(&self, element: &PathElement) -> Option<&FieldSet> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    /// All paths: members first, then what is below.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Vec<PathElement>>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(path);
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.collect(prefix, out);
            prefix.pop();
        }
    }

    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        out.add(other);
        out
    }

    fn add(&mut self, other: &FieldSet) {
        self.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            match self.children.get_mut(element) {
                Some(known) => known.add(child),
                None => drop(self.children.insert(element.clone(), child.clone())),
            }
        }
    }

    /// Adds the paths of another set.
    pub fn absorb(&mut self, mut other: FieldSet) {
        self.members.append(&mut other.members);
        for (element, child) in other.children {
            match self.children.get_mut(&element) {
                Some(known) => known.absorb(child),
                None => drop(self.children.insert(element, child)),
            }
        }
    }

    /// Whether every path of `other` is in the set.
    pub fn has_all(&self, other: &FieldSet) -> bool {
        other.members.is_subset(&self.members)
            && other.children.iter().all(|(element, child)| {
                let known = self.children.get(element);
                known.is_some_and(|known| known.has_all(child)) || child.is_empty()
            })
    }

    /// Takes the paths of `other` away; what is below a path of `other` stays. Tells whether any was there.
    pub fn subtract(&mut self, other: &FieldSet) -> bool {
        self.take_away(other, Below::Stays)
    }

    /// Takes the paths of `other` and all that is below them away.
    pub fn subtract_below(&mut self, other: &FieldSet) {
        self.take_away(other, Below::Goes);
    }

    fn take_away(&mut self, other: &FieldSet, below: Below) -> bool {
        let mut any = false;
        for member in &other.members {
            any |= self.members.remove(member);
            if below == Below::Goes {
                any |= self.children.remove(member).is_some();
            }
        }
        for (element, gone) in &other.children {
            if let Some(child) = self.children.get_mut(element) {
                any |= child.take_away(gone, below);
                if child.is_empty() {
                    self.children.remove(element);
                }
            }
        }
        any
    }

    /// The set that holds what is below a path.
    pub fn at_mut(&mut self, path: &[PathElement]) -> &mut FieldSet {
        let mut set = self;
        for element in path {
            if !set.children.contains_key(element) {
                set.children.insert(element.clone(), FieldSet::default());
            }
            set = set
                .children
                .get_mut(element)
                .expect("it was there or was just inserted");
        }
        set
    }

    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let children = self.children.iter().filter_map(|(element, child)| {
            let both = child.intersection(other.children.get(element)?);
            (!both.is_empty()).then(|| (element.clone(), both))
        });
        FieldSet {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: children.collect(),
        }
    }

    /// Without the paths of `other`; what is below a path of `other` stays.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.without(other, false)
    }

    /// Without the paths of `other` and all that is below them.
    pub fn difference_below(&self, other: &FieldSet) -> FieldSet {
        self.without(other, true)
    }

    fn without(&self, other: &FieldSet, below: bool) -> FieldSet {
        let children = self.children.iter().filter_map(|(element, child)| {
            if below && other.members.contains(element) {
                return None;
            }
            let left = match other.children.get(element) {
                Some(gone) => child.without(gone, below),
                None => child.clone(),
            };
            (!left.is_empty()).then(|| (element.clone(), left))
        });
        FieldSet {
            members: self.members.difference(&other.members).cloned().collect(),
            children: children.collect(),
        }
    }

    /// The set with the members of structs that only occur on the way to other paths.
    pub fn with_named_fields(&self, of: Option<Type>) -> FieldSet {
        let atom = of.map(Type::atom);
        let mut members = self.members.clone();
        let mut children = BTreeMap::new();
        for (element, child) in &self.children {
            let mut inner = None;
            match (element, &atom) {
                (PathElement::Field(name), Some(atom)) => {
                    if let Some(map) = &atom.map {
                        if map.fields.get(name).is_some() {
                            members.insert(element.clone());
                        }
                        inner = map.type_of(name);
                    }
                }
                (PathElement::Key(_), Some(atom)) => {
                    inner = atom.list.as_ref().map(|list| list.element);
                }
                _ => {}
            }
            children.insert(element.clone(), child.with_named_fields(inner));
        }
        FieldSet { members, children }
    }
}
