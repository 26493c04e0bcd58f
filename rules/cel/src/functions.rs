//! Which functions there are: names, overloads and their types, as one table, read when an environment is made.
//! A line is: name, overload id, `.` before the arguments of a member. What they do is in `calls`.

use std::collections::BTreeMap;

use crate::types::Type;

/// One way to call a function.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    pub id: String,
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
    /// The names of its type parameters.
    pub params: Vec<String>,
}

/// Functions by name.
pub(crate) type Functions = BTreeMap<String, Vec<Overload>>;

const STANDARD: &str = include_str!("functions.txt");
const PATCH: &str = "jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string)string";

/// The library of every expression, and what only mutating policies have.
pub(crate) fn standard() -> Functions {
    let mut all = Functions::new();
    read(&mut all, STANDARD);
    for (symbol, word) in [
        ("_<_", "less"),
        ("_<=_", "less_equals"),
        ("_>_", "greater"),
        ("_>=_", "greater_equals"),
    ] {
        comparisons(&mut all, symbol, word);
    }
    for name in [
        "int",
        "uint",
        "double",
        "bool",
        "duration",
        "timestamp",
        "string",
        "bytes",
    ] {
        let short = |t: &str| {
            t.replace("duration", "google.protobuf.Duration")
                .replace("timestamp", "google.protobuf.Timestamp")
        };
        let long = short(name);
        for line in [
            format!("isSorted list_{name}_is_sorted_bool .(list({name}))bool"),
            format!("max list_{name}_max_{name} .(list({name})){name}"),
            format!("min list_{name}_min_{name} .(list({name})){name}"),
            format!("sort list_{long}_sort .(list({name}))list({name})"),
            format!(
                "@sortByAssociatedKeys list_{long}_sortByAssociatedKeys .(list(A),list({name}))list(A)"
            ),
        ] {
            read(&mut all, &line);
        }
        if matches!(name, "int" | "uint" | "double" | "duration") {
            read(
                &mut all,
                &format!("sum list_{name}_sum_{name} .(list({name})){name}"),
            );
        }
    }
    for name in crate::formats::names() {
        read(&mut all, &format!("format.{name} format.{name} ()format"));
    }
    all
}

/// Adds the functions of mutating admission policies.
pub(crate) fn add_patch(all: &mut Functions) {
    read(all, PATCH);
}

fn comparisons(all: &mut Functions, symbol: &str, word: &str) {
    let numbers = [("int64", "int"), ("uint64", "uint"), ("double", "double")];
    for (a, at) in numbers {
        for (b, bt) in numbers {
            let id = if a == b {
                a.to_owned()
            } else {
                format!("{a}_{b}")
            };
            read(all, &format!("{symbol} {word}_{id} ({at},{bt})bool"));
        }
    }
    for t in ["bool", "string", "bytes", "timestamp", "duration"] {
        read(all, &format!("{symbol} {word}_{t} ({t},{t})bool"));
    }
}

fn read(all: &mut Functions, text: &str) {
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let mut word = || words.next().expect("a line has three words");
        let (name, id, signature) = (word(), word(), word());
        let member = signature.starts_with('.');
        let mut reader = Reader {
            text: signature.trim_start_matches('.'),
            params: Vec::new(),
        };
        let args = reader.list();
        let result = reader.one();
        let overload = Overload {
            id: id.to_owned(),
            member,
            args,
            result,
            params: reader.params,
        };
        all.entry(name.to_owned()).or_default().push(overload);
    }
}

struct Reader<'a> {
    text: &'a str,
    params: Vec<String>,
}

impl Reader<'_> {
    /// `(a,b)`
    fn list(&mut self) -> Vec<Type> {
        let mut types = Vec::new();
        self.text = &self.text[1..];
        loop {
            match self.text.as_bytes()[0] {
                b')' => break,
                b',' => self.text = &self.text[1..],
                _ => types.push(self.one()),
            }
        }
        self.text = &self.text[1..];
        types
    }

    fn one(&mut self) -> Type {
        let end = self.text.find(['(', ')', ',']).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        let mut inner = if rest.starts_with('(') {
            self.list()
        } else {
            Vec::new()
        };
        match word {
            "list" => Type::list(inner.remove(0)),
            "map" => {
                let key = inner.remove(0);
                Type::map(key, inner.remove(0))
            }
            "optional" => Type::optional(inner.remove(0)),
            "type" => Type::TypeOf(Some(inner.remove(0).into())),
            _ if word.len() == 1 => {
                if !self.params.iter().any(|p| p == word) {
                    self.params.push(word.to_owned());
                }
                Type::Param(word.into())
            }
            _ => named(word).expect("the table names known types only"),
        }
    }
}

fn named(word: &str) -> Option<Type> {
    Some(match word {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "ip" => Type::Opaque("net.IP".into(), Vec::new()),
        "cidr" => Type::Opaque("net.CIDR".into(), Vec::new()),
        "quantity" => Type::object("kubernetes.Quantity"),
        "url" => Type::object("kubernetes.URL"),
        "semver" => Type::object("kubernetes.Semver"),
        "format" => Type::object("kubernetes.NamedFormat"),
        "authorizer" => Type::object("kubernetes.authorization.Authorizer"),
        "path" => Type::object("kubernetes.authorization.PathCheck"),
        "group" => Type::object("kubernetes.authorization.GroupCheck"),
        "resource" => Type::object("kubernetes.authorization.ResourceCheck"),
        "decision" => Type::object("kubernetes.authorization.Decision"),
        _ => return None,
    })
}
