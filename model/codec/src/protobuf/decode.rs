//! Protobuf into typed messages, driven by the field table.
//! Invariant: repeated occurrences append to lists and merge into messages, as in upstream's generated code;
//! unknown fields are skipped. Text that is not UTF-8 gets U+FFFD, because texts are UTF-8 here.

use super::wire::{Reader, WireType};
use super::{DEPTH_MAX, WireError};
use corten_core::{
    Bin, Duration, Field, IntOrString, Kind, ListMut, MapFiller, MicroTime, MsgMut, Quantity,
    RawJson, Shape, Slot, Str, Time,
};

type Wire<T> = Result<T, WireError>;

/// Decodes `bytes` into `message`, over what it holds already.
pub fn decode_message(bytes: &[u8], message: MsgMut<'_>) -> Result<(), WireError> {
    read_message(bytes, message, 0)
}

fn read_message(bytes: &[u8], mut message: MsgMut<'_>, depth: usize) -> Wire<()> {
    if depth > DEPTH_MAX {
        return Err(WireError::Depth);
    }
    let msg = message.msg();
    let mut reader = Reader::new(bytes);
    let mut entries: Vec<(usize, &[u8])> = Vec::new();
    while !reader.is_empty() {
        let (number, wire) = reader.field_tag(msg.name)?;
        match msg.find_number(number) {
            Some(index) => {
                let field = &msg.fields[index];
                if field.shape == Shape::Map {
                    check(wire, WireType::Bytes, field)?;
                    entries.push((index, reader.bytes()?));
                    continue;
                }
                let slot = message.field(index);
                read_field(&mut reader, wire, field, slot, depth)?;
            }
            None => reader.skip(wire)?,
        }
    }
    // Maps at the end and each as a whole: their entries may be many, and come in any order.
    entries.sort_by_key(|(index, _)| *index);
    for of_field in entries.chunk_by(|a, b| a.0 == b.0) {
        let index = of_field[0].0;
        if let Slot::Map(mut map) = message.field(index) {
            map.make();
            let mut map = MapFiller::new(map);
            for (_, entry) in of_field {
                read_entry(entry, &mut map, &msg.fields[index], depth)?;
            }
        }
    }
    Ok(())
}

fn expected(kind: Kind) -> WireType {
    match kind {
        Kind::Bool | Kind::I32 | Kind::I64 => WireType::Varint,
        Kind::F64 => WireType::Fixed64,
        _ => WireType::Bytes,
    }
}

fn check(wire: WireType, expected: WireType, field: &'static Field) -> Wire<()> {
    if wire == expected {
        return Ok(());
    }
    Err(WireError::WrongWireType {
        found: wire as u8,
        field: field.key,
    })
}

fn read_field(
    reader: &mut Reader<'_>,
    wire: WireType,
    field: &'static Field,
    slot: Slot<'_>,
    depth: usize,
) -> Wire<()> {
    match slot {
        Slot::List(list) if field.wrapped() => {
            check(wire, WireType::Bytes, field)?;
            read_wrapped(reader.bytes()?, list, field)
        }
        Slot::List(mut list) if field.shape == Shape::List => {
            let scalar = expected(field.kind);
            if wire == WireType::Bytes && scalar != WireType::Bytes {
                let mut packed = Reader::new(reader.bytes()?);
                while !packed.is_empty() {
                    read_value(&mut packed, list.push(), depth)?;
                }
                return Ok(());
            }
            check(wire, scalar, field)?;
            read_value(reader, list.push(), depth)
        }
        slot => {
            check(wire, expected(field.kind), field)?;
            read_value(reader, slot, depth)
        }
    }
}

/// A list that is a message with `items = 1`; the message alone makes the list not nil.
fn read_wrapped(bytes: &[u8], mut list: ListMut<'_>, field: &'static Field) -> Wire<()> {
    list.make();
    read_items(bytes, &mut list, field)
}

fn read_items(bytes: &[u8], list: &mut ListMut<'_>, field: &'static Field) -> Wire<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag()? {
            (1, wire) => {
                check(wire, WireType::Bytes, field)?;
                read_value(&mut reader, list.push(), 0)?;
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(())
}

/// The payload of an entry's value, read before its key may be known.
enum Payload<'a> {
    Bytes(&'a [u8]),
    /// A varint or the bits of a float.
    Number(u64),
}

/// One entry of a map; a missing key or value is the zero one. Upstream does not look at wire types here.
fn read_entry(
    bytes: &[u8],
    map: &mut MapFiller<'_>,
    field: &'static Field,
    depth: usize,
) -> Wire<()> {
    let mut reader = Reader::new(bytes);
    let mut key = Str::EMPTY;
    let mut value = None;
    let wire_of_value = match map.kind() {
        Kind::StrList => WireType::Bytes,
        kind => expected(kind),
    };
    while !reader.is_empty() {
        match reader.tag()? {
            (1, _) => key = read_text(reader.bytes()?),
            (2, _) => {
                value = Some(match wire_of_value {
                    WireType::Varint => Payload::Number(reader.varint()?),
                    WireType::Fixed64 => Payload::Number(reader.fixed64()?),
                    _ => Payload::Bytes(reader.bytes()?),
                });
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    match (map.insert(key), value) {
        (Slot::List(mut list), Some(Payload::Bytes(bytes))) => read_items(bytes, &mut list, field),
        (slot, Some(Payload::Bytes(bytes))) => read_payload(bytes, slot, depth),
        (Slot::Bool(place), Some(Payload::Number(n))) => {
            *place = n != 0;
            Ok(())
        }
        (Slot::I32(place), Some(Payload::Number(n))) => {
            *place = n as i32;
            Ok(())
        }
        (Slot::I64(place), Some(Payload::Number(n))) => {
            *place = n as i64;
            Ok(())
        }
        (Slot::F64(place), Some(Payload::Number(n))) => {
            *place = f64::from_bits(n);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn read_text(bytes: &[u8]) -> Str {
    match std::str::from_utf8(bytes) {
        Ok(text) => Str::from(text),
        Err(_) => Str::from(String::from_utf8_lossy(bytes)),
    }
}

fn read_value(reader: &mut Reader<'_>, slot: Slot<'_>, depth: usize) -> Wire<()> {
    match slot {
        Slot::Bool(place) => *place = reader.varint()? != 0,
        Slot::I32(place) => *place = reader.varint()? as i32,
        Slot::I64(place) => *place = reader.varint()? as i64,
        Slot::F64(place) => *place = f64::from_bits(reader.fixed64()?),
        slot => return read_payload(reader.bytes()?, slot, depth),
    }
    Ok(())
}

/// A length-delimited value.
fn read_payload(bytes: &[u8], slot: Slot<'_>, depth: usize) -> Wire<()> {
    match slot {
        Slot::Str(place) => *place = read_text(bytes),
        Slot::Bin(place) => *place = Bin::from(bytes),
        Slot::Msg(message) => read_message(bytes, message, depth + 1)?,
        Slot::Time(place) => {
            *place = read_time(bytes)?.map_or(Time::ZERO, |(s, _)| Time::from_unix(s))
        }
        Slot::MicroTime(place) => {
            *place = read_time(bytes)?.map_or(MicroTime::ZERO, |(seconds, nanos)| {
                // Go truncates towards zero and lets negative nanoseconds borrow a second.
                let micros = i64::from(nanos / 1_000);
                let seconds = seconds.wrapping_add(micros.div_euclid(1_000_000));
                MicroTime::from_unix(seconds, micros.rem_euclid(1_000_000) as u32)
            });
        }
        Slot::Duration(place) => read_numbers(bytes, |number, value| {
            if number == 1 {
                *place = Duration::from_nanos(value as i64);
            }
        })?,
        Slot::Quantity(place) => read_quantity(bytes, place)?,
        Slot::IntOrString(place) => read_int_or_string(bytes, place)?,
        Slot::Raw(place) => read_raw(bytes, place)?,
        // Numbers are not length-delimited; lists and maps inside of lists do not exist.
        Slot::Bool(_)
        | Slot::I32(_)
        | Slot::I64(_)
        | Slot::F64(_)
        | Slot::List(_)
        | Slot::Map(_) => {}
    }
    Ok(())
}

/// Hands every varint field to `take`; others are skipped.
fn read_numbers(bytes: &[u8], mut take: impl FnMut(u32, u64)) -> Wire<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.field_tag("Timestamp")? {
            (number, WireType::Varint) => take(number, reader.varint()?),
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(())
}

/// Seconds and nanoseconds; an empty message is the zero time.
fn read_time(bytes: &[u8]) -> Wire<Option<(i64, i32)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    read_numbers(bytes, |number, value| match number {
        1 => seconds = value as i64,
        2 => nanos = value as i32,
        _ => {}
    })?;
    Ok(Some((seconds, nanos)))
}

fn read_quantity(bytes: &[u8], place: &mut Quantity) -> Wire<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.field_tag("Quantity")? {
            (1, WireType::Bytes) => {
                let text = reader.bytes()?;
                *place = Quantity::parse(&String::from_utf8_lossy(text))
                    .map_err(|e| WireError::Value(e.to_string()))?;
            }
            (1, wire) => {
                return Err(WireError::WrongWireType {
                    found: wire as u8,
                    field: "String_",
                });
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(())
}

fn read_int_or_string(bytes: &[u8], place: &mut IntOrString) -> Wire<()> {
    let mut reader = Reader::new(bytes);
    let (mut kind, mut number, mut text) = (0u64, 0i32, Str::EMPTY);
    while !reader.is_empty() {
        match reader.field_tag("IntOrString")? {
            (1, WireType::Varint) => kind = reader.varint()?,
            (2, WireType::Varint) => number = reader.varint()? as i32,
            (3, WireType::Bytes) => text = read_text(reader.bytes()?),
            (number @ 1..=3, wire) => {
                let field = ["Type", "IntVal", "StrVal"][number as usize - 1];
                return Err(WireError::WrongWireType {
                    found: wire as u8,
                    field,
                });
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    *place = if kind == 0 {
        IntOrString::Int(number)
    } else {
        IntOrString::String(text)
    };
    Ok(())
}

fn read_raw(bytes: &[u8], place: &mut RawJson) -> Wire<()> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.field_tag("RawExtension")? {
            (1, WireType::Bytes) => *place = RawJson(Bin::from(reader.bytes()?)),
            (1, wire) => {
                return Err(WireError::WrongWireType {
                    found: wire as u8,
                    field: "Raw",
                });
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(())
}
