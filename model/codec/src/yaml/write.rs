//! Values as block YAML in Go's layout: sorted keys, lists not indented, texts quoted only where they must be.
//! Invariant: byte-equal to the emitter behind `kubectl -o yaml`; texts are folded at spaces beyond column 80.

use super::resolve::{Scalar, is_base60, resolve};
use corten_core::Value;
use std::cmp::Ordering;

/// The YAML of a value, with a final line break.
pub fn encode_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_value(value, &mut out);
    out
}

/// Appends the YAML of a value, with a final line break.
pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    let mut emitter = Emitter {
        out,
        column: 0,
        whitespace: true,
        indention: true,
    };
    emitter.node(value, -1, Context::Root);
    emitter.line(0);
}

/// A float as Go's `%g` prints it, with YAML's names for what is not a number.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return ".nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            ".inf".into()
        } else {
            "-.inf".into()
        };
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A float on its way through JSON: whole ones that fit 64 bits become integers.
fn number_text(value: f64) -> String {
    if value.fract() == 0.0 && (-9.3e18..1.85e19).contains(&value) {
        return format!("{}", value as i128);
    }
    float_text(value)
}

/// Lines longer than this are folded.
const WIDTH: i32 = 80;

#[derive(Clone, Copy, PartialEq)]
enum Context {
    Root,
    List,
    Map,
    Key,
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

struct Emitter<'o> {
    out: &'o mut Vec<u8>,
    column: i32,
    /// Whether the last character was white space.
    whitespace: bool,
    /// Whether the line so far is only indentation and `-`, `?`, `:`.
    indention: bool,
}

impl Emitter<'_> {
    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.chars().count() as i32;
    }

    fn line_break(&mut self) {
        self.out.push(b'\n');
        self.column = 0;
    }

    /// Goes to `indent` on this line if nothing stands there yet, on the next one otherwise.
    fn line(&mut self, indent: i32) {
        let indent = indent.max(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break();
        }
        while self.column < indent {
            self.put(" ");
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &str, needs_space: bool, keeps_indention: bool) {
        if needs_space && !self.whitespace {
            self.put(" ");
        }
        self.put(text);
        self.whitespace = false;
        self.indention = self.indention && keeps_indention;
    }

    fn node(&mut self, value: &Value, indent: i32, context: Context) {
        match value {
            Value::Map(map) if map.is_empty() => self.indicator("{}", true, false),
            Value::List(list) if list.is_empty() => self.indicator("[]", true, false),
            Value::Map(map) => {
                let inner = if indent < 0 { 0 } else { indent + 2 };
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by(|a, b| compare_keys(a.0, b.0));
                for (key, value) in keys {
                    self.line(inner);
                    self.entry(key, value, inner);
                }
            }
            Value::List(list) => {
                // In a mapping, lists stand at the column of their key.
                let compact = context == Context::Map && !self.indention;
                let inner = match (indent < 0, compact) {
                    (true, _) => 0,
                    (false, true) => indent,
                    (false, false) => indent + 2,
                };
                for element in list {
                    self.line(inner);
                    self.indicator("-", true, true);
                    self.node(element, inner, Context::List);
                }
            }
            Value::Null => self.plain("null"),
            Value::Bool(v) => self.plain(if *v { "true" } else { "false" }),
            Value::Int(v) => self.plain(&v.to_string()),
            Value::Float(v) => self.plain(&number_text(*v)),
            Value::Str(text) => self.text(text, indent, context),
        }
    }

    fn entry(&mut self, key: &str, value: &Value, indent: i32) {
        let simple = key.len() <= 128 && !Analysis::of(key).multiline;
        if simple {
            self.text(key, indent, Context::Key);
            self.indicator(":", false, false);
        } else {
            self.indicator("?", true, true);
            self.text(key, indent, Context::Map);
            self.line(indent);
            self.indicator(":", true, true);
        }
        self.node(value, indent, Context::Map);
    }

    fn text(&mut self, text: &str, indent: i32, context: Context) {
        let indent = if indent < 0 { 2 } else { indent + 2 };
        match style_of(text, context) {
            Style::Plain if context == Context::Key => self.plain(text),
            Style::Plain => {
                if !self.whitespace {
                    self.put(" ");
                }
                self.folded(text, indent);
                self.whitespace = false;
                self.indention = false;
            }
            Style::Single => self.single_quoted(text, (context != Context::Key).then_some(indent)),
            Style::Double => self.double_quoted(text, (context != Context::Key).then_some(indent)),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn plain(&mut self, text: &str) {
        if !self.whitespace {
            self.put(" ");
        }
        self.put(text);
        self.whitespace = false;
        self.indention = false;
    }

    /// A text whose single spaces become line breaks where the line is long.
    fn folded(&mut self, text: &str, indent: i32) {
        let mut after_space = false;
        let mut chars = text.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            let inner = i > 0 && chars.peek().is_some_and(|(_, next)| *next != ' ');
            if c == ' ' && !after_space && self.column > WIDTH && inner {
                self.line(indent);
            } else {
                self.put(c.encode_utf8(&mut [0; 4]));
                self.indention = false;
            }
            after_space = c == ' ';
        }
    }

    /// `indent` is where folded lines go on; none where there is only one line.
    fn single_quoted(&mut self, text: &str, indent: Option<i32>) {
        self.indicator("'", true, false);
        let doubled = text.replace('\'', "''");
        match indent {
            Some(indent) => self.folded(&doubled, indent),
            None => self.put(&doubled),
        }
        self.indicator("'", false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn double_quoted(&mut self, text: &str, indent: Option<i32>) {
        self.indicator("\"", true, false);
        // Upstream looks for a byte order mark at the start, whatever character it is at.
        let marked = text.starts_with('\u{feff}');
        let (mut after_space, mut chars) = (false, text.char_indices().peekable());
        while let Some((i, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            let may_fold = c == ' ' && !after_space && i > 0 && next.is_some();
            after_space = c == ' ';
            if let Some(indent) = indent.filter(|_| may_fold && self.column > WIDTH) {
                self.line(indent);
                if next == Some(' ') {
                    self.put("\\");
                }
                continue;
            }
            if marked || !is_printable(c) || is_break(c) || c == '"' || c == '\\' {
                self.put(&escape(c));
            } else {
                self.put(c.encode_utf8(&mut [0; 4]));
            }
        }
        self.indicator("\"", false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn literal(&mut self, text: &str, indent: i32) {
        self.indicator("|", true, false);
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.indicator("2", false, false);
        }
        let mut ends = text.chars().rev();
        let last = ends.next().is_some_and(is_break);
        let before = ends.next();
        if !last {
            self.indicator("-", false, false);
        } else if before.is_none_or(is_break) {
            self.indicator("+", false, false);
        }
        self.line_break();
        self.indention = true;
        self.whitespace = true;
        let mut broken = true;
        for c in text.chars() {
            if c == '\n' {
                self.line_break();
                self.indention = true;
                broken = true;
                continue;
            }
            if broken {
                self.line(indent);
            }
            self.put(c.encode_utf8(&mut [0; 4]));
            self.indention = false;
            broken = false;
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Upstream judges by bytes; characters beyond the basic plane do not count as printable.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn escape(c: char) -> String {
    match c {
        '\0' => "\\0".into(),
        '\u{7}' => "\\a".into(),
        '\u{8}' => "\\b".into(),
        '\t' => "\\t".into(),
        '\n' => "\\n".into(),
        '\u{b}' => "\\v".into(),
        '\u{c}' => "\\f".into(),
        '\r' => "\\r".into(),
        '\u{1b}' => "\\e".into(),
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\u{85}' => "\\N".into(),
        '\u{a0}' => "\\_".into(),
        '\u{2028}' => "\\L".into(),
        '\u{2029}' => "\\P".into(),
        c if c <= '\u{ff}' => format!("\\x{:02X}", c as u32),
        c if c <= '\u{ffff}' => format!("\\u{:04X}", c as u32),
        c => format!("\\U{:08X}", c as u32),
    }
}

/// What a text contains, as far as styles depend on it.
#[derive(Default)]
struct Analysis {
    multiline: bool,
    plain: bool,
    single: bool,
    block: bool,
}

impl Analysis {
    fn of(text: &str) -> Analysis {
        if text.is_empty() {
            return Analysis {
                multiline: false,
                plain: true,
                single: true,
                block: false,
            };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut breaks, mut special, mut break_space, mut space_break) =
            (false, false, false, false);
        let (mut was_space, mut was_break, mut after_blank) = (false, false, true);
        let mut chars = text.chars().peekable();
        let mut first = true;
        while let Some(c) = chars.next() {
            let before_blank = chars.peek().is_none_or(|n| matches!(n, ' ' | '\t'));
            indicators |= match c {
                '#' if first || after_blank => true,
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                | '@' | '`' => first,
                '?' | '-' => first && before_blank,
                ':' => before_blank,
                _ => false,
            };
            special |= !is_printable(c);
            if c == ' ' {
                break_space |= was_break;
            } else if is_break(c) {
                breaks = true;
                space_break |= was_space;
            }
            was_space = c == ' ';
            was_break = is_break(c);
            after_blank = matches!(c, ' ' | '\t' | '\0') || was_break;
            first = false;
        }
        let edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let edges = edge(text.chars().next()) || edge(text.chars().next_back());
        let broken = space_break || special;
        Analysis {
            multiline: breaks,
            plain: !(edges || break_space || broken || breaks || indicators),
            single: !(break_space || broken),
            block: !(text.ends_with(' ') || broken),
        }
    }
}

fn style_of(text: &str, context: Context) -> Style {
    let analysis = Analysis::of(text);
    let resolves = resolve(text) != Scalar::Text || is_base60(text);
    let mut style = if text.contains('\n') {
        Style::Literal
    } else if resolves {
        Style::Double
    } else {
        Style::Plain
    };
    if context == Context::Key && analysis.multiline {
        style = Style::Double;
    }
    if style == Style::Plain && (!analysis.plain || (text.is_empty() && context == Context::Key)) {
        style = Style::Single;
    }
    if style == Style::Single && !analysis.single {
        style = Style::Double;
    }
    // Upstream breaks lines at separators, which YAML 1.2 readers do not undo, and prints a key that reads as a merge.
    if text.contains(['\u{2028}', '\u{2029}']) || (context == Context::Key && text == "<<") {
        style = Style::Double;
    }
    if style == Style::Literal && (!analysis.block || context == Context::Key) {
        style = Style::Double;
    }
    style
}

/// Upstream's order of keys: letters by code point, after everything else; runs of digits by number.
fn compare_keys(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Leading zeros count once a non-zero digit precedes them.
    let mut start = 0i64;
    if x == '0' || y == '0' {
        let digits = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
        start = i64::from(digits.into_iter().any(|c| *c != '0'));
    }
    let number = |chars: &[char]| {
        let digits = chars[at..].iter().take_while(|c| c.is_ascii_digit());
        digits.fold((start, at), |(n, end), c| {
            (
                n.wrapping_mul(10)
                    .wrapping_add(i64::from(*c as u32 - '0' as u32)),
                end + 1,
            )
        })
    };
    number(&a).cmp(&number(&b)).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        let value = crate::json::decode_value(json.as_bytes()).unwrap();
        String::from_utf8(encode_value(&value)).unwrap()
    }

    #[test]
    fn lays_out_as_go() {
        let json = r#"{"kind":"Pod","a":{"list":[{"x":1,"y":[1,[2,3]]},"s"],"empty":[],"none":{}},"n":null,"f":1.5}"#;
        assert_eq!(
            yaml(json),
            "a:\n  empty: []\n  list:\n  - x: 1\n    \"y\":\n    - 1\n    - - 2\n      - 3\n  - s\n  none: {}\nf: 1.5\nkind: Pod\n\"n\": null\n"
        );
        assert_eq!(yaml("[]"), "[]\n");
        assert_eq!(yaml("\"a\""), "a\n");
        assert_eq!(yaml("[{\"a\":1}]"), "- a: 1\n");
    }

    #[test]
    fn quotes_only_where_needed() {
        for (text, expected) in [
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("1", "\"1\""),
            ("014", "\"014\""),
            ("1:30", "\"1:30\""),
            ("2020-01-01T00:00:00Z", "\"2020-01-01T00:00:00Z\""),
            ("a b", "a b"),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("a #b", "'a #b'"),
            ("a#b", "a#b"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("it's", "it's"),
            ("'it'", "'''it'''"),
            ("*", "'*'"),
            ("%a", "'%a'"),
            (" a", "' a'"),
            ("a ", "'a '"),
            ("a\tb", "\"a\\tb\""),
            ("é", "é"),
            ("\u{1F600}", "\"\\U0001F600\""),
            ("a\nb", "|-\n  a\n  b"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\n\n", "|+\n  a\n"),
            (" a\nb", "|2-\n   a\n  b"),
            ("a \nb", "\"a \\nb\""),
            ("---", "'---'"),
            ("<<", "<<"),
            ("~", "\"~\""),
            ("null", "\"null\""),
        ] {
            let mut json = Vec::new();
            crate::json::write_text(text, &mut json);
            let shown = yaml(&format!("{{\"k\":{}}}", String::from_utf8(json).unwrap()));
            assert_eq!(shown, format!("k: {expected}\n"), "{text:?}");
        }
    }

    #[test]
    fn sorts_keys_as_go() {
        let mut keys = [
            "b1", "b10", "b2", "a", "B", "1", "10", "2", "a.b", "aB", "_x", "b01",
        ];
        keys.sort_by(|a, b| compare_keys(a, b));
        assert_eq!(
            keys,
            [
                "_x", "1", "2", "10", "B", "a", "a.b", "aB", "b1", "b01", "b2", "b10"
            ]
        );
    }

    #[test]
    fn floats_print_as_go() {
        for (value, text) in [
            (1.5, "1.5"),
            (1234567.5, "1.2345675e+06"),
            (0.00001, "1e-05"),
            (0.0001, "0.0001"),
            (1e21, "1e+21"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }
}
