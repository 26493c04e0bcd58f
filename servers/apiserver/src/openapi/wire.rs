//! Protobuf of OpenAPI documents, written field by field as gnostic does. Invariant: what is absent or a zero value is
//! left out; extensions and free values travel as YAML text.

use serde_json::Value;

pub(super) fn extensions(number: u32, of: &Value, out: &mut Writer) {
    for (name, value) in members(of).filter(|(name, _)| name.starts_with("x-")) {
        out.named(number, name, |out| out.text(2, Some(&yaml(value).into())));
    }
}

/// A value as YAML text, as gnostic keeps what it does not know.
fn yaml(value: &Value) -> String {
    let value = corten_codec::json::decode_value(value.to_string().as_bytes());
    value.map_or_else(
        |_| String::new(),
        |value| String::from_utf8_lossy(&corten_codec::yaml::encode_value(&value)).into_owned(),
    )
}

pub(super) fn members(of: &Value) -> impl Iterator<Item = (&String, &Value)> {
    of.as_object().into_iter().flat_map(|all| all.iter())
}

pub(super) fn elements(of: Option<&Value>) -> impl Iterator<Item = &Value> {
    of.and_then(Value::as_array).into_iter().flatten()
}

/// Protobuf: what is absent or a zero value is left out.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A text or message, even an empty one.
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number << 3 | 2));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn varint_field(&mut self, number: u32, value: u64) {
        self.varint(u64::from(number << 3));
        self.varint(value);
    }

    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(number, &inner.0);
    }

    /// A message if there is something to make it of.
    pub(super) fn part(
        &mut self,
        number: u32,
        of: Option<&Value>,
        write: impl FnOnce(&Value, &mut Writer),
    ) {
        if let Some(of) = of {
            self.message(number, |out| write(of, out));
        }
    }

    /// A pair of a name and a message.
    pub(super) fn named(&mut self, number: u32, name: &str, write: impl FnOnce(&mut Writer)) {
        self.message(number, |out| {
            out.bytes(1, name.as_bytes());
            out.message(2, write);
        });
    }

    pub(super) fn text(&mut self, number: u32, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str).filter(|t| !t.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    pub(super) fn texts(&mut self, number: u32, value: Option<&Value>) {
        for text in elements(value).filter_map(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    pub(super) fn any(&mut self, number: u32, value: Option<&Value>) {
        self.part(number, value, |value, out| {
            out.text(2, Some(&yaml(value).into()))
        });
    }

    pub(super) fn boolean(&mut self, number: u32, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.varint_field(number, 1);
        }
    }

    pub(super) fn integer(&mut self, number: u32, value: Option<&Value>) {
        if let Some(integer) = value.and_then(Value::as_i64).filter(|n| *n != 0) {
            self.varint_field(number, integer as u64);
        }
    }

    pub(super) fn double(&mut self, number: u32, value: Option<&Value>) {
        if let Some(double) = value.and_then(Value::as_f64).filter(|n| *n != 0.0) {
            self.set_double(number, double);
        }
    }

    /// A number, even zero.
    pub(super) fn set_double(&mut self, number: u32, double: f64) {
        self.varint(u64::from(number << 3 | 1));
        self.0.extend_from_slice(&double.to_le_bytes());
    }
}
