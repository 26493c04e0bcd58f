//! Types, how messages write them, and which may stand for which while type parameters are being found out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The type of an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Anything, checked when evaluated.
    Dyn,
    /// Anything, as messages call it `any`.
    Any,
    /// What has no type because it is wrong.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// An object with declared fields, or one of Kubernetes' own values, by name.
    Object(Arc<str>),
    /// A value without fields, with parameters (`optional_type(int)`, `net.IP`).
    Opaque(Arc<str>, Vec<Type>),
    /// The type of a type.
    TypeOf(Option<Arc<Type>>),
    /// A type not known yet.
    Param(Arc<str>),
}

pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }
    /// A map.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }
    /// A value that may be absent.
    pub fn optional(inner: Type) -> Type {
        Type::Opaque(OPTIONAL.into(), vec![inner])
    }
    /// An object by name.
    pub fn object(name: &str) -> Type {
        Type::Object(name.into())
    }
    /// What an optional holds.
    pub(crate) fn unwrap_optional(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, params) if &**name == OPTIONAL => params.first(),
            _ => None,
        }
    }
    pub(crate) const fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Any)
    }
    pub(crate) const fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Any | Type::Error)
    }
    fn params(&self) -> Vec<&Type> {
        match self {
            Type::List(a) => vec![a],
            Type::Map(a, b) => vec![a, b],
            Type::Opaque(_, params) => params.iter().collect(),
            Type::TypeOf(Some(a)) => vec![a],
            _ => Vec::new(),
        }
    }
    /// The name without parameters.
    pub(crate) fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Any => "any",
            Type::Error => "!error!",
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "duration",
            Type::Timestamp => "timestamp",
            Type::List(_) => "list",
            Type::Map(..) => "map",
            Type::TypeOf(_) => "type",
            Type::Object(name) | Type::Opaque(name, _) | Type::Param(name) => name,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let params = self.params();
        for (i, param) in params.iter().enumerate() {
            f.write_str(if i == 0 { "(" } else { ", " })?;
            write!(f, "{param}")?;
        }
        f.write_str(if params.is_empty() { "" } else { ")" })
    }
}

/// What type parameters stand for so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping(BTreeMap<Arc<str>, Type>);

impl Mapping {
    fn find(&self, t: &Type) -> Option<&Type> {
        match t {
            Type::Param(name) => self.0.get(name),
            _ => None,
        }
    }

    pub fn add(&mut self, param: &Type, t: Type) {
        if let Type::Param(name) = param {
            self.0.insert(name.clone(), t);
        }
    }

    /// Whether `t1` may stand where `t2` is wanted; keeps what that says about parameters only if so.
    pub fn assignable(&mut self, t1: &Type, t2: &Type) -> bool {
        let mut copy = self.clone();
        let fine = copy.internal(t1, t2);
        if fine {
            *self = copy;
        }
        fine
    }

    /// The same for several at once.
    pub fn assignable_all(&mut self, l1: &[Type], l2: &[Type]) -> bool {
        let mut copy = self.clone();
        let fine = copy.internal_all(l1.iter(), l2.iter());
        if fine {
            *self = copy;
        }
        fine
    }

    fn internal_all<'a>(
        &mut self,
        l1: impl ExactSizeIterator<Item = &'a Type>,
        l2: impl ExactSizeIterator<Item = &'a Type>,
    ) -> bool {
        l1.len() == l2.len() && l1.zip(l2).all(|(a, b)| self.internal(a, b))
    }

    fn internal(&mut self, t1: &Type, t2: &Type) -> bool {
        if matches!(t2, Type::Param(_)) {
            let (valid, had) = self.substitution(t1, t2);
            if valid {
                return true;
            }
            if had {
                return false;
            }
        }
        if matches!(t1, Type::Param(_)) {
            return self.substitution(t2, t1).0;
        }
        if t1.is_dyn_or_error() || t2.is_dyn_or_error() {
            return true;
        }
        if *t1 == Type::Null {
            return nullable(t2);
        }
        if *t2 == Type::Null {
            return nullable(t1);
        }
        match (t1, t2) {
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            (Type::List(a), Type::List(b)) => self.internal(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.internal(a, c) && self.internal(b, d),
            (Type::Opaque(a, p), Type::Opaque(b, q)) => {
                a == b && self.internal_all(p.iter(), q.iter())
            }
            _ => t1 == t2,
        }
    }

    /// Whether `t1` may stand for the parameter `t2`, and whether that stood for something before.
    fn substitution(&mut self, t1: &Type, t2: &Type) -> (bool, bool) {
        if t1 == t2 {
            return (true, true);
        }
        if let Some(old) = self.find(t2).cloned() {
            if *t1 == old {
                return (true, true);
            }
            if self.internal(t1, &old) {
                let new = most_general(t1, &old).clone();
                if self.unreferenced(t2, &new) {
                    self.add(t2, new);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.unreferenced(t2, t1) {
            self.add(t2, t1.clone());
            return (true, false);
        }
        (false, false)
    }

    fn unreferenced(&self, t: &Type, within: &Type) -> bool {
        if t == within {
            return false;
        }
        if matches!(within, Type::Param(_)) {
            return self
                .find(within)
                .is_none_or(|inner| self.unreferenced(t, inner));
        }
        within.params().iter().all(|p| self.unreferenced(t, p))
    }

    /// A type with its parameters replaced by what they stand for; unknown ones become `dyn` with [`Unknown::Dyn`].
    pub fn substitute(&self, t: &Type, unknown: Unknown) -> Type {
        if let Some(found) = self.find(t) {
            return self.substitute(found, unknown);
        }
        let inner = |t: &Type| self.substitute(t, unknown);
        match t {
            Type::Param(_) if unknown == Unknown::Dyn => Type::Dyn,
            Type::List(a) => Type::list(inner(a)),
            Type::Map(a, b) => Type::map(inner(a), inner(b)),
            Type::Opaque(name, params) => {
                Type::Opaque(name.clone(), params.iter().map(inner).collect())
            }
            Type::TypeOf(Some(a)) => Type::TypeOf(Some(Arc::new(inner(a)))),
            _ => t.clone(),
        }
    }
}

/// What becomes of parameters that stand for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Keep,
    Dyn,
}

const fn nullable(t: &Type) -> bool {
    matches!(
        t,
        Type::Opaque(..)
            | Type::Object(_)
            | Type::Any
            | Type::Duration
            | Type::Timestamp
            | Type::Null
    )
}

/// The one of two types that says less.
pub(crate) fn most_general<'a>(t1: &'a Type, t2: &'a Type) -> &'a Type {
    if less_specific(t1, t2) { t1 } else { t2 }
}

fn less_specific(t1: &Type, t2: &Type) -> bool {
    if t1.is_dyn() || matches!(t1, Type::Param(_)) {
        return true;
    }
    if t2.is_dyn() || matches!(t2, Type::Param(_)) {
        return false;
    }
    match (t1, t2) {
        (Type::TypeOf(_), Type::TypeOf(_)) => true,
        (Type::List(a), Type::List(b)) => less_specific(a, b),
        (Type::Map(a, b), Type::Map(c, d)) => less_specific(a, c) && less_specific(b, d),
        (Type::Opaque(a, p), Type::Opaque(b, q)) => {
            a == b && p.len() == q.len() && p.iter().zip(q).all(|(x, y)| less_specific(x, y))
        }
        _ => t1 == t2,
    }
}
