//! Clone, equality and debug output of any message, driven by its table.
//! Invariant: a clone copies the bytes of the message and then makes everything that owns memory its own.
//! Leaves out drop, which is the compiler's.

use crate::access::{MsgMut, MsgRef, Ref};
use crate::erased::{KEY, RawList, Type, allocate};
use crate::many::{ListRef, MapRef};
use crate::str::Str;
use crate::table::{Field, Kind, Message, Msg, PLAIN_DATA, Shape};
use std::alloc::Layout;
use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};

/// A deep copy.
pub fn clone<M: Message>(message: &M) -> M {
    let mut copy = MaybeUninit::<M>::uninit();
    // SAFETY: the bytes of a live message, made an own message before anybody sees it.
    unsafe {
        std::ptr::copy_nonoverlapping(message, copy.as_mut_ptr(), 1);
        own_message(M::msg(), copy.as_mut_ptr() as *mut u8);
        copy.assume_init()
    }
}

/// Turns the bytes of a live message at `at` into a message of its own.
///
/// # Safety
/// `at` holds a copy of the bytes of a live message of the table, which stays alive and unchanged meanwhile.
pub(crate) unsafe fn own_message(msg: &'static Msg, at: *mut u8) {
    for field in msg.fields {
        if field.flags & PLAIN_DATA == 0 {
            // SAFETY: the caller's promise, for the field's part.
            unsafe { own_field(field, at.add(field.offset as usize)) };
        }
    }
}

/// # Safety
/// As for `own_message`, with `at` the field's place.
#[allow(
    clippy::clone_on_copy,
    reason = "one line for every kind, some of which are Copy"
)]
unsafe fn own_field(field: &'static Field, at: *mut u8) {
    use crate::erased::by_kind;
    let of = field.of();
    // SAFETY: the caller's promise; copied owners are overwritten without being dropped.
    unsafe {
        match field.shape {
            Shape::Plain => of.own(at),
            Shape::Pointer => by_kind!(of.kind, T => {
                let copy = (*(at as *const ManuallyDrop<Option<T>>)).clone();
                (at as *mut ManuallyDrop<Option<T>>).write(copy)
            }, msg => {
                let boxed = at as *mut *mut u8;
                if !(*boxed).is_null() {
                    let copy = allocate(of.element());
                    std::ptr::copy_nonoverlapping(*boxed, copy, of.size);
                    of.own(copy);
                    *boxed = copy;
                }
            }),
            Shape::List => own_places(&mut *(at as *mut RawList), of.element(), |place| {
                if !of.plain() {
                    of.own(place);
                }
            }),
            Shape::Map => own_places(&mut *(at as *mut RawList), of.entry(), |place| {
                Type {
                    kind: Kind::Str,
                    size: KEY,
                    msg: None,
                }
                .own(place);
                of.own(place.add(KEY));
            }),
        }
    }
}

/// Gives a copied list its own block and makes every place of it its own.
///
/// # Safety
/// `list` is a copy of a live list with places of this layout.
unsafe fn own_places(list: &mut RawList, place: Layout, own: impl Fn(*mut u8)) {
    if list.len == 0 {
        // Nil stays null; an empty list points nowhere.
        list.cap = 0;
        if !list.ptr.is_null() {
            list.ptr = std::ptr::without_provenance_mut(place.align());
        }
        return;
    }
    let bytes = place.size() * list.len as usize;
    let block = allocate(
        Layout::from_size_align(bytes, place.align()).expect("as large as the list it copies"),
    );
    // SAFETY: the old block holds len places; the new one has room for them.
    unsafe { std::ptr::copy_nonoverlapping(list.ptr, block, bytes) };
    (list.ptr, list.cap) = (block, if bytes == 0 { 0 } else { list.len });
    for i in 0..list.len as usize {
        // SAFETY: place i of the new block.
        own(unsafe { block.add(i * place.size()) });
    }
}

/// How two messages are compared.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Exact,
    Semantic,
    /// As they are written: nil differs from empty, and quantities compare by text.
    Written,
}

/// Exact equality: nil differs from empty. Quantities compare by amount.
pub fn eq<M: Message>(a: &M, b: &M) -> bool {
    eq_messages(MsgRef::new(a), MsgRef::new(b), Mode::Exact)
}

/// Upstream's `Semantic.DeepEqual`: nil lists, maps and bytes equal empty ones.
pub fn semantic_eq<M: Message>(a: &M, b: &M) -> bool {
    eq_messages(MsgRef::new(a), MsgRef::new(b), Mode::Semantic)
}

impl PartialEq for MsgRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        eq_messages(*self, *other, Mode::Exact)
    }
}

impl MsgRef<'_> {
    /// As the function `semantic_eq`, for untyped views; messages of different types differ.
    pub fn semantic_eq(self, other: MsgRef) -> bool {
        eq_messages(self, other, Mode::Semantic)
    }
}

impl Ref<'_> {
    /// Whether both are written the same.
    pub(crate) fn says_as(self, other: Ref) -> bool {
        eq_values(self, other, Mode::Written)
    }
}

fn eq_messages(a: MsgRef, b: MsgRef, mode: Mode) -> bool {
    a.msg() == b.msg()
        && (a.ptr() == b.ptr()
            || (0..a.msg().fields.len()).all(|i| eq_values(a.field(i), b.field(i), mode)))
}

fn eq_values(a: Ref, b: Ref, mode: Mode) -> bool {
    let same_nil = |a: bool, b: bool| mode == Mode::Semantic || a == b;
    match (a, b) {
        (Ref::Nil, Ref::Nil) => true,
        (Ref::Bool(a), Ref::Bool(b)) => a == b,
        (Ref::I32(a), Ref::I32(b)) => a == b,
        (Ref::I64(a), Ref::I64(b)) => a == b,
        (Ref::F64(a), Ref::F64(b)) => a == b,
        (Ref::Str(a), Ref::Str(b)) => a == b,
        (Ref::Bin(a), Ref::Bin(b)) => same_nil(a.is_nil(), b.is_nil()) && **a == **b,
        (Ref::Time(a), Ref::Time(b)) => a == b,
        (Ref::MicroTime(a), Ref::MicroTime(b)) => a == b,
        (Ref::Duration(a), Ref::Duration(b)) => a == b,
        (Ref::Quantity(a), Ref::Quantity(b)) if mode == Mode::Written => a.as_str() == b.as_str(),
        (Ref::Quantity(a), Ref::Quantity(b)) => a == b,
        (Ref::IntOrString(a), Ref::IntOrString(b)) => a == b,
        (Ref::Raw(a), Ref::Raw(b)) => {
            same_nil(a.is_nil(), b.is_nil()) && a.as_bytes() == b.as_bytes()
        }
        (Ref::Msg(a), Ref::Msg(b)) => eq_messages(a, b, mode),
        (Ref::List(a), Ref::List(b)) => {
            same_nil(a.is_nil(), b.is_nil())
                && a.len() == b.len()
                && a.iter().zip(b.iter()).all(|(a, b)| eq_values(a, b, mode))
        }
        (Ref::Map(a), Ref::Map(b)) => {
            same_nil(a.is_nil(), b.is_nil())
                && a.len() == b.len()
                && a.iter()
                    .zip(b.iter())
                    .all(|((k, a), (l, b))| k == l && eq_values(a, b, mode))
        }
        _ => false,
    }
}

/// Bytes on the heap that hang off a message: an estimate for budgets (lists count their length, not their room).
pub fn heap_size(message: MsgRef) -> usize {
    message
        .msg()
        .fields
        .iter()
        .enumerate()
        .map(|(i, f)| heap_of(f, message.field(i)))
        .sum()
}

fn heap_of(field: &Field, value: Ref) -> usize {
    let boxed = if field.shape == Shape::Pointer && field.kind == Kind::Msg {
        field.size as usize
    } else {
        0
    };
    match value {
        Ref::Nil => 0,
        value => boxed + heap_of_value(value),
    }
}

fn heap_of_value(value: Ref) -> usize {
    match value {
        Ref::Str(v) => v.heap_size(),
        Ref::Bin(v) => v.len(),
        Ref::Raw(v) => v.as_bytes().len(),
        Ref::Msg(v) => heap_size(v),
        Ref::List(v) => v.len() * v.element_size() + v.iter().map(heap_of_value).sum::<usize>(),
        Ref::Map(v) => {
            v.len() * v.entry_size()
                + v.iter()
                    .map(|(k, v)| Str::heap_size(k) + heap_of_value(v))
                    .sum::<usize>()
        }
        _ => 0,
    }
}

impl ListRef<'_> {
    fn element_size(self) -> usize {
        self.of().size
    }
}
impl MapRef<'_> {
    fn entry_size(self) -> usize {
        self.of().entry().size()
    }
}

impl fmt::Debug for MsgRef<'_> {
    /// The type's name and every field that is not zero or nil.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct(self.msg().name);
        for (i, field) in self.msg().json.iter().enumerate() {
            let value = self.json(i);
            if !is_zero(field, value) {
                out.field(field.key, &Shown(value));
            }
        }
        out.finish()
    }
}

fn is_zero(field: &Field, value: Ref) -> bool {
    match value {
        Ref::Nil => true,
        _ if field.shape == Shape::Pointer => false,
        Ref::List(v) => v.is_nil(),
        Ref::Map(v) => v.is_nil(),
        Ref::Bin(v) => v.is_nil(),
        Ref::Raw(v) => v.is_nil(),
        Ref::Time(v) => v.is_zero(),
        Ref::MicroTime(v) => v.is_zero(),
        Ref::Duration(v) => v == crate::Duration::ZERO,
        Ref::Quantity(v) => v.is_zero(),
        Ref::IntOrString(v) => *v == crate::IntOrString::Int(0),
        Ref::Msg(v) => v.is_zero(),
        value => value.is_empty(),
    }
}

impl MsgRef<'_> {
    /// Whether every field is zero or nil.
    pub fn is_zero(self) -> bool {
        self.msg()
            .fields
            .iter()
            .enumerate()
            .all(|(i, f)| is_zero(f, self.field(i)))
    }
}

/// A value as debug output shows it.
struct Shown<'a>(Ref<'a>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ref::Nil => f.write_str("nil"),
            Ref::Bool(v) => v.fmt(f),
            Ref::I32(v) => v.fmt(f),
            Ref::I64(v) => v.fmt(f),
            Ref::F64(v) => v.fmt(f),
            Ref::Str(v) => v.fmt(f),
            Ref::Bin(v) => v.fmt(f),
            Ref::Time(v) => v.fmt(f),
            Ref::MicroTime(v) => v.fmt(f),
            Ref::Duration(v) => v.fmt(f),
            Ref::Quantity(v) => f.write_str(v.as_str()),
            Ref::IntOrString(crate::IntOrString::Int(v)) => v.fmt(f),
            Ref::IntOrString(crate::IntOrString::String(v)) => v.fmt(f),
            Ref::Raw(v) => v.fmt(f),
            Ref::Msg(v) => v.fmt(f),
            Ref::List(v) => f.debug_list().entries(v.iter().map(Shown)).finish(),
            Ref::Map(v) => f
                .debug_map()
                .entries(v.iter().map(|(k, v)| (k, Shown(v))))
                .finish(),
        }
    }
}

impl fmt::Debug for MsgMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}
impl fmt::Debug for ListRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(Ref::List(*self)).fmt(f)
    }
}
impl fmt::Debug for MapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(Ref::Map(*self)).fmt(f)
    }
}
impl fmt::Debug for crate::many::ListMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list of {}", self.len())
    }
}
impl fmt::Debug for crate::many::MapMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "map of {}", self.len())
    }
}
