//! The field table: what every generated struct says about itself, and how such a table is built in constants.
//! Invariant: a `Field` is only made by `field` from one reference into a message, so type tag and offset agree.
//! Leaves out reading and writing through the table (`access`, `ops`).

use crate::list::{Bin, List};
use crate::map::Map;
use crate::raw::RawJson;
use crate::str::Str;
use crate::{Duration, IntOrString, MicroTime, Quantity, Time};

/// What one value is, below its `Shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `bool`
    Bool,
    /// `int32`
    I32,
    /// `int64` (and Go's `int`)
    I64,
    /// `double`
    F64,
    /// A text
    Str,
    /// Bytes, base64 in JSON
    Bin,
    /// `metav1.Time`
    Time,
    /// `metav1.MicroTime`
    MicroTime,
    /// `metav1.Duration`
    Duration,
    /// `resource.Quantity`
    Quantity,
    /// `intstr.IntOrString`
    IntOrString,
    /// `RawExtension`, `FieldsV1`, `JSON`: a message with the text in field 1
    Raw,
    /// A list of texts as a map's value: `map[string]ExtraValue`, on the wire a message with `items = 1`
    StrList,
    /// A nested message
    Msg,
}

/// How often and how a field holds its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// The value itself
    Plain,
    /// `Option<T>` for scalars, `Option<Box<M>>` for messages: Go's pointer
    Pointer,
    /// `List<T>`
    List,
    /// `Map<T>`
    Map,
}

/// JSON leaves the field out when it is empty in Go's sense (never a plain message).
pub const OMIT: u16 = 1;
/// JSON leaves the field out when it is zero (`omitzero`).
pub const OMITZERO: u16 = 2;
/// An embedded message whose fields appear in the parent in JSON, though not in protobuf.
pub const INLINE: u16 = 4;
/// A list that is a message with `items = 1` on the wire (`Verbs`, `ExtraValue`).
pub const WRAPPED: u16 = 8;
/// Upstream's OpenAPI lists the field as required.
pub const REQUIRED: u16 = 16;
/// Set by `field`: copying the bytes copies the value.
pub(crate) const PLAIN_DATA: u16 = 0x8000;

/// How JSON shows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object with the fields as members.
    Struct,
    /// `JSONSchemaPropsOrBool`: `true`, `false` or the schema.
    OrBool,
    /// `JSONSchemaPropsOrArray`: the schema or an array of them.
    OrArray,
    /// `JSONSchemaPropsOrStringArray`: the schema or an array of texts.
    OrStringArray,
}

/// How server-side apply and strategic merge treat a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not said, which is atomic for apply.
    #[default]
    Unset,
    /// Replaced as a whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// A map by `map_keys`.
    Map,
}

/// What upstream's markers and struct tags say beyond the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// `+listType`
    pub list_type: ListType,
    /// `+listMapKey`, JSON names in order
    pub map_keys: &'static [&'static str],
    /// `+structType=atomic` or `+mapType=atomic` on the field
    pub atomic: bool,
    /// `patchStrategy`: empty, `merge`, `replace`, `retainKeys`, `merge,retainKeys`
    pub patch_strategy: &'static str,
    /// `patchMergeKey`, a JSON name or empty
    pub patch_merge_key: &'static str,
    /// `+default`, JSON text or empty
    pub default: &'static str,
    /// Values of the field's `+enum` type, empty when it has none
    pub values: &'static [&'static str],
}

impl Facts {
    /// Nothing said.
    pub const NONE: Facts = Facts {
        list_type: ListType::Unset,
        map_keys: &[],
        atomic: false,
        patch_strategy: "",
        patch_merge_key: "",
        default: "",
        values: &[],
    };

    /// A list that is a map by these keys.
    pub const fn list_map(mut self, keys: &'static [&'static str]) -> Facts {
        (self.list_type, self.map_keys) = (ListType::Map, keys);
        self
    }
    /// A list that is a set.
    pub const fn list_set(mut self) -> Facts {
        self.list_type = ListType::Set;
        self
    }
    /// A list that is replaced as a whole.
    pub const fn list_atomic(mut self) -> Facts {
        self.list_type = ListType::Atomic;
        self
    }
    /// A struct or map that is replaced as a whole.
    pub const fn atomic(mut self) -> Facts {
        self.atomic = true;
        self
    }
    /// How strategic merge treats a list or struct.
    pub const fn patch(mut self, strategy: &'static str, merge_key: &'static str) -> Facts {
        (self.patch_strategy, self.patch_merge_key) = (strategy, merge_key);
        self
    }
    /// The default as JSON text.
    pub const fn default(mut self, default: &'static str) -> Facts {
        self.default = default;
        self
    }
    /// The allowed values.
    pub const fn values(mut self, values: &'static [&'static str]) -> Facts {
        self.values = values;
        self
    }
}

/// One field of a message.
pub struct Field {
    /// JSON key.
    pub key: &'static str,
    /// Upstream's markers; `Facts::NONE` when there are none.
    pub facts: &'static Facts,
    msg: MsgPtr,
    pub(crate) offset: u32,
    /// Size of one element (of the value for plain fields).
    pub(crate) size: u32,
    /// Protobuf number; 0 when the field is not in protobuf (apiVersion, kind, types without protobuf).
    pub number: u16,
    pub(crate) flags: u16,
    /// What one value is.
    pub kind: Kind,
    /// How the field holds it.
    pub shape: Shape,
}

impl Field {
    /// The nested message of `Kind::Msg`, else None.
    #[inline]
    pub fn msg(&self) -> Option<&'static Msg> {
        self.msg.get()
    }
    /// Go's `omitempty`.
    #[inline]
    pub const fn omit_empty(&self) -> bool {
        self.flags & OMIT != 0
    }
    /// Go's `omitzero`.
    #[inline]
    pub const fn omit_zero(&self) -> bool {
        self.flags & OMITZERO != 0
    }
    /// Whether the nested message is embedded: its fields are the parent's in JSON.
    #[inline]
    pub const fn inline(&self) -> bool {
        self.flags & INLINE != 0
    }
    /// Whether the list is a message with `items = 1` on the wire.
    #[inline]
    pub const fn wrapped(&self) -> bool {
        self.flags & WRAPPED != 0
    }
    /// Whether upstream's OpenAPI lists the field as required.
    #[inline]
    pub const fn required(&self) -> bool {
        self.flags & REQUIRED != 0
    }
    /// Whether protobuf writes the field even when it is zero: its Go type cannot be nil.
    #[inline]
    pub const fn always_written(&self) -> bool {
        matches!(self.shape, Shape::Plain) && !matches!(self.kind, Kind::Bin) && self.number != 0
    }
    /// The same field with upstream's markers.
    pub const fn with_facts(mut self, facts: &'static Facts) -> Field {
        self.facts = facts;
        self
    }
}

/// A message type: its fields in every order that a format needs.
pub struct Msg {
    /// Go's name of the type, `PodSpec`.
    pub name: &'static str,
    /// Protobuf package, `k8s.io.api.core.v1`.
    pub package: &'static str,
    /// Fields in Go's order; embedded messages are one field with `inline()`.
    pub fields: &'static [Field],
    /// Fields as JSON shows them, in Go's order: embedded messages flattened. The same slice as `fields` without any.
    pub json: &'static [Field],
    /// Indexes into `fields` of those with a protobuf number, ascending by number.
    pub order: &'static [u8],
    /// Seed and slots of the perfect hash over the keys of `json`; see `find`.
    pub hash: (u64, &'static [u8]),
    /// How JSON shows it.
    pub form: Form,
    /// `+structType=atomic` on the type.
    pub atomic: bool,
    pub(crate) size: usize,
    pub(crate) align: usize,
    pub(crate) zero: *const u8,
    pub(crate) drop: unsafe fn(*mut u8),
}

// SAFETY: everything in it is constant; `zero` points to a constant.
unsafe impl Sync for Msg {}
// SAFETY: as above.
unsafe impl Send for Msg {}

impl Msg {
    /// Index in `json` of the field with this JSON key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let (seed, slots) = self.hash;
        let slot = *slots.get(hash_key(seed, key) as usize & slots.len().wrapping_sub(1))? as usize;
        let field = self.json.get(slot)?;
        (field.key.as_bytes() == key).then_some(slot)
    }

    /// The field with this JSON key.
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.find(key.as_bytes()).map(|i| &self.json[i])
    }

    /// Index in `fields` of the field with this protobuf number.
    #[inline]
    pub fn find_number(&self, number: u32) -> Option<usize> {
        let order = self.order;
        // Most messages number their fields 1, 2, 3 ...
        let guess = (number as usize).wrapping_sub(1);
        if let Some(&i) = order.get(guess)
            && u32::from(self.fields[i as usize].number) == number
        {
            return Some(i as usize);
        }
        let at = order
            .binary_search_by_key(&number, |&i| u32::from(self.fields[i as usize].number))
            .ok()?;
        Some(order[at] as usize)
    }

    /// Bytes that one value occupies in memory, without what it points to.
    pub const fn size(&self) -> usize {
        self.size
    }
}

impl std::fmt::Debug for Msg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Msg({}.{})", self.package, self.name)
    }
}
impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Field({:?} = {}, {:?} {:?})",
            self.key, self.number, self.shape, self.kind
        )
    }
}
impl PartialEq for Msg {
    /// Message types are statics: the same type is the same place.
    fn eq(&self, other: &Msg) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The hash behind `Msg::find`: mixes the first and the last 8 bytes and the length with `seed`.
/// The code generator searches a seed for which the low bits differ for all keys of a message.
#[inline]
pub fn hash_key(seed: u64, key: &[u8]) -> u64 {
    let n = key.len();
    let (head, tail) = if n >= 8 {
        (word(&key[..8]), word(&key[n - 8..]))
    } else {
        let mut bytes = [0u8; 8];
        bytes[..n].copy_from_slice(key);
        (u64::from_le_bytes(bytes), n as u64)
    };
    let mixed = (head ^ tail.rotate_left(29) ^ (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_mul(seed | 1);
    mixed >> 40
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// A pointer to a message type, or none. Raw, because recursive types would make their constants depend on themselves.
#[derive(Clone, Copy)]
pub struct MsgPtr(*const Msg);

// SAFETY: it points to a static.
unsafe impl Sync for MsgPtr {}
// SAFETY: as above.
unsafe impl Send for MsgPtr {}

impl MsgPtr {
    /// No message.
    pub const NONE: MsgPtr = MsgPtr(std::ptr::null());

    /// A message type, which is a static.
    pub const fn new(msg: &'static Msg) -> MsgPtr {
        MsgPtr(msg)
    }

    /// The message type.
    #[inline]
    pub const fn get(self) -> Option<&'static Msg> {
        // SAFETY: null, or made from a 'static reference.
        unsafe { self.0.as_ref() }
    }
}

/// A generated struct.
///
/// # Safety
/// `MSG` must describe `Self`: every field that owns memory must be in its table, with fields made by `field` from `ZERO_REF`.
/// Only the `message!` macro implements it.
pub unsafe trait Message: Sized + Send + Sync + 'static {
    /// All fields zero or nil.
    const ZERO: Self;
    /// A place that holds `ZERO`.
    const ZERO_REF: &'static Self;
    /// The type's table.
    const MSG: MsgPtr;

    /// The type's table.
    fn msg() -> &'static Msg {
        Self::MSG.get().expect("every message has a table")
    }
}

/// A type that lists may hold.
///
/// # Safety
/// `KIND` and `MSG` must tell what `Self` is.
pub unsafe trait Element: Sized {
    /// The tag of the type.
    const KIND: Kind;
    /// The table, for messages.
    const MSG: MsgPtr;
}

/// A type that maps may hold.
///
/// # Safety
/// As for `Element`.
pub unsafe trait MapValue: Sized {
    /// The tag of the type.
    const KIND: Kind;
    /// The table, for messages.
    const MSG: MsgPtr;
}

/// A type that a generated struct's field may have.
///
/// # Safety
/// The constants must tell what `Self` is.
pub unsafe trait FieldType: Sized {
    /// Zero or nil.
    const FIELD_ZERO: Self;
    /// The tag of one value.
    const KIND: Kind;
    /// How values are held.
    const SHAPE: Shape;
    /// The table, for messages.
    const MSG: MsgPtr;
    /// Size of one value.
    const SIZE: usize;
}

macro_rules! scalars {
    ($($type:ty, $kind:ident, $zero:expr;)*) => {$(
        // SAFETY: KIND names the type.
        unsafe impl Element for $type {
            const KIND: Kind = Kind::$kind;
            const MSG: MsgPtr = MsgPtr::NONE;
        }
        // SAFETY: as above.
        unsafe impl MapValue for $type {
            const KIND: Kind = Kind::$kind;
            const MSG: MsgPtr = MsgPtr::NONE;
        }
        // SAFETY: as above.
        unsafe impl FieldType for $type {
            const FIELD_ZERO: Self = $zero;
            const KIND: Kind = Kind::$kind;
            const SHAPE: Shape = Shape::Plain;
            const MSG: MsgPtr = MsgPtr::NONE;
            const SIZE: usize = size_of::<$type>();
        }
        // SAFETY: as above.
        unsafe impl FieldType for Option<$type> {
            const FIELD_ZERO: Self = None;
            const KIND: Kind = Kind::$kind;
            const SHAPE: Shape = Shape::Pointer;
            const MSG: MsgPtr = MsgPtr::NONE;
            const SIZE: usize = size_of::<$type>();
        }
    )*};
}

scalars! {
    bool, Bool, false;
    i32, I32, 0;
    i64, I64, 0;
    f64, F64, 0.0;
    Str, Str, Str::EMPTY;
    Bin, Bin, Bin::NIL;
    Time, Time, Time::ZERO;
    MicroTime, MicroTime, MicroTime::ZERO;
    Duration, Duration, Duration::ZERO;
    Quantity, Quantity, Quantity::ZERO;
    IntOrString, IntOrString, IntOrString::Int(0);
    RawJson, Raw, RawJson::NIL;
}

// SAFETY: StrList is List<Str>.
unsafe impl MapValue for List<Str> {
    const KIND: Kind = Kind::StrList;
    const MSG: MsgPtr = MsgPtr::NONE;
}
// SAFETY: a message by definition of Message.
unsafe impl<M: Message> Element for M {
    const KIND: Kind = Kind::Msg;
    const MSG: MsgPtr = M::MSG;
}
// SAFETY: as above.
unsafe impl<M: Message> MapValue for M {
    const KIND: Kind = Kind::Msg;
    const MSG: MsgPtr = M::MSG;
}
// SAFETY: as above.
unsafe impl<M: Message> FieldType for M {
    const FIELD_ZERO: Self = M::ZERO;
    const KIND: Kind = Kind::Msg;
    const SHAPE: Shape = Shape::Plain;
    const MSG: MsgPtr = M::MSG;
    const SIZE: usize = size_of::<M>();
}
// SAFETY: Option<Box<M>> is a nullable pointer to a message.
unsafe impl<M: Message> FieldType for Option<Box<M>> {
    const FIELD_ZERO: Self = None;
    const KIND: Kind = Kind::Msg;
    const SHAPE: Shape = Shape::Pointer;
    const MSG: MsgPtr = M::MSG;
    const SIZE: usize = size_of::<M>();
}
// SAFETY: as the element says.
unsafe impl<T: Element> FieldType for List<T> {
    const FIELD_ZERO: Self = List::NIL;
    const KIND: Kind = T::KIND;
    const SHAPE: Shape = Shape::List;
    const MSG: MsgPtr = T::MSG;
    const SIZE: usize = size_of::<T>();
}
// SAFETY: as the value says.
unsafe impl<T: MapValue> FieldType for Map<T> {
    const FIELD_ZERO: Self = Map::NIL;
    const KIND: Kind = T::KIND;
    const SHAPE: Shape = Shape::Map;
    const MSG: MsgPtr = T::MSG;
    const SIZE: usize = size_of::<T>();
}

/// The table entry of the field at `at` inside `base`: type tag and offset come from the one reference.
///
/// # Safety
/// `at` must point into `base`.
pub const unsafe fn field<M: Message, F: FieldType>(
    base: &'static M,
    at: &'static F,
    key: &'static str,
    number: u16,
    flags: u16,
) -> Field {
    // SAFETY: the caller says that `at` lies inside `base`, so both are of one object.
    let offset =
        unsafe { (at as *const F as *const u8).offset_from(base as *const M as *const u8) };
    assert!(offset >= 0 && offset as usize + size_of::<F>() <= size_of::<M>());
    let scalar = matches!(
        F::KIND,
        Kind::Bool
            | Kind::I32
            | Kind::I64
            | Kind::F64
            | Kind::Time
            | Kind::MicroTime
            | Kind::Duration
    );
    let plain = if scalar && matches!(F::SHAPE, Shape::Plain | Shape::Pointer) {
        PLAIN_DATA
    } else {
        0
    };
    Field {
        key,
        facts: &Facts::NONE,
        msg: F::MSG,
        offset: offset as u32,
        size: F::SIZE as u32,
        number,
        flags: flags | plain,
        kind: F::KIND,
        shape: F::SHAPE,
    }
}

/// The parts of a table that follow from the type alone; `message!` fills in the rest.
pub const fn layout<M: Message>(
    name: &'static str,
    package: &'static str,
    form: Form,
    atomic: bool,
    lists: (&'static [Field], &'static [Field], &'static [u8]),
    hash: (u64, &'static [u8]),
) -> Msg {
    assert!(hash.1.is_empty() || hash.1.len().is_power_of_two());
    Msg {
        name,
        package,
        fields: lists.0,
        json: lists.1,
        order: lists.2,
        hash,
        form,
        atomic,
        size: size_of::<M>(),
        align: align_of::<M>(),
        zero: M::ZERO_REF as *const M as *const u8,
        drop: drop_message::<M>,
    }
}

/// Drops the message at `at` in place.
unsafe fn drop_message<M: Message>(at: *mut u8) {
    // SAFETY: only called through a Msg whose values are Ms, with a pointer to a live one.
    unsafe { std::ptr::drop_in_place(at as *mut M) }
}
