//! Messages, lists and maps seen through their tables: `MsgRef`/`MsgMut` and what their fields hold, `Ref`/`Slot`.
//! Invariant: a `MsgRef` or `MsgMut` pairs a live message with its own table, so every field entry used on it fits.
//! Leaves out formats; codecs are written on top of this.

use crate::erased::{RawList, Type};
use crate::list::Bin;
use crate::many::{ListMut, ListRef, MapMut, MapRef};
use crate::raw::RawJson;
use crate::str::Str;
use crate::table::{Field, Kind, Message, Msg, Shape};
use crate::{Duration, IntOrString, MicroTime, Quantity, Time};
use std::marker::PhantomData;

/// A shared view of a message of any type.
#[derive(Clone, Copy)]
pub struct MsgRef<'a> {
    ptr: *const u8,
    msg: &'static Msg,
    lives: PhantomData<&'a u8>,
}

/// An exclusive view of a message of any type.
pub struct MsgMut<'a> {
    ptr: *mut u8,
    msg: &'static Msg,
    lives: PhantomData<&'a mut u8>,
}

// SAFETY: messages are Send and Sync (a bound of Message), and these are a & and a &mut of one.
unsafe impl Send for MsgRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MsgRef<'_> {}
// SAFETY: as above.
unsafe impl Send for MsgMut<'_> {}

/// What a field, element or map value holds.
#[derive(Clone, Copy, Debug)]
pub enum Ref<'a> {
    /// A nil pointer.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int32`
    I32(i32),
    /// `int64`
    I64(i64),
    /// `double`
    F64(f64),
    /// A text
    Str(&'a Str),
    /// Bytes, possibly nil
    Bin(&'a Bin),
    /// `metav1.Time`, possibly zero
    Time(Time),
    /// `metav1.MicroTime`, possibly zero
    MicroTime(MicroTime),
    /// `metav1.Duration`
    Duration(Duration),
    /// `resource.Quantity`
    Quantity(&'a Quantity),
    /// `intstr.IntOrString`
    IntOrString(&'a IntOrString),
    /// JSON text, possibly nil
    Raw(&'a RawJson),
    /// A nested message
    Msg(MsgRef<'a>),
    /// A list, possibly nil
    List(ListRef<'a>),
    /// A map, possibly nil
    Map(MapRef<'a>),
}

/// The place of a value, to be written. A pointer's place is that of what it points to.
#[derive(Debug)]
pub enum Slot<'a> {
    /// `bool`
    Bool(&'a mut bool),
    /// `int32`
    I32(&'a mut i32),
    /// `int64`
    I64(&'a mut i64),
    /// `double`
    F64(&'a mut f64),
    /// A text
    Str(&'a mut Str),
    /// Bytes
    Bin(&'a mut Bin),
    /// `metav1.Time`
    Time(&'a mut Time),
    /// `metav1.MicroTime`
    MicroTime(&'a mut MicroTime),
    /// `metav1.Duration`
    Duration(&'a mut Duration),
    /// `resource.Quantity`
    Quantity(&'a mut Quantity),
    /// `intstr.IntOrString`
    IntOrString(&'a mut IntOrString),
    /// JSON text
    Raw(&'a mut RawJson),
    /// A nested message
    Msg(MsgMut<'a>),
    /// A list
    List(ListMut<'a>),
    /// A map
    Map(MapMut<'a>),
}

const STR: Type = Type {
    kind: Kind::Str,
    size: 16,
    msg: None,
};

/// Reads the value at `at`.
///
/// # Safety
/// `at` holds a live value of the type for 'a.
pub(crate) unsafe fn ref_at<'a>(of: Type, at: *const u8) -> Ref<'a> {
    // SAFETY: the caller's promise.
    unsafe {
        match of.kind {
            Kind::Bool => Ref::Bool(*(at as *const bool)),
            Kind::I32 => Ref::I32(*(at as *const i32)),
            Kind::I64 => Ref::I64(*(at as *const i64)),
            Kind::F64 => Ref::F64(*(at as *const f64)),
            Kind::Str => Ref::Str(&*(at as *const Str)),
            Kind::Bin => Ref::Bin(&*(at as *const Bin)),
            Kind::Time => Ref::Time(*(at as *const Time)),
            Kind::MicroTime => Ref::MicroTime(*(at as *const MicroTime)),
            Kind::Duration => Ref::Duration(*(at as *const Duration)),
            Kind::Quantity => Ref::Quantity(&*(at as *const Quantity)),
            Kind::IntOrString => Ref::IntOrString(&*(at as *const IntOrString)),
            Kind::Raw => Ref::Raw(&*(at as *const RawJson)),
            Kind::StrList => Ref::List(ListRef {
                list: &*(at as *const RawList),
                of: STR,
            }),
            Kind::Msg => Ref::Msg(MsgRef {
                ptr: at,
                msg: of.table(),
                lives: PhantomData,
            }),
        }
    }
}

/// The value at `at` as a place.
///
/// # Safety
/// `at` holds a live value of the type, exclusively for 'a.
pub(crate) unsafe fn slot_at<'a>(of: Type, at: *mut u8) -> Slot<'a> {
    // SAFETY: the caller's promise.
    unsafe {
        match of.kind {
            Kind::Bool => Slot::Bool(&mut *(at as *mut bool)),
            Kind::I32 => Slot::I32(&mut *(at as *mut i32)),
            Kind::I64 => Slot::I64(&mut *(at as *mut i64)),
            Kind::F64 => Slot::F64(&mut *(at as *mut f64)),
            Kind::Str => Slot::Str(&mut *(at as *mut Str)),
            Kind::Bin => Slot::Bin(&mut *(at as *mut Bin)),
            Kind::Time => Slot::Time(&mut *(at as *mut Time)),
            Kind::MicroTime => Slot::MicroTime(&mut *(at as *mut MicroTime)),
            Kind::Duration => Slot::Duration(&mut *(at as *mut Duration)),
            Kind::Quantity => Slot::Quantity(&mut *(at as *mut Quantity)),
            Kind::IntOrString => Slot::IntOrString(&mut *(at as *mut IntOrString)),
            Kind::Raw => Slot::Raw(&mut *(at as *mut RawJson)),
            Kind::StrList => Slot::List(ListMut {
                list: &mut *(at as *mut RawList),
                of: STR,
            }),
            Kind::Msg => Slot::Msg(MsgMut {
                ptr: at,
                msg: of.table(),
                lives: PhantomData,
            }),
        }
    }
}

/// The inside of an `Option` of a scalar that is at `at`, if any.
///
/// # Safety
/// `at` holds a live `Option` of the kind.
unsafe fn inside(kind: Kind, at: *const u8) -> Option<*const u8> {
    use crate::erased::by_kind;
    // SAFETY: the caller's promise; a boxed message is a nullable pointer.
    unsafe {
        by_kind!(kind, T => (*(at as *const Option<T>)).as_ref().map(|v| v as *const T as *const u8), msg => {
            let boxed = *(at as *const *const u8);
            (!boxed.is_null()).then_some(boxed)
        })
    }
}

/// The inside of an `Option` of a scalar that is at `at`, made zero when there was none.
///
/// # Safety
/// `at` holds a live `Option` of the kind, exclusively.
unsafe fn inside_or_zero(of: Type, at: *mut u8) -> *mut u8 {
    use crate::erased::by_kind;
    use crate::table::FieldType;
    // SAFETY: the caller's promise.
    unsafe {
        by_kind!(of.kind, T => {
            let option = &mut *(at as *mut Option<T>);
            option.get_or_insert_with(|| <T as FieldType>::FIELD_ZERO) as *mut T as *mut u8
        }, msg => {
            let boxed = at as *mut *mut u8;
            if (*boxed).is_null() {
                *boxed = of.new_box();
            }
            *boxed
        })
    }
}

impl Field {
    #[inline]
    pub(crate) fn of(&self) -> Type {
        Type {
            kind: self.kind,
            size: self.size as usize,
            msg: self.msg(),
        }
    }

    /// Reads this field of the message at `base`.
    ///
    /// # Safety
    /// `base` is a live message of the table that this field is of.
    #[inline]
    pub(crate) unsafe fn read<'a>(&'static self, base: *const u8) -> Ref<'a> {
        // SAFETY: the caller's promise: offset, kind and shape are those of the field.
        unsafe {
            let at = base.add(self.offset as usize);
            match self.shape {
                Shape::Plain => ref_at(self.of(), at),
                Shape::Pointer => {
                    inside(self.kind, at).map_or(Ref::Nil, |at| ref_at(self.of(), at))
                }
                Shape::List => Ref::List(ListRef {
                    list: &*(at as *const RawList),
                    of: self.of(),
                }),
                Shape::Map => Ref::Map(MapRef {
                    list: &*(at as *const RawList),
                    of: self.of(),
                }),
            }
        }
    }

    /// The place of this field of the message at `base`; a nil pointer gets a zero value to point to.
    ///
    /// # Safety
    /// As for `read`, and exclusively.
    #[inline]
    unsafe fn place<'a>(&'static self, base: *mut u8) -> Slot<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            let at = base.add(self.offset as usize);
            match self.shape {
                Shape::Plain => slot_at(self.of(), at),
                Shape::Pointer => slot_at(self.of(), inside_or_zero(self.of(), at)),
                Shape::List => Slot::List(ListMut {
                    list: &mut *(at as *mut RawList),
                    of: self.of(),
                }),
                Shape::Map => Slot::Map(MapMut {
                    list: &mut *(at as *mut RawList),
                    of: self.of(),
                }),
            }
        }
    }

    /// Makes this field of the message at `base` zero or nil.
    ///
    /// # Safety
    /// As for `read`, and exclusively.
    unsafe fn clear(&'static self, base: *mut u8) {
        use crate::erased::by_kind;
        let of = self.of();
        // SAFETY: the caller's promise.
        unsafe {
            let at = base.add(self.offset as usize);
            match self.shape {
                Shape::Plain => {
                    of.drop(at);
                    of.write_zero(at);
                }
                Shape::Pointer => by_kind!(self.kind, T => *(at as *mut Option<T>) = None, msg => {
                    let boxed = std::mem::replace(&mut *(at as *mut *mut u8), std::ptr::null_mut());
                    if !boxed.is_null() {
                        of.free_box(boxed);
                    }
                }),
                Shape::List => ListMut {
                    list: &mut *(at as *mut RawList),
                    of,
                }
                .set_nil(),
                Shape::Map => MapMut {
                    list: &mut *(at as *mut RawList),
                    of,
                }
                .set_nil(),
            }
        }
    }
}

impl<'a> MsgRef<'a> {
    /// The view of a typed message.
    #[inline]
    pub fn new<M: Message>(message: &'a M) -> MsgRef<'a> {
        MsgRef {
            ptr: message as *const M as *const u8,
            msg: M::msg(),
            lives: PhantomData,
        }
    }

    /// # Safety
    /// `ptr` is a live message of the table for 'a.
    pub(crate) unsafe fn from_raw(ptr: *const u8, msg: &'static Msg) -> MsgRef<'a> {
        MsgRef {
            ptr,
            msg,
            lives: PhantomData,
        }
    }

    pub(crate) fn ptr(self) -> *const u8 {
        self.ptr
    }

    /// The table.
    #[inline]
    pub fn msg(self) -> &'static Msg {
        self.msg
    }

    /// The value of `msg().json[index]`.
    #[inline]
    pub fn json(self, index: usize) -> Ref<'a> {
        // SAFETY: the entry is of this message's table.
        unsafe { self.msg.json[index].read(self.ptr) }
    }

    /// The value of `msg().fields[index]`.
    #[inline]
    pub fn field(self, index: usize) -> Ref<'a> {
        // SAFETY: the entry is of this message's table.
        unsafe { self.msg.fields[index].read(self.ptr) }
    }

    /// The value under a JSON key; None when the type has no such field.
    pub fn get(self, key: &str) -> Option<Ref<'a>> {
        self.msg.find(key.as_bytes()).map(|i| self.json(i))
    }

    /// The message as its type, when it is that.
    pub fn downcast<M: Message>(self) -> Option<&'a M> {
        // SAFETY: the table is M's, so the pointer is to a live M.
        (self.msg == M::msg()).then(|| unsafe { &*(self.ptr as *const M) })
    }
}

impl<'a> MsgMut<'a> {
    /// The view of a typed message.
    #[inline]
    pub fn new<M: Message>(message: &'a mut M) -> MsgMut<'a> {
        MsgMut {
            ptr: message as *mut M as *mut u8,
            msg: M::msg(),
            lives: PhantomData,
        }
    }

    /// # Safety
    /// `ptr` is a live message of the table, exclusively for 'a.
    pub(crate) unsafe fn from_raw(ptr: *mut u8, msg: &'static Msg) -> MsgMut<'a> {
        MsgMut {
            ptr,
            msg,
            lives: PhantomData,
        }
    }

    /// The table.
    #[inline]
    pub fn msg(&self) -> &'static Msg {
        self.msg
    }

    /// The same message, shared.
    #[inline]
    pub fn as_ref(&self) -> MsgRef<'_> {
        MsgRef {
            ptr: self.ptr,
            msg: self.msg,
            lives: PhantomData,
        }
    }

    /// The same message for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> MsgMut<'_> {
        MsgMut {
            ptr: self.ptr,
            msg: self.msg,
            lives: PhantomData,
        }
    }

    /// The place of `msg().json[index]`; a nil pointer gets a zero value to point to.
    #[inline]
    pub fn json(&mut self, index: usize) -> Slot<'_> {
        // SAFETY: the entry is of this message's table, and self is borrowed as long as the place.
        unsafe { self.msg.json[index].place(self.ptr) }
    }

    /// The place of `msg().fields[index]`; a nil pointer gets a zero value to point to.
    #[inline]
    pub fn field(&mut self, index: usize) -> Slot<'_> {
        // SAFETY: as above.
        unsafe { self.msg.fields[index].place(self.ptr) }
    }

    /// The message in `msg().fields[index]`, for as long as this view lives; None when the field is no plain message.
    pub fn into_field(self, index: usize) -> Option<MsgMut<'a>> {
        let field = &self.msg.fields[index];
        if field.shape != Shape::Plain || field.kind != Kind::Msg {
            return None;
        }
        // SAFETY: the entry is of this message's table, and this view ends.
        Some(unsafe { MsgMut::from_raw(self.ptr.add(field.offset as usize), field.of().table()) })
    }

    /// Makes `msg().json[index]` zero or nil.
    pub fn clear_json(&mut self, index: usize) {
        // SAFETY: as above.
        unsafe { self.msg.json[index].clear(self.ptr) }
    }

    /// Makes `msg().fields[index]` zero or nil.
    pub fn clear_field(&mut self, index: usize) {
        // SAFETY: as above.
        unsafe { self.msg.fields[index].clear(self.ptr) }
    }

    /// Makes every field zero or nil.
    pub fn clear(&mut self) {
        let of = Type {
            kind: Kind::Msg,
            size: self.msg.size,
            msg: Some(self.msg),
        };
        // SAFETY: a live message, replaced by a live one.
        unsafe {
            of.drop(self.ptr);
            of.write_zero(self.ptr);
        }
    }

    /// The message as its type, when it is that.
    pub fn downcast<M: Message>(self) -> Option<&'a mut M> {
        // SAFETY: the table is M's, so the pointer is to a live M, exclusively for 'a.
        (self.msg == M::msg()).then(|| unsafe { &mut *(self.ptr as *mut M) })
    }
}

impl<'a> Ref<'a> {
    /// The text, when it is one.
    pub fn as_str(self) -> Option<&'a str> {
        if let Ref::Str(text) = self {
            Some(text)
        } else {
            None
        }
    }
    /// The message, when it is one.
    pub fn as_msg(self) -> Option<MsgRef<'a>> {
        if let Ref::Msg(msg) = self {
            Some(msg)
        } else {
            None
        }
    }
    /// The list, when it is one.
    pub fn as_list(self) -> Option<ListRef<'a>> {
        if let Ref::List(list) = self {
            Some(list)
        } else {
            None
        }
    }
    /// The map, when it is one.
    pub fn as_map(self) -> Option<MapRef<'a>> {
        if let Ref::Map(map) = self {
            Some(map)
        } else {
            None
        }
    }
    /// Whether the value is empty in the sense of Go's `omitempty` below a pointer: false, 0, "", nothing in it; never a struct.
    pub fn is_empty(self) -> bool {
        match self {
            Ref::Nil => true,
            Ref::Bool(v) => !v,
            Ref::I32(v) => v == 0,
            Ref::I64(v) => v == 0,
            Ref::F64(v) => v == 0.0,
            Ref::Str(v) => v.is_empty(),
            Ref::Bin(v) => v.is_empty(),
            Ref::List(v) => v.is_empty(),
            Ref::Map(v) => v.is_empty(),
            _ => false,
        }
    }
}

impl Field {
    /// Whether JSON leaves this field out when it holds `value`.
    #[inline]
    pub fn omits(&self, value: Ref) -> bool {
        if self.omit_empty()
            && (if self.shape == Shape::Pointer {
                matches!(value, Ref::Nil)
            } else {
                value.is_empty()
            })
        {
            return true;
        }
        self.omit_zero() && matches!(value, Ref::Time(t) if t.is_zero())
    }
}
