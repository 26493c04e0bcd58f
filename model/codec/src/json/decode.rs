//! JSON into typed messages, driven by the field table.
//! Invariant: syntax errors win over everything, then the first error of a custom type, then the first type error;
//! unknown and duplicate fields are collected with upstream's paths. One pass, no generics over types.

use super::path::{At, go_type};
use super::scan::Scanner;
use super::text::decode_base64;
use super::{DEPTH_MAX, JsonError, SyntaxError, quote};
use corten_core::{
    Bin, Duration, Form, IntOrString, Kind, ListMut, MapFiller, MapMut, MicroTime, Msg, MsgMut,
    Quantity, RawJson, Shape, Slot, Str, Time,
};
use std::borrow::Cow;
use std::collections::HashSet;

/// What strict decoding objects to.
#[derive(Debug, Default)]
pub struct Report {
    /// `unknown field "spec.foo"` and `duplicate field "spec.foo"`, at most 100, in the order found.
    pub problems: Vec<String>,
}

impl Report {
    /// More problems than this are dropped, as upstream does.
    const MAX: usize = 100;

    pub(crate) fn add(&mut self, what: &str, path: &str) {
        let problem = format!("{what} {}", quote(path));
        if self.problems.len() < Self::MAX && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// Decodes `bytes` into `message`, over what it holds already.
/// With a report, unknown and duplicate fields are collected there; without one they are ignored.
pub fn decode_message(
    bytes: &[u8],
    message: MsgMut<'_>,
    report: Option<&mut Report>,
) -> Result<(), JsonError> {
    let mut scan = Scanner::new(bytes);
    let error = decode_message_part(&mut scan, message, report, &At::Root)?;
    scan.finish()?;
    match error {
        Some(message) => Err(JsonError::Type(message)),
        None => Ok(()),
    }
}

/// Decodes the value at hand into `message`; gives the error of a value that does not fit, if any.
pub(super) fn decode_message_part(
    scan: &mut Scanner<'_>,
    message: MsgMut<'_>,
    report: Option<&mut Report>,
    at: &At,
) -> Result<Option<String>, SyntaxError> {
    let own = std::mem::replace(scan, Scanner::new(&[]));
    let mut decoder = Decoder {
        scan: own,
        report,
        quiet: 0,
        depth: 0,
        first_error: None,
        fatal: None,
    };
    if decoder.scan.peek() == b'n' {
        decoder.scan.literal("null")?;
    } else {
        decoder.message(message, at)?;
    }
    *scan = decoder.scan;
    Ok(decoder.fatal.or(decoder.first_error))
}

/// Go's word for a JSON value by its first byte.
pub(crate) fn value_name(byte: u8) -> &'static str {
    match byte {
        b'"' => "string",
        b't' | b'f' => "bool",
        b'[' => "array",
        b'{' => "object",
        b'n' => "null",
        _ => "number",
    }
}

type Scan<T> = Result<T, SyntaxError>;

struct Decoder<'a, 'r> {
    scan: Scanner<'a>,
    report: Option<&'r mut Report>,
    /// Above zero inside of custom types, whose own decoding is not strict.
    quiet: u32,
    depth: usize,
    first_error: Option<String>,
    /// The first error that makes Go stop.
    fatal: Option<String>,
}

impl Decoder<'_, '_> {
    #[inline]
    fn strict(&self) -> bool {
        self.report.is_some() && self.quiet == 0
    }

    #[cold]
    fn problem(&mut self, what: &str, path: &str) {
        if let Some(report) = &mut self.report {
            report.add(what, path);
        }
    }

    #[cold]
    fn type_error(value: &str, go_type: &str, at: &At) -> String {
        let go_type = at.go_alias().unwrap_or(go_type);
        match at.go_field() {
            Some(field) => format!(
                "json: cannot unmarshal {value} into Go struct field {field} of type {go_type}"
            ),
            None => format!("json: cannot unmarshal {value} into Go value of type {go_type}"),
        }
    }

    #[cold]
    fn save(&mut self, message: String) {
        self.first_error.get_or_insert(message);
    }

    #[cold]
    fn fail(&mut self, message: String) {
        self.fatal.get_or_insert(message);
    }

    /// Records that the value at hand does not fit and steps over it.
    #[cold]
    fn mismatch(&mut self, go_type: &str, at: &At) -> Scan<()> {
        let byte = self.scan.peek();
        self.scan.skip()?;
        self.save(Self::type_error(value_name(byte), go_type, at));
        Ok(())
    }

    /// As `mismatch`, for the types whose own decoder fails.
    #[cold]
    fn fatal_mismatch(&mut self, go_type: &str, at: &At) -> Scan<()> {
        let byte = self.scan.peek();
        self.scan.skip()?;
        self.fail(Self::type_error(value_name(byte), go_type, at));
        Ok(())
    }

    fn enter(&mut self) -> Scan<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            Err(self.scan.too_deep())
        } else {
            Ok(())
        }
    }

    fn message(&mut self, message: MsgMut<'_>, at: &At) -> Scan<()> {
        if message.msg().form != Form::Struct {
            return self.custom(message, at);
        }
        self.object(message, at)
    }

    fn object(&mut self, mut message: MsgMut<'_>, at: &At) -> Scan<()> {
        let msg = message.msg();
        if self.scan.peek() != b'{' {
            return self.mismatch(&go_type(msg), at);
        }
        self.enter()?;
        self.scan.step();
        let mut seen = [0u64; 2];
        let mut more = self.scan.next_member(true)?;
        while more {
            let key = self.scan.key()?;
            self.scan.colon()?;
            match msg.find(&key) {
                Some(index) => {
                    let (word, bit) = (index / 64 % 2, 1u64 << (index % 64));
                    if seen[word] & bit != 0 {
                        self.duplicate(&mut message, index, at);
                    }
                    seen[word] |= bit;
                    self.field(&mut message, index, at)?;
                }
                None => {
                    if self.strict() {
                        let path = at.member(&String::from_utf8_lossy(&key));
                        self.problem("unknown field", &path);
                    }
                    self.scan.skip()?;
                }
            }
            more = self.scan.next_member(false)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// A field that was there before: reported, and a list starts anew.
    #[cold]
    fn duplicate(&mut self, message: &mut MsgMut<'_>, index: usize, at: &At) {
        let field = &message.msg().json[index];
        if self.strict() {
            self.problem("duplicate field", &at.member(field.key));
        }
        if field.shape == Shape::List {
            message.clear_json(index);
        }
    }

    #[inline]
    fn field(&mut self, message: &mut MsgMut<'_>, index: usize, up: &At) -> Scan<()> {
        let at = At::Field(up, message.msg(), index);
        if self.scan.peek() == b'n' {
            self.scan.literal("null")?;
            match message.msg().json[index].shape {
                Shape::Plain => self.null(message.json(index), &at),
                _ => message.clear_json(index),
            }
            return Ok(());
        }
        let slot = message.json(index);
        self.value(slot, &at)
    }

    /// What `null` does to a place that cannot be nil: mostly nothing.
    fn null(&mut self, slot: Slot<'_>, at: &At) {
        match slot {
            Slot::Bin(place) => *place = Bin::NIL,
            Slot::Time(place) => *place = Time::ZERO,
            Slot::MicroTime(place) => *place = MicroTime::ZERO,
            Slot::Quantity(place) => *place = Quantity::ZERO,
            Slot::IntOrString(place) => *place = IntOrString::Int(0),
            Slot::Duration(_) => self.fail("time: invalid duration \"\"".into()),
            Slot::List(mut place) => place.set_nil(),
            Slot::Map(mut place) => place.set_nil(),
            Slot::Msg(mut message) => match message.msg().form {
                Form::Struct => {}
                Form::OrBool => self.fail("boolean or JSON schema expected".into()),
                Form::OrArray | Form::OrStringArray => message.clear(),
            },
            _ => {}
        }
        let _ = at;
    }

    /// Decodes the value at hand (not `null`) into a place.
    fn value(&mut self, slot: Slot<'_>, at: &At) -> Scan<()> {
        let byte = self.scan.peek();
        match slot {
            Slot::Str(place) if byte == b'"' => *place = to_str(self.scan.text()?),
            Slot::Str(_) => return self.mismatch("string", at),
            Slot::Msg(message) => return self.message(message, at),
            Slot::List(list) => return self.list(list, at),
            Slot::Map(map) => return self.map(map, at),
            Slot::I32(place) => {
                return self.number(at, "int32", |text| text.parse().ok(), place);
            }
            Slot::I64(place) => {
                return self.number(at, "int64", |text| text.parse().ok(), place);
            }
            Slot::F64(place) => {
                let finite = |text: &str| text.parse().ok().filter(|v: &f64| v.is_finite());
                return self.number(at, "float64", finite, place);
            }
            Slot::Bool(place) => match byte {
                b't' => {
                    self.scan.literal("true")?;
                    *place = true;
                }
                b'f' => {
                    self.scan.literal("false")?;
                    *place = false;
                }
                _ => return self.mismatch("bool", at),
            },
            Slot::Bin(place) => return self.bytes(place, at),
            Slot::Time(place) => {
                return self.own_text(at, |text| {
                    Time::parse(text)
                        .map(|t| *place = t)
                        .map_err(|e| e.to_string())
                });
            }
            Slot::MicroTime(place) => {
                return self.own_text(at, |text| {
                    MicroTime::parse(text)
                        .map(|t| *place = t)
                        .map_err(|e| e.to_string())
                });
            }
            Slot::Duration(place) => {
                return self.own_text(at, |text| {
                    Duration::parse(text)
                        .map(|t| *place = t)
                        .map_err(|e| e.to_string())
                });
            }
            Slot::Quantity(place) => return self.quantity(place),
            Slot::IntOrString(place) => return self.int_or_string(place, at),
            Slot::Raw(place) => {
                let start = self.scan.at();
                self.scan.skip()?;
                *place = RawJson(Bin::from(self.scan.since(start)));
            }
        }
        Ok(())
    }

    /// A number that `parse` accepts, or the error that it does not fit.
    #[inline]
    fn number<T>(
        &mut self,
        at: &At,
        go_type: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        place: &mut T,
    ) -> Scan<()> {
        if !matches!(self.scan.peek(), b'-' | b'0'..=b'9') {
            return self.mismatch(go_type, at);
        }
        let text = self.scan.number()?;
        match parse(text) {
            Some(value) => *place = value,
            None => self.save(Self::type_error(&format!("number {text}"), go_type, at)),
        }
        Ok(())
    }

    /// A text whose type reads it itself: its errors make Go stop.
    fn own_text(&mut self, at: &At, store: impl FnOnce(&str) -> Result<(), String>) -> Scan<()> {
        if self.scan.peek() != b'"' {
            return self.fatal_mismatch("string", at);
        }
        let text = self.scan.text()?;
        if let Err(message) = store(&text) {
            self.fail(message);
        }
        Ok(())
    }

    /// Upstream looks at the raw text: quotes are cut off, nothing is unescaped, numbers count as well.
    fn quantity(&mut self, place: &mut Quantity) -> Scan<()> {
        self.scan.peek();
        let start = self.scan.at();
        self.scan.skip()?;
        let raw = self.scan.since(start);
        let inner = raw
            .strip_prefix(b"\"")
            .and_then(|r| r.strip_suffix(b"\""))
            .unwrap_or(raw);
        match Quantity::parse(String::from_utf8_lossy(inner).trim()) {
            Ok(quantity) => *place = quantity,
            Err(error) => self.fail(error.to_string()),
        }
        Ok(())
    }

    fn int_or_string(&mut self, place: &mut IntOrString, at: &At) -> Scan<()> {
        match self.scan.peek() {
            b'"' => *place = IntOrString::String(to_str(self.scan.text()?)),
            b'-' | b'0'..=b'9' => {
                let text = self.scan.number()?;
                match text.parse() {
                    Ok(number) => *place = IntOrString::Int(number),
                    Err(_) => self.fail(Self::type_error(&format!("number {text}"), "int32", at)),
                }
            }
            _ => return self.fatal_mismatch("int32", at),
        }
        Ok(())
    }

    /// Base64 text, or an array of numbers as for any Go slice.
    fn bytes(&mut self, place: &mut Bin, at: &At) -> Scan<()> {
        match self.scan.peek() {
            b'"' => {
                let text = self.scan.key()?;
                match decode_base64(&text) {
                    Ok(bytes) => *place = Bin::from(bytes),
                    Err(offset) => self.save(format!("illegal base64 data at input byte {offset}")),
                }
                Ok(())
            }
            b'[' => {
                let mut bytes = Vec::new();
                self.scan.step();
                let mut more = self.scan.next_element(true)?;
                while more {
                    bytes.push(0u8);
                    let at = At::Index(at, bytes.len() - 1);
                    if self.scan.peek() == b'n' {
                        self.scan.literal("null")?;
                    } else if let Some(place) = bytes.last_mut() {
                        self.number(&at, "uint8", |text| text.parse().ok(), place)?;
                    }
                    more = self.scan.next_element(false)?;
                }
                *place = Bin::from(bytes);
                Ok(())
            }
            _ => self.mismatch("[]uint8", at),
        }
    }

    fn list(&mut self, mut list: ListMut<'_>, at: &At) -> Scan<()> {
        if self.scan.peek() != b'[' {
            let go_type = format!("[]{}", element_type(list.kind(), list.msg()));
            return self.mismatch(&go_type, at);
        }
        self.enter()?;
        self.scan.step();
        list.make();
        let mut index = 0;
        let mut more = self.scan.next_element(true)?;
        while more {
            let at = At::Index(at, index);
            let slot = list.push();
            if self.scan.peek() == b'n' {
                self.scan.literal("null")?;
                self.null(slot, &at);
            } else {
                self.value(slot, &at)?;
            }
            index += 1;
            more = self.scan.next_element(false)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn map(&mut self, mut map: MapMut<'_>, at: &At) -> Scan<()> {
        if self.scan.peek() != b'{' {
            let go_type = format!("map[string]{}", element_type(map.kind(), map.msg()));
            return self.mismatch(&go_type, at);
        }
        self.enter()?;
        self.scan.step();
        map.make();
        // Keys of an earlier occurrence of the whole map are no duplicates of this one's.
        let mut seen: Option<HashSet<Str>> = (!map.is_empty()).then(HashSet::new);
        let mut map = MapFiller::new(map);
        let mut more = self.scan.next_member(true)?;
        while more {
            let key = self.scan.text()?;
            self.scan.colon()?;
            let before = map.len();
            let slot = map.insert(Str::from(&*key));
            let inner = At::Key(at, &key);
            if self.scan.peek() == b'n' {
                self.scan.literal("null")?;
                self.null(slot, &inner);
            } else {
                self.value(slot, &inner)?;
            }
            if map.len() == before && self.strict() {
                let repeated = seen.as_ref().is_none_or(|seen| seen.contains(&*key));
                if repeated {
                    self.problem("duplicate field", &at.member(&key));
                }
            }
            if let Some(seen) = &mut seen {
                seen.insert(Str::from(&*key));
            }
            more = self.scan.next_member(false)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// The schema-or-something types of custom resource definitions.
    fn custom(&mut self, mut message: MsgMut<'_>, at: &At) -> Scan<()> {
        message.clear();
        let byte = self.scan.peek();
        self.quiet += 1;
        let done = match (message.msg().form, byte) {
            (Form::OrBool, b'{') => {
                if let Some(Slot::Bool(allows)) = place_of(&mut message, Kind::Bool) {
                    *allows = true;
                }
                self.custom_part(&mut message, Kind::Msg, Shape::Pointer, at)
            }
            (Form::OrBool, b't' | b'f') => {
                self.custom_part(&mut message, Kind::Bool, Shape::Plain, at)
            }
            (Form::OrBool, _) => {
                self.scan.skip()?;
                self.fail("boolean or JSON schema expected".into());
                Ok(())
            }
            (_, b'{') => self.custom_part(&mut message, Kind::Msg, Shape::Pointer, at),
            (Form::OrArray, b'[') => self.custom_part(&mut message, Kind::Msg, Shape::List, at),
            (_, b'[') => self.custom_part(&mut message, Kind::Str, Shape::List, at),
            _ => self.scan.skip(),
        };
        self.quiet -= 1;
        done
    }

    fn custom_part(
        &mut self,
        message: &mut MsgMut<'_>,
        kind: Kind,
        shape: Shape,
        at: &At,
    ) -> Scan<()> {
        let fields = message.msg().fields;
        match fields
            .iter()
            .position(|f| f.kind == kind && f.shape == shape)
        {
            Some(index) => self.value(message.field(index), at),
            None => self.scan.skip(),
        }
    }
}

fn place_of<'m>(message: &'m mut MsgMut<'_>, kind: Kind) -> Option<Slot<'m>> {
    let index = message.msg().fields.iter().position(|f| f.kind == kind)?;
    Some(message.field(index))
}

#[inline]
fn to_str(text: Cow<'_, str>) -> Str {
    match text {
        Cow::Borrowed(text) => Str::from(text),
        Cow::Owned(text) => Str::from(text),
    }
}

/// Go's name of an element type in errors.
fn element_type(kind: Kind, msg: Option<&'static Msg>) -> String {
    match kind {
        Kind::Bool => "bool".into(),
        Kind::I32 => "int32".into(),
        Kind::I64 => "int64".into(),
        Kind::F64 => "float64".into(),
        Kind::Str => "string".into(),
        Kind::Bin => "[]uint8".into(),
        Kind::Time => "v1.Time".into(),
        Kind::MicroTime => "v1.MicroTime".into(),
        Kind::Duration => "v1.Duration".into(),
        Kind::Quantity => "resource.Quantity".into(),
        Kind::IntOrString => "intstr.IntOrString".into(),
        Kind::Raw => "runtime.RawExtension".into(),
        Kind::StrList => "[]string".into(),
        Kind::Msg => msg.map_or_else(String::new, go_type),
    }
}
