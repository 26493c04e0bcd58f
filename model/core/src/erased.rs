//! Untyped memory of elements, lists and maps: the only code that follows table offsets by hand.
//! Invariant: a pointer handed in with a kind and a table points to a live value of exactly that type.
//! Leaves out fields and messages as others see them (`access`, `ops`).

use crate::list::List;
use crate::str::Str;
use crate::table::{Kind, Msg};
use std::alloc::{Layout, alloc, handle_alloc_error, realloc};
use std::mem::ManuallyDrop;

/// What one element of a field, list or map is.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) msg: Option<&'static Msg>,
}

/// `List<T>` for any `T`: the same layout.
#[repr(C)]
pub(crate) struct RawList {
    pub(crate) ptr: *mut u8,
    pub(crate) len: u32,
    pub(crate) cap: u32,
}

const _: () = assert!(size_of::<RawList>() == size_of::<List<u64>>());
const _: () = assert!(
    std::mem::offset_of!(crate::map::Entry<Str>, value) == KEY
        && std::mem::offset_of!(crate::map::Entry<bool>, value) == KEY
);

/// Where the value of a map entry starts: behind the key.
pub(crate) const KEY: usize = 16;

/// Runs `$body` with `$T` as the Rust type of a kind other than `Msg`.
macro_rules! by_kind {
    ($kind:expr, $T:ident => $body:expr, msg => $msg:expr) => {
        match $kind {
            Kind::Bool => {
                type $T = bool;
                $body
            }
            Kind::I32 => {
                type $T = i32;
                $body
            }
            Kind::I64 => {
                type $T = i64;
                $body
            }
            Kind::F64 => {
                type $T = f64;
                $body
            }
            Kind::Str => {
                type $T = $crate::Str;
                $body
            }
            Kind::Bin => {
                type $T = $crate::Bin;
                $body
            }
            Kind::Time => {
                type $T = $crate::Time;
                $body
            }
            Kind::MicroTime => {
                type $T = $crate::MicroTime;
                $body
            }
            Kind::Duration => {
                type $T = $crate::Duration;
                $body
            }
            Kind::Quantity => {
                type $T = $crate::Quantity;
                $body
            }
            Kind::IntOrString => {
                type $T = $crate::IntOrString;
                $body
            }
            Kind::Raw => {
                type $T = $crate::RawJson;
                $body
            }
            Kind::StrList => {
                type $T = $crate::List<$crate::Str>;
                $body
            }
            Kind::Msg => $msg,
        }
    };
}
pub(crate) use by_kind;

impl Type {
    fn align(self) -> usize {
        by_kind!(self.kind, T => align_of::<T>(), msg => self.table().align)
    }

    /// The table of a message type.
    pub(crate) fn table(self) -> &'static Msg {
        self.msg.expect("Kind::Msg has a table")
    }

    /// The layout of one map entry with this value.
    pub(crate) fn entry(self) -> Layout {
        let align = self.align().max(align_of::<Str>());
        debug_assert!(align == align_of::<Str>());
        let size = (KEY + self.size).next_multiple_of(align);
        Layout::from_size_align(size, align).expect("size and alignment of a Rust type")
    }

    /// The layout of one list element.
    pub(crate) fn element(self) -> Layout {
        Layout::from_size_align(self.size, self.align()).expect("size and alignment of a Rust type")
    }

    /// Writes the zero value to `at`, whatever was there before.
    ///
    /// # Safety
    /// `at` is valid for writes of the type.
    pub(crate) unsafe fn write_zero(self, at: *mut u8) {
        use crate::table::FieldType;
        // SAFETY: the caller's promise; `zero` is a constant of the message's size.
        unsafe {
            by_kind!(self.kind, T => (at as *mut T).write(<T as FieldType>::FIELD_ZERO),
                msg => std::ptr::copy_nonoverlapping(self.table().zero, at, self.size))
        }
    }

    /// Drops the value at `at`.
    ///
    /// # Safety
    /// `at` holds a live value, which is dead afterwards.
    pub(crate) unsafe fn drop(self, at: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            by_kind!(self.kind, T => std::ptr::drop_in_place(at as *mut T), msg => (self.table().drop)(at))
        }
    }

    /// Turns a copy of a live value's bytes at `at` into a value of its own.
    ///
    /// # Safety
    /// `at` holds the bytes of a value that stays alive and unchanged meanwhile.
    #[allow(
        clippy::clone_on_copy,
        reason = "one line for every kind, some of which are Copy"
    )]
    pub(crate) unsafe fn own(self, at: *mut u8) {
        // SAFETY: the copy is only read as the shared value it aliases, then overwritten without being dropped.
        unsafe {
            by_kind!(self.kind, T => {
                let copy = (*(at as *const ManuallyDrop<T>)).clone();
                (at as *mut ManuallyDrop<T>).write(copy)
            }, msg => crate::ops::own_message(self.table(), at))
        }
    }

    /// Whether copying the bytes copies the value.
    pub(crate) fn plain(self) -> bool {
        matches!(
            self.kind,
            Kind::Bool
                | Kind::I32
                | Kind::I64
                | Kind::F64
                | Kind::Time
                | Kind::MicroTime
                | Kind::Duration
        )
    }

    /// Allocates a boxed zero value.
    pub(crate) fn new_box(self) -> *mut u8 {
        let at = allocate(self.element());
        // SAFETY: freshly allocated with the type's layout.
        unsafe { self.write_zero(at) };
        at
    }

    /// Drops and frees what `new_box` (or `Box::new` of the type) made.
    ///
    /// # Safety
    /// `at` is such a box and is not used again.
    pub(crate) unsafe fn free_box(self, at: *mut u8) {
        let layout = self.element();
        // SAFETY: the caller's promise.
        unsafe {
            self.drop(at);
            if layout.size() > 0 {
                std::alloc::dealloc(at, layout);
            }
        }
    }
}

/// Allocates, or gives a dangling pointer for a type without bytes, as `Box` does.
pub(crate) fn allocate(layout: Layout) -> *mut u8 {
    if layout.size() == 0 {
        return std::ptr::without_provenance_mut(layout.align());
    }
    // SAFETY: the size is not zero.
    let at = unsafe { alloc(layout) };
    if at.is_null() {
        handle_alloc_error(layout);
    }
    at
}

impl RawList {
    /// An empty list that is not nil.
    pub(crate) fn make_empty(&mut self, place: Layout) {
        if self.ptr.is_null() {
            self.ptr = std::ptr::without_provenance_mut(place.align());
        }
    }

    fn reserve_one(&mut self, place: Layout) {
        self.make_empty(place);
        if self.len < self.cap || place.size() == 0 {
            return;
        }
        let cap = if self.cap == 0 {
            1
        } else {
            self.cap
                .checked_mul(2)
                .expect("a list has less than 2^32 places")
        };
        let bytes = |n: u32| {
            Layout::from_size_align(place.size() * n as usize, place.align())
                .expect("a list fits into memory")
        };
        let to = bytes(cap);
        // SAFETY: the old block was allocated with cap places of this layout (by us or by a Vec); sizes are not zero.
        let ptr = unsafe {
            if self.cap == 0 {
                alloc(to)
            } else {
                realloc(self.ptr, bytes(self.cap), to.size())
            }
        };
        if ptr.is_null() {
            handle_alloc_error(to);
        }
        (self.ptr, self.cap) = (ptr, cap);
    }

    /// Opens a gap of one place at `index` and returns it; the caller fills it at once.
    ///
    /// # Safety
    /// The list's places have this layout, `index <= len`, and the gap is written before anything else reads the list.
    pub(crate) unsafe fn open(&mut self, index: usize, place: Layout) -> *mut u8 {
        self.reserve_one(place);
        // SAFETY: there is room for len + 1 places.
        unsafe {
            let at = self.ptr.add(index * place.size());
            let behind = (self.len as usize - index) * place.size();
            std::ptr::copy(at, at.add(place.size()), behind);
            self.len += 1;
            at
        }
    }

    /// The place at `index`.
    ///
    /// # Safety
    /// `index < len` and places are `size` bytes.
    pub(crate) unsafe fn place(&self, index: usize, size: usize) -> *mut u8 {
        debug_assert!(index < self.len as usize);
        // SAFETY: the caller's promise.
        unsafe { self.ptr.add(index * size) }
    }
}
