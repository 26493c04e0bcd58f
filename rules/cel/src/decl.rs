//! Declared types of data: what fields there are, and how large a value can get inside one request (the cost
//! estimate's ground). Made from schemas, or field by field for Kubernetes' own variables.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Type;

/// The largest request body that costs are estimated for, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// A declared type.
#[derive(Clone, Debug)]
pub struct Decl {
    pub(crate) shape: Shape,
    /// An object's name; other types take theirs from their shape.
    pub(crate) name: Arc<str>,
    /// The most elements, entries or characters a value can have.
    pub(crate) elements_max: u64,
    /// The fewest bytes a value takes in JSON.
    pub(crate) bytes_min: u64,
}

/// What a declared type is made of.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Scalar(Type),
    List(Arc<Decl>),
    /// With text keys.
    Map(Arc<Decl>),
    Object(BTreeMap<String, Arc<Decl>>),
}

const OBJECT: &str = "object";

impl Decl {
    /// A type without parts.
    pub fn scalar(t: Type) -> Arc<Decl> {
        Decl::sized(t, 1, 0)
    }

    pub(crate) fn sized(t: Type, bytes_min: u64, elements_max: u64) -> Arc<Decl> {
        Arc::new(Decl {
            shape: Shape::Scalar(t),
            name: "".into(),
            elements_max,
            bytes_min,
        })
    }

    /// A list of at most so many elements.
    pub fn list(element: Arc<Decl>, elements_max: u64) -> Arc<Decl> {
        Arc::new(Decl {
            shape: Shape::List(element),
            name: "".into(),
            elements_max,
            bytes_min: 2,
        })
    }

    /// A map with text keys of at most so many entries.
    pub fn map(value: Arc<Decl>, entries_max: u64) -> Arc<Decl> {
        Arc::new(Decl {
            shape: Shape::Map(value),
            name: "".into(),
            elements_max: entries_max,
            bytes_min: 2,
        })
    }

    /// An object of a name, with fields.
    pub fn object<'a>(
        name: &str,
        fields: impl IntoIterator<Item = (&'a str, Arc<Decl>)>,
    ) -> Arc<Decl> {
        let fields = fields.into_iter().map(|(n, d)| (n.to_owned(), d));
        Decl::unnamed(name, fields.collect(), 2)
    }

    pub(crate) fn unnamed(
        name: &str,
        fields: BTreeMap<String, Arc<Decl>>,
        bytes_min: u64,
    ) -> Arc<Decl> {
        Arc::new(Decl {
            shape: Shape::Object(fields),
            name: if name.is_empty() { OBJECT } else { name }.into(),
            elements_max: 0,
            bytes_min,
        })
    }

    /// The type as expressions see it.
    pub fn cel_type(&self) -> Type {
        match &self.shape {
            Shape::Scalar(t) => t.clone(),
            Shape::List(element) => Type::list(element.cel_type()),
            Shape::Map(value) => Type::map(Type::String, value.cel_type()),
            Shape::Object(_) => Type::Object(self.name.clone()),
        }
    }

    /// How many values of this type fit in one request at most.
    pub fn cardinality_max(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.bytes_min + 1)
    }

    /// The same type with names for the objects in it that have none yet.
    #[must_use]
    pub fn named(self: &Arc<Decl>, name: &str) -> Arc<Decl> {
        let shape = match &self.shape {
            Shape::Scalar(_) => return self.clone(),
            Shape::List(element) => Shape::List(element.named(&format!("{name}.@idx"))),
            Shape::Map(value) => Shape::Map(value.named(&format!("{name}.@elem"))),
            Shape::Object(fields) => {
                let own = self.object_name(name);
                let fields = fields
                    .iter()
                    .map(|(f, d)| (f.clone(), d.named(&format!("{own}.{f}"))));
                Shape::Object(fields.collect())
            }
        };
        Arc::new(Decl {
            shape,
            name: self.object_name(name).into(),
            ..(**self).clone()
        })
    }

    fn object_name<'a>(&'a self, name: &'a str) -> &'a str {
        if &*self.name == OBJECT || self.name.is_empty() {
            name
        } else {
            &self.name
        }
    }

    /// This object and all below it, by name.
    pub(crate) fn objects(self: &Arc<Decl>, into: &mut BTreeMap<Arc<str>, Arc<Decl>>) {
        match &self.shape {
            Shape::Scalar(_) => {}
            Shape::List(inner) | Shape::Map(inner) => inner.objects(into),
            Shape::Object(fields) => {
                into.insert(self.name.clone(), self.clone());
                for field in fields.values() {
                    field.objects(into);
                }
            }
        }
    }

    /// What a path of field names, `@items`, `@keys` and `@values` leads to: the most elements there.
    pub(crate) fn elements_at(&self, path: &[String]) -> Option<u64> {
        let mut at = self;
        for (i, step) in path.iter().enumerate() {
            at = match (step.as_str(), &at.shape) {
                ("@items" | "@values", Shape::List(inner) | Shape::Map(inner)) => inner,
                ("@keys", Shape::Map(_)) => {
                    // Keys are texts without a declared length.
                    return (i + 1 == path.len()).then_some(0);
                }
                (field, Shape::Object(fields)) => fields.get(field)?,
                _ => return None,
            };
        }
        Some(at.elements_max)
    }
}
