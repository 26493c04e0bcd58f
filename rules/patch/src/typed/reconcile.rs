//! Sets that were made when a place was granular, after the schema has made it atomic: the place replaces what is below it.

use crate::fields::{FieldSet, PathElement};
use crate::schema::{Atom, MapAtom, Type};

/// The set as the schema of now has it; None when nothing changes.
pub(crate) fn reconcile(of: Type, set: &FieldSet) -> Option<FieldSet> {
    let mut walk = Walk {
        atomic: FieldSet::default(),
        path: Vec::new(),
    };
    walk.visit(of, Some(set), false);
    let changed = !walk.atomic.is_empty();
    changed.then(|| set.difference_below(&walk.atomic).union(&walk.atomic))
}

struct Walk<'s> {
    /// Places that became atomic.
    atomic: FieldSet,
    path: Vec<&'s PathElement>,
}

impl<'s> Walk<'s> {
    fn note(&mut self) {
        let path: Vec<PathElement> = self.path.iter().map(|e| (*e).clone()).collect();
        self.atomic.insert(&path);
    }

    /// `leaf`: the place is a member and nothing below it is.
    fn visit(&mut self, of: Type, set: Option<&'s FieldSet>, leaf: bool) {
        match of.atom() {
            Atom { map: Some(map), .. } => self.visit_map(&map, set, leaf),
            Atom {
                scalar: None,
                list: Some(list),
                ..
            } => {
                if !list.associative && !leaf {
                    self.note();
                } else if let Some(set) = set {
                    self.visit_elements(set, |_| Some(list.element));
                }
            }
            _ => {}
        }
    }

    fn visit_map(&mut self, map: &MapAtom, set: Option<&'s FieldSet>, leaf: bool) {
        let unknown = matches!(map.fields, crate::schema::Fields::None)
            && matches!(map.element, Some(Type::Deduced | Type::Untyped));
        let Some(set) = set else { return };
        if unknown {
            return;
        }
        if map.atomic && !leaf {
            if !set.is_empty() {
                self.note();
            }
            return;
        }
        self.visit_elements(set, |element| match element {
            PathElement::Field(name) => map.type_of(name),
            _ => map.element,
        });
    }

    fn visit_elements<'a>(
        &mut self,
        set: &'s FieldSet,
        type_of: impl Fn(&PathElement) -> Option<Type<'a>>,
    ) {
        let below = set
            .children
            .keys()
            .filter(|element| !set.members.contains(*element));
        for element in below.chain(&set.members) {
            let Some(of) = type_of(element) else { continue };
            let child = set.children.get(element);
            let leaf = child.is_none() && set.members.contains(element);
            self.path.push(element);
            self.visit(of, child, leaf);
            self.path.pop();
        }
    }
}
