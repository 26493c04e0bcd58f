//! Objects of any kind as JSON: the kind is peeked, built-in kinds go through their table, others become dynamic.
//! Invariant: one pass over the text; a dynamic object's metadata is typed all the same.

use super::decode::{Report, decode_message, decode_message_part};
use super::encode::{Encoder, Gap, Order};
use super::path::At;
use super::scan::Scanner;
use super::text::write_text;
use super::value::{decode_value_part, write_value};
use super::{JsonError, peek_kind};
use crate::decoded::{DecodeError, Decoded, Options, complete};
use corten_api::{Dynamic, Gvk, Object, Typed, kind_info};
use corten_core::{AnyMessage, MsgMut, MsgRef, Str, Value};

/// Decodes an object.
pub fn decode(bytes: &[u8], options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let mut meta = peek_kind(bytes).map_err(DecodeError::Kind)?;
    complete(&mut meta, options, || {
        String::from_utf8_lossy(bytes).into_owned()
    })?;
    let mut report = Report::default();
    let strict = if options.strict {
        Some(&mut report)
    } else {
        None
    };
    let object = match kind_info(Gvk::parse(&meta.api_version, &meta.kind)) {
        Some(info) => {
            let mut message = AnyMessage::zero(info.msg());
            decode_message(bytes, message.as_mut(), strict)?;
            Object::Typed(Typed::new(message, info).expect("a message made from the kind's table"))
        }
        None => {
            let mut dynamic = decode_dynamic(bytes, strict)?;
            dynamic.api_version = Str::from(meta.api_version);
            dynamic.kind = Str::from(meta.kind);
            Object::Dynamic(Box::new(dynamic))
        }
    };
    Ok(Decoded {
        object,
        problems: report.problems,
    })
}

/// Decodes an object that must not be taken for a built-in kind, whatever its apiVersion and kind say.
pub fn decode_dynamic(bytes: &[u8], mut report: Option<&mut Report>) -> Result<Dynamic, JsonError> {
    let mut dynamic = Dynamic::default();
    let mut scan = Scanner::new(bytes);
    if scan.peek() != b'{' {
        let name = super::decode::value_name(scan.peek());
        scan.skip()?;
        scan.finish()?;
        return Err(JsonError::Type(format!(
            "json: cannot unmarshal {name} into Go value of type map[string]interface {{}}"
        )));
    }
    scan.step();
    let mut error = None;
    let mut metadata_seen = false;
    let mut more = scan.next_member(true)?;
    while more {
        let key = scan.text()?;
        scan.colon()?;
        let at = At::Key(&At::Root, &key);
        let mut seen = false;
        if &*key == "metadata" {
            seen = std::mem::replace(&mut metadata_seen, true);
            let place = MsgMut::new(&mut dynamic.metadata);
            let part = decode_message_part(&mut scan, place, report.as_deref_mut(), &at)?;
            error = error.or(part);
        } else {
            let (value, part) = decode_value_part(&mut scan, report.as_deref_mut(), &at)?;
            error = error.or(part);
            match (&*key, value) {
                ("apiVersion", Value::Str(text)) => seen = !set(&mut dynamic.api_version, text),
                ("kind", Value::Str(text)) => seen = !set(&mut dynamic.kind, text),
                ("apiVersion" | "kind", _) => {}
                (_, value) => seen = dynamic.body.insert(Str::from(&*key), value).is_some(),
            }
        }
        if seen && let Some(report) = &mut report {
            report.add("duplicate field", &key);
        }
        more = scan.next_member(false)?;
    }
    scan.finish()?;
    match error {
        Some(message) => Err(JsonError::Type(message)),
        None => Ok(dynamic),
    }
}

/// Sets a text and tells whether it was empty before.
fn set(place: &mut Str, text: Str) -> bool {
    let was_empty = place.is_empty();
    *place = text;
    was_empty
}

/// The JSON of an object, without a final line break.
pub fn encode(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_object(object, &mut out);
    out
}

/// Appends the JSON of an object.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    match object {
        Object::Typed(typed) => super::write_message(typed.as_ref(), out),
        Object::Dynamic(dynamic) => drop(write_dynamic(
            dynamic,
            &mut Encoder::new(out, Order::Sorted),
        )),
    }
}

/// The JSON of an object without its resource version, and the place where that belongs.
/// None for kinds without metadata: their bytes are complete.
pub fn encode_with_gap(object: &Object) -> (Vec<u8>, Option<Gap>) {
    match object {
        Object::Typed(typed) => super::encode_message_with_gap(typed.as_ref()),
        Object::Dynamic(dynamic) => {
            let mut out = Vec::with_capacity(1024);
            let gap = write_dynamic(
                dynamic,
                &mut Encoder::new(&mut out, Order::Sorted).with_gap(),
            );
            (out, gap)
        }
    }
}

/// Members sorted by key, those of the metadata included, as upstream prints what it has no struct for.
fn write_dynamic(dynamic: &Dynamic, encoder: &mut Encoder<'_>) -> Option<Gap> {
    let mut mark = b'{';
    let mut body = dynamic.body.iter().peekable();
    let mut own = ["apiVersion", "kind", "metadata"].into_iter().peekable();
    loop {
        let from_body = match (body.peek(), own.peek()) {
            (Some((key, _)), Some(own)) => key.as_str() < *own,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => break,
        };
        encoder.out().push(std::mem::replace(&mut mark, b','));
        if from_body {
            let Some((key, value)) = body.next() else {
                break;
            };
            write_text(key, encoder.out());
            encoder.out().push(b':');
            write_value(value, encoder.out());
            continue;
        }
        let Some(key) = own.next() else { break };
        write_text(key, encoder.out());
        encoder.out().push(b':');
        match key {
            "apiVersion" => write_text(&dynamic.api_version, encoder.out()),
            "kind" => write_text(&dynamic.kind, encoder.out()),
            _ => encoder.message(MsgRef::new(&dynamic.metadata)),
        }
    }
    encoder.out().push(b'}');
    encoder.gap()
}
