//! `Path`: the way to a field, kept on the stack until somebody prints it: `spec.ports[3].containerPort`.
//! Leaves out parsing.

use std::fmt;

/// A path from the root of an object; cheap to extend, printed only for errors.
#[derive(Clone, Copy)]
pub enum Path<'a> {
    /// The object itself, printed as nothing.
    Root,
    /// A member.
    Field(&'a Path<'a>, &'a str),
    /// An element of a list.
    Index(&'a Path<'a>, usize),
    /// An entry of a map, printed in brackets.
    Key(&'a Path<'a>, &'a str),
}

impl<'a> Path<'a> {
    /// The member `name` below this.
    pub const fn f(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }
    /// The element `index` below this.
    pub const fn i(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }
    /// The map entry `key` below this.
    pub const fn k(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(up, name) => write!(f, "{up}.{name}"),
            Path::Index(up, index) => write!(f, "{up}[{index}]"),
            Path::Key(up, key) => write!(f, "{up}[{key}]"),
        }
    }
}

impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
