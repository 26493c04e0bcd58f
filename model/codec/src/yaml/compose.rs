//! From parser events to values: anchors, aliases, merge keys, tags and keys that are not texts.
//! Invariant: the share of nodes that come from aliases is bounded as upstream bounds it, so that no document explodes.

use super::resolve::{Scalar, parse_float, resolve};
use super::{DEPTH_MAX, YamlError};
use corten_core::{Str, Value, ValueMapFiller};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

/// Decodes the first document; an empty input is `null`. Of repeated keys the last one counts.
pub fn decode_value(text: &[u8]) -> Result<Value, YamlError> {
    match first(text)? {
        Some(node) => Ok(Builder::new().document(&node)?.0),
        None => Ok(Value::Null),
    }
}

/// Decodes the first document and lists repeated keys (`line 3: key "a" already set in map`), whose first value counts.
pub fn decode_value_strict(text: &[u8]) -> Result<(Value, Vec<String>), YamlError> {
    let Some(node) = first(text)? else {
        return Ok((Value::Null, Vec::new()));
    };
    let mut builder = Builder::new();
    builder.strict = true;
    builder.document(&node)
}

/// Decodes every document of a stream.
pub fn decode_documents(text: &[u8]) -> Result<Vec<Value>, YamlError> {
    let mut reader = Reader::new(text);
    let mut values = Vec::new();
    reader.run(|node| {
        values.push(Builder::new().document(&node)?.0);
        Ok(true)
    })?;
    Ok(values)
}

fn first(text: &[u8]) -> Result<Option<Rc<Node>>, YamlError> {
    let mut found = None;
    Reader::new(text).run(|node| {
        found = Some(node);
        Ok(false)
    })?;
    Ok(found)
}

fn fail<T>(message: impl std::fmt::Display) -> Result<T, YamlError> {
    Err(YamlError::new(format!("yaml: {message}")))
}

struct Node {
    /// Counted from zero.
    line: usize,
    tag: Option<String>,
    content: Content,
}

enum Content {
    Scalar { text: String, plain: bool },
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
    Alias(Rc<Node>),
}

struct Reader<'t> {
    text: &'t [u8],
    /// Nodes with an anchor, by the parser's number of it; they count for their document only.
    anchors: HashMap<usize, Rc<Node>>,
}

type Events<'t> = Parser<'t, StrInput<'t>>;

impl<'t> Reader<'t> {
    fn new(text: &'t [u8]) -> Reader<'t> {
        Reader {
            text,
            anchors: HashMap::new(),
        }
    }

    /// Hands out one root after another until `take` says to stop.
    fn run(
        &mut self,
        mut take: impl FnMut(Rc<Node>) -> Result<bool, YamlError>,
    ) -> Result<(), YamlError> {
        let text = checked(self.text)?;
        let mut events = Parser::new_from_str(text);
        loop {
            match next(&mut events, text)?.0 {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => {
                    self.anchors.clear();
                    let event = next(&mut events, text)?;
                    let root = self.node(event, &mut events, text)?;
                    // The end is read before the document counts: it may hold a syntax error.
                    next(&mut events, text)?;
                    if !take(root)? {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads the node that starts with `event`. Not recursive: open lists and maps are kept on a stack.
    fn node(
        &mut self,
        event: (Event<'t>, Span),
        events: &mut Events<'t>,
        text: &str,
    ) -> Result<Rc<Node>, YamlError> {
        let mut open: Vec<Open> = Vec::new();
        let mut event = event;
        loop {
            let line = event.1.start.line().saturating_sub(1);
            let head = |anchor, tag: Option<Cow<'t, Tag>>| Head {
                line,
                anchor,
                tag: tag.map(|tag| format!("{}{}", tag.handle, tag.suffix)),
            };
            let done = match event.0 {
                Event::Alias(anchor) => {
                    let Some(target) = self.anchors.get(&anchor).cloned() else {
                        return fail("anchor value contains itself");
                    };
                    Some(self.finish(head(0, None), Content::Alias(target)))
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && tag.is_none();
                    Some(self.finish(
                        head(anchor, tag),
                        Content::Scalar {
                            text: text.into_owned(),
                            plain,
                        },
                    ))
                }
                Event::SequenceStart(anchor, tag) => {
                    open.push(Open {
                        head: head(anchor, tag),
                        nodes: Vec::new(),
                        map: false,
                    });
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    open.push(Open {
                        head: head(anchor, tag),
                        nodes: Vec::new(),
                        map: true,
                    });
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop().map(|o| self.close(o)),
                _ => return fail("attempted to go past the end of stream; corrupted value?"),
            };
            if open.len() > DEPTH_MAX {
                return fail("exceeded max depth of 10000");
            }
            match (done, open.last_mut()) {
                (Some(node), Some(parent)) => parent.nodes.push(node),
                (Some(node), None) => return Ok(node),
                (None, _) => {}
            }
            event = next(events, text)?;
        }
    }

    fn close(&mut self, open: Open) -> Rc<Node> {
        let content = if open.map {
            let mut nodes = open.nodes.into_iter();
            let mut entries = Vec::new();
            while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                entries.push((key, value));
            }
            Content::Map(entries)
        } else {
            Content::List(open.nodes)
        };
        self.finish(open.head, content)
    }

    fn finish(&mut self, head: Head, content: Content) -> Rc<Node> {
        let node = Rc::new(Node {
            line: head.line,
            tag: head.tag,
            content,
        });
        if head.anchor > 0 {
            self.anchors.insert(head.anchor, Rc::clone(&node));
        }
        node
    }
}

/// What is known of a node before its content; anchor 0 is none.
struct Head {
    line: usize,
    anchor: usize,
    tag: Option<String>,
}

/// A list or map that has not ended; a map's nodes are its keys and values in turn.
struct Open {
    head: Head,
    nodes: Vec<Rc<Node>>,
    map: bool,
}

/// The text without its byte order mark, if it is UTF-8 without control characters.
fn checked(text: &[u8]) -> Result<&str, YamlError> {
    let Ok(text) = std::str::from_utf8(text) else {
        return fail("invalid leading UTF-8 octet");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let control = |c: char| match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    };
    if text.contains(control) {
        fail("control characters are not allowed")
    } else {
        Ok(text)
    }
}

fn next<'t>(events: &mut Events<'t>, text: &str) -> Result<(Event<'t>, Span), YamlError> {
    match events.next_event() {
        Some(Ok(event)) => Ok(event),
        None => fail("attempted to go past the end of stream; corrupted value?"),
        Some(Err(error)) => reworded(&error, text),
    }
}

/// A syntax error in the words of the library that upstream uses, as far as the two agree on what is wrong.
fn reworded<T>(error: &ScanError, text: &str) -> Result<T, YamlError> {
    // The context, such as `while parsing a block mapping, `, is left out.
    let info = error.info();
    let info = info
        .strip_prefix("while ")
        .and_then(|i| i.split_once(", "))
        .map_or(info, |(_, what)| what);
    if info == "found unknown anchor" {
        let name = text
            .chars()
            .skip(error.marker().index())
            .skip_while(|c| *c == '*');
        let name: String = name
            .take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect();
        return fail(format!("unknown anchor '{name}' referenced"));
    }
    let info = match info {
        "recursion limit exceeded" => return fail("exceeded max depth of 10000"),
        i if i.starts_with("unexpected character") => "found character that cannot start any token",
        "expected ',' or ']'" => "did not find expected ',' or ']'",
        "expected ',' or '}'" => "did not find expected ',' or '}'",
        i => i,
    };
    // Upstream counts the lines of the parser's errors from zero, those of the scanner's from one, and omits the first.
    let from_zero = info.starts_with("did not find expected");
    match error.marker().line() {
        0 | 1 => fail(info),
        line if from_zero => fail(format!("line {}: {info}", line - 1)),
        line => fail(format!("line {line}: {info}")),
    }
}

/// Above these counts, aliases may make up only a share of what is decoded.
const ALIAS_FREE_NODES: u64 = 400_000;
const ALIAS_STRICT_NODES: u64 = 4_000_000;

struct Builder {
    strict: bool,
    problems: Vec<String>,
    decoded: u64,
    aliased: u64,
    /// Targets of the aliases being followed.
    following: Vec<*const Node>,
}

impl Builder {
    fn new() -> Builder {
        Builder {
            strict: false,
            problems: Vec::new(),
            decoded: 0,
            aliased: 0,
            following: Vec::new(),
        }
    }

    fn document(mut self, root: &Rc<Node>) -> Result<(Value, Vec<String>), YamlError> {
        let value = self.value(root)?;
        Ok((value, self.problems))
    }

    fn count(&mut self) -> Result<(), YamlError> {
        self.decoded += 1;
        if !self.following.is_empty() {
            self.aliased += 1;
        }
        let allowed = if self.decoded <= ALIAS_FREE_NODES {
            0.99
        } else if self.decoded >= ALIAS_STRICT_NODES {
            0.10
        } else {
            let range = (ALIAS_STRICT_NODES - ALIAS_FREE_NODES) as f64;
            0.99 - 0.89 * ((self.decoded - ALIAS_FREE_NODES) as f64 / range)
        };
        if self.aliased > 100
            && self.decoded > 1_000
            && self.aliased as f64 / self.decoded as f64 > allowed
        {
            return fail("document contains excessive aliasing");
        }
        Ok(())
    }

    fn follow<T>(
        &mut self,
        target: &Rc<Node>,
        run: impl FnOnce(&mut Builder) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        if self.following.contains(&Rc::as_ptr(target)) || self.following.len() > DEPTH_MAX {
            return fail("anchor value contains itself");
        }
        self.following.push(Rc::as_ptr(target));
        let result = run(self);
        self.following.pop();
        result
    }

    fn value(&mut self, node: &Rc<Node>) -> Result<Value, YamlError> {
        self.count()?;
        match &node.content {
            Content::Alias(target) => self.follow(target, |b| b.value(target)),
            Content::Scalar { text, plain } => scalar_value(node, text, *plain),
            Content::List(list) => Ok(Value::List(
                list.iter()
                    .map(|n| self.value(n))
                    .collect::<Result<_, _>>()?,
            )),
            Content::Map(entries) => {
                let mut map = ValueMapFiller::default();
                self.fill(entries, &mut map)?;
                Ok(Value::Map(map.finish()))
            }
        }
    }

    fn fill(
        &mut self,
        entries: &[(Rc<Node>, Rc<Node>)],
        map: &mut ValueMapFiller,
    ) -> Result<(), YamlError> {
        for (key_node, value_node) in entries {
            if is_merge(key_node) {
                self.merge(value_node, map)?;
                continue;
            }
            let (key, shown) = self.key(key_node)?;
            let value = self.value(value_node)?;
            if self.strict && map.contains_key(&key) {
                let line = value_node.line + 1;
                self.problems
                    .push(format!("line {line}: key {shown} already set in map"));
                continue;
            }
            map.insert(key, value);
        }
        Ok(())
    }

    /// A key as text, and as messages show it.
    fn key(&mut self, node: &Rc<Node>) -> Result<(Str, String), YamlError> {
        self.count()?;
        let (text, plain) = match &node.content {
            Content::Alias(target) => return self.follow(target, |b| b.key(target)),
            Content::Scalar { text, plain } => (text, *plain),
            _ => return fail("invalid map key: a key must be a scalar"),
        };
        let key = match scalar(node, text, plain)? {
            Resolved::Text(text) => {
                let shown = crate::json::quote(&text);
                return Ok((Str::from(text), shown));
            }
            Resolved::Bool(v) => v.to_string(),
            Resolved::Int(v) => v.to_string(),
            Resolved::Uint(v) => v.to_string(),
            Resolved::Float(v) => super::write::float_text(v),
            Resolved::Null => {
                return Err(YamlError::new(
                    "unsupported map key of type: %!s(<nil>), key: <nil>".into(),
                ));
            }
        };
        Ok((Str::from(key.as_str()), key))
    }

    fn merge(&mut self, node: &Rc<Node>, map: &mut ValueMapFiller) -> Result<(), YamlError> {
        const WANT: &str = "map merge requires map or sequence of maps as the value";
        match &node.content {
            Content::Map(entries) => {
                self.count()?;
                self.fill(entries, map)
            }
            Content::Alias(target) => match &target.content {
                Content::Map(entries) => self.follow(target, |b| {
                    b.count()?;
                    b.fill(entries, map)
                }),
                _ => fail(WANT),
            },
            Content::List(list) => {
                // Earlier maps take precedence, so they come last.
                for node in list.iter().rev() {
                    if matches!(node.content, Content::List(_) | Content::Scalar { .. }) {
                        return fail(WANT);
                    }
                    self.merge(node, map)?;
                }
                Ok(())
            }
            Content::Scalar { .. } => fail(WANT),
        }
    }
}

fn is_merge(node: &Node) -> bool {
    match &node.content {
        Content::Scalar { text, plain } if text == "<<" => {
            *plain || node.tag.as_deref() == Some("tag:yaml.org,2002:merge")
        }
        _ => false,
    }
}

/// A scalar with its tag applied.
enum Resolved {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
}

fn scalar_value(node: &Node, text: &str, plain: bool) -> Result<Value, YamlError> {
    Ok(match scalar(node, text, plain)? {
        Resolved::Null => Value::Null,
        Resolved::Bool(v) => Value::Bool(v),
        Resolved::Int(v) => Value::Int(v),
        Resolved::Uint(v) => Value::Float(v as f64),
        Resolved::Float(v) if v.is_nan() => return fail_json("NaN"),
        Resolved::Float(v) if v.is_infinite() => {
            return fail_json(if v > 0.0 { "+Inf" } else { "-Inf" });
        }
        // On the way through JSON a whole float loses its point and becomes an integer.
        Resolved::Float(v) if v.fract() == 0.0 && v.abs() < 9.2e18 => Value::Int(v as i64),
        Resolved::Float(v) => Value::Float(v),
        Resolved::Text(text) => Value::Str(Str::from(text)),
    })
}

fn fail_json<T>(value: &str) -> Result<T, YamlError> {
    Err(YamlError::new(format!("json: unsupported value: {value}")))
}

const STANDARD: &str = "tag:yaml.org,2002:";

fn scalar(node: &Node, text: &str, plain: bool) -> Result<Resolved, YamlError> {
    let own = || Resolved::Text(text.to_owned());
    let tag = match &node.tag {
        None if !plain => return Ok(own()),
        None => "",
        Some(tag) => match tag.strip_prefix(STANDARD) {
            Some("str") => return Ok(own()),
            Some("binary") => {
                return match crate::json::text::decode_base64(text.as_bytes()) {
                    Ok(bytes) => Ok(Resolved::Text(String::from_utf8_lossy(&bytes).into_owned())),
                    Err(_) => fail("!!binary value contains invalid base64 data"),
                };
            }
            Some(name @ ("bool" | "int" | "float" | "null" | "timestamp")) => name,
            _ => return Ok(own()),
        },
    };
    let (found, resolved) = match resolve(text) {
        Scalar::Null => ("null", Resolved::Null),
        Scalar::Bool(v) => ("bool", Resolved::Bool(v)),
        Scalar::Int(v) if tag == "float" => ("float", Resolved::Float(v as f64)),
        Scalar::Int(v) => ("int", Resolved::Int(v)),
        Scalar::Uint(v) => ("int", Resolved::Uint(v)),
        Scalar::Float(v) => ("float", Resolved::Float(v)),
        Scalar::Timestamp => ("timestamp", own()),
        Scalar::Text => ("str", own()),
    };
    if tag.is_empty() || tag == found {
        return Ok(resolved);
    }
    if tag == "float"
        && found == "timestamp"
        && let Some(value) = parse_float(text)
    {
        return Ok(Resolved::Float(value));
    }
    fail(format!("cannot decode !!{found} `{text}` as a !!{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        match decode_value(text.as_bytes()) {
            Ok(value) => String::from_utf8(crate::json::encode_value(&value)).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn converts_as_kubectl() {
        for (yaml, expected) in [
            ("", "null"),
            (
                "a: yes\nb: 'yes'\nc: 014\nd: 1.0\ne: 1e3\nf: ~\ng:",
                r#"{"a":true,"b":"yes","c":12,"d":1,"e":1000,"f":null,"g":null}"#,
            ),
            ("1: a\ntrue: b\n1.5: c", r#"{"1":"a","1.5":"c","true":"b"}"#),
            ("a: 2020-01-01T00:00:00Z", r#"{"a":"2020-01-01T00:00:00Z"}"#),
            (
                "base: &b {p: 1, q: 2}\nc:\n  <<: *b\n  q: 3\ny: 1",
                r#"{"base":{"p":1,"q":2},"c":{"p":1,"q":3},"true":1}"#,
            ),
            ("a: &x [1, 2]\nb: *x", r#"{"a":[1,2],"b":[1,2]}"#),
            ("<<: [{a: 1}, {a: 2, b: 3}]", r#"{"a":1,"b":3}"#),
            (
                "a: !!str 5\nb: !!int \"7\"\nc: !!binary aGk=",
                r#"{"a":"5","b":7,"c":"hi"}"#,
            ),
            (
                "a: |\n  x\n  y\nb: >-\n  x\n  y",
                r#"{"a":"x\ny\n","b":"x y"}"#,
            ),
            (
                r#"{"json": ["\u00e9", 1.5, null]}"#,
                r#"{"json":["é",1.5,null]}"#,
            ),
            ("---\na: 1\n---\nb: 2", r#"{"a":1}"#),
            ("a: 1\na: 2", r#"{"a":2}"#),
        ] {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn words_errors_as_upstream() {
        for (yaml, expected) in [
            (
                "a: b: c",
                "yaml: mapping values are not allowed in this context",
            ),
            (
                "x: 1\na: b: c",
                "yaml: line 2: mapping values are not allowed in this context",
            ),
            ("a: *x", "yaml: unknown anchor 'x' referenced"),
            ("a: [1", "yaml: line 1: did not find expected ',' or ']'"),
            ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
            (
                "<<: 1",
                "yaml: map merge requires map or sequence of maps as the value",
            ),
            ("a: .nan", "json: unsupported value: NaN"),
        ] {
            assert_eq!(json(yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn strict_lists_repeated_keys() {
        let (value, problems) = decode_value_strict(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").unwrap();
        assert_eq!(
            problems,
            [
                r#"line 4: key "c" already set in map"#,
                r#"line 5: key "a" already set in map"#
            ]
        );
        assert_eq!(value["a"], Value::Int(1));
    }

    #[test]
    fn streams_hold_many_documents() {
        let values = decode_documents(b"a: 1\n---\n---\nb: 2\n...\n").unwrap();
        assert_eq!(values.len(), 3);
        assert!(values[1].is_null());
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..9 {
            let p = i - 1;
            bomb.push_str(&format!(
                "a{i}: &a{i} [*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p}]\n"
            ));
        }
        assert_eq!(json(&bomb), "yaml: document contains excessive aliasing");
        assert_eq!(
            json(&"[".repeat(5_000)),
            "yaml: exceeded max depth of 10000"
        );
    }
}
