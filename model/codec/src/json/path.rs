//! Where a decoder is, as a chain on the stack: the paths of strict errors and the context of type errors.
//! Invariant: nothing is formatted before an error needs it.

use corten_core::Msg;
use std::fmt::Write;

/// One step on the way to a value.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    /// The document.
    Root,
    /// `msg.json[index]`.
    Field(&'a At<'a>, &'static Msg, usize),
    /// An element of a list.
    Index(&'a At<'a>, usize),
    /// An entry of a map.
    Key(&'a At<'a>, &'a str),
}

impl At<'_> {
    /// The path of a strict error: `spec.containers[0].name`.
    pub(crate) fn path(&self) -> String {
        let mut out = String::new();
        self.push_path(&mut out);
        out
    }

    /// The path of the member `key` below this.
    pub(crate) fn member(&self, key: &str) -> String {
        let mut out = self.path();
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(key);
        out
    }

    fn push_path(&self, out: &mut String) {
        match self {
            At::Root => {}
            At::Field(up, msg, index) => up.push_member(msg.json[*index].key, out),
            At::Key(up, key) => up.push_member(key, out),
            At::Index(up, index) => {
                up.push_path(out);
                // Writing to a String does not fail.
                let _ = write!(out, "[{index}]");
            }
        }
    }

    fn push_member(&self, key: &str, out: &mut String) {
        self.push_path(out);
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(key);
    }

    /// Go's context of a type error: the struct and its field's path, lists and map keys left out.
    pub(crate) fn go_field(&self) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        let mut innermost = None;
        let mut at = self;
        loop {
            match at {
                At::Root => break,
                At::Index(up, _) | At::Key(up, _) => at = up,
                At::Field(up, msg, index) => {
                    innermost.get_or_insert(msg.name);
                    let key = msg.json[*index].key;
                    names.push(key);
                    push_embedded(msg, key, &mut names);
                    at = up;
                }
            }
        }
        names.reverse();
        Some(format!("{}.{}", innermost?, names.join(".")))
    }
}

/// Fields whose Go type has a name of its own: package, struct, JSON key, the field's type, the type of its elements.
/// Taken from upstream's structs by reflection; `-` where nothing special is known.
const GO_TYPES: &str = include_str!("go_types.txt");

impl At<'_> {
    /// Go's name of the type that is expected here, where it differs from that of the plain kind.
    pub(crate) fn go_alias(&self) -> Option<&'static str> {
        let (msg, index, column) = match self {
            At::Field(_, msg, index) => (msg, index, 3),
            At::Index(At::Field(_, msg, index), _) | At::Key(At::Field(_, msg, index), _) => {
                (msg, index, 4)
            }
            _ => return None,
        };
        go_alias_of(msg, msg.json[*index].key, column)
    }
}

fn go_alias_of(msg: &'static Msg, key: &str, column: usize) -> Option<&'static str> {
    let mut package = msg.package.rsplit('.');
    let version = package.next()?;
    let wanted = [&format!("{}.{version}", package.next()?), msg.name, key];
    match GO_TYPES
        .lines()
        .find(|line| line.split(' ').take(3).eq(wanted))
    {
        Some(line) => line.split(' ').nth(column).filter(|name| *name != "-"),
        // A promoted field is listed under the struct that declares it.
        None => {
            let mut embedded = msg
                .fields
                .iter()
                .filter(|f| f.inline())
                .filter_map(|f| f.msg());
            embedded.find_map(|inner| go_alias_of(inner, key, column))
        }
    }
}

/// Go also names the embedded structs that a promoted field comes from.
fn push_embedded(msg: &'static Msg, key: &str, names: &mut Vec<&str>) {
    for field in msg.fields.iter().filter(|f| f.inline()) {
        if let Some(inner) = field.msg()
            && inner.find(key.as_bytes()).is_some()
        {
            push_embedded(inner, key, names);
            names.push(inner.name);
            return;
        }
    }
}

/// Go's name of a message type in errors: `v1.PodSpec`.
pub(crate) fn go_type(msg: &Msg) -> String {
    let package = msg.package.rsplit('.').next().unwrap_or_default();
    format!("{package}.{}", msg.name)
}
