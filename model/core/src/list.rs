//! `List<T>` and `Bin`: Go slices in 16 bytes, where nil and empty differ.
//! Invariant: `ptr` is None exactly when the list is nil; otherwise ptr, len and cap are those of a `Vec<T>`.
//! Leaves out growth strategies: every change goes through a `Vec` that borrows the parts.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, size_of};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A list that may be nil; nil and empty both read as an empty slice, but print differently.
///
/// `collect()` of nothing gives nil, as Go's `append` to a nil slice does; `List::from(vec![])` is empty, not nil.
#[repr(C)]
pub struct List<T> {
    ptr: Option<NonNull<T>>,
    len: u32,
    cap: u32,
    owns: PhantomData<T>,
}

// SAFETY: a List owns its elements like a Vec.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for List<T> {}

impl<T> List<T> {
    /// The nil list.
    pub const NIL: List<T> = List {
        ptr: None,
        len: 0,
        cap: 0,
        owns: PhantomData,
    };

    /// A list without elements that is not nil.
    pub const fn empty() -> List<T> {
        List {
            ptr: Some(NonNull::dangling()),
            len: 0,
            cap: 0,
            owns: PhantomData,
        }
    }

    /// An empty list (not nil) with room for `cap` elements.
    pub fn with_capacity(cap: usize) -> List<T> {
        List::from(Vec::with_capacity(cap))
    }

    /// Whether this is nil; an empty list is not.
    #[inline]
    pub const fn is_nil(&self) -> bool {
        self.ptr.is_none()
    }

    /// Takes the elements out as a `Vec`, leaving nil.
    pub fn take_vec(&mut self) -> Vec<T> {
        let taken = ManuallyDrop::new(std::mem::replace(self, List::NIL));
        // A Vec of elements without bytes has room for any number and no buffer.
        let cap = if size_of::<T>() == 0 {
            usize::MAX
        } else {
            taken.cap as usize
        };
        match taken.ptr {
            None => Vec::new(),
            // SAFETY: the parts come from a Vec (or are its empty form) and `taken` is not dropped.
            Some(ptr) => unsafe { Vec::from_raw_parts(ptr.as_ptr(), taken.len as usize, cap) },
        }
    }

    /// Changes the elements as a `Vec`; the list is not nil afterwards.
    pub fn with_vec<R>(&mut self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut vec = self.take_vec();
        let result = change(&mut vec);
        *self = List::from(vec);
        result
    }

    /// Appends an element; a nil list becomes a list of one.
    #[inline]
    pub fn push(&mut self, element: impl Into<T>) {
        self.with_vec(|v| v.push(element.into()));
    }

    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            None
        } else {
            self.with_vec(Vec::pop)
        }
    }

    /// Inserts an element before `index`, which must be at most the length.
    pub fn insert(&mut self, index: usize, element: impl Into<T>) {
        self.with_vec(|v| v.insert(index, element.into()));
    }

    /// Removes and returns the element at `index`, which must exist.
    pub fn remove(&mut self, index: usize) -> T {
        self.with_vec(|v| v.remove(index))
    }

    /// Keeps the elements that `keep` accepts; nil stays nil.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if !self.is_nil() {
            self.with_vec(|v| v.retain(keep));
        }
    }

    /// Drops everything after the first `len` elements; nil stays nil.
    pub fn truncate(&mut self, len: usize) {
        if !self.is_nil() {
            self.with_vec(|v| v.truncate(len));
        }
    }

    /// Drops the elements; nil stays nil, anything else becomes empty.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The elements as a `Vec`.
    pub fn into_vec(mut self) -> Vec<T> {
        self.take_vec()
    }
}

impl<T> Drop for List<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_nil() {
            drop(self.take_vec());
        }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(vec: Vec<T>) -> List<T> {
        let mut vec = ManuallyDrop::new(vec);
        let len =
            u32::try_from(vec.len()).expect("a list of an API object has less than 2^32 elements");
        // A Vec of zero-sized elements has no buffer and says usize::MAX; from_raw_parts ignores the number there.
        let cap = if size_of::<T>() == 0 {
            0
        } else {
            vec.capacity()
        };
        let cap = u32::try_from(cap).expect("a list of an API object has less than 2^32 places");
        List {
            ptr: NonNull::new(vec.as_mut_ptr()),
            len,
            cap,
            owns: PhantomData,
        }
    }
}

impl<T> From<List<T>> for Vec<T> {
    fn from(list: List<T>) -> Vec<T> {
        list.into_vec()
    }
}

impl<T: Clone> From<&[T]> for List<T> {
    fn from(elements: &[T]) -> List<T> {
        List::from(elements.to_vec())
    }
}

impl<T, U: Into<T>, const N: usize> From<[U; N]> for List<T> {
    fn from(elements: [U; N]) -> List<T> {
        List::from(elements.into_iter().map(Into::into).collect::<Vec<T>>())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        let ptr = self.ptr.unwrap_or(NonNull::dangling());
        // SAFETY: nil has length 0; otherwise the Vec's parts.
        unsafe { std::slice::from_raw_parts(ptr.as_ptr(), self.len as usize) }
    }
}

impl<T> DerefMut for List<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let ptr = self.ptr.unwrap_or(NonNull::dangling());
        // SAFETY: as in deref, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(ptr.as_ptr(), self.len as usize) }
    }
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List::NIL
    }
}

impl<T: Clone> Clone for List<T> {
    fn clone(&self) -> List<T> {
        if self.is_nil() {
            List::NIL
        } else {
            List::from(self.to_vec())
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nil() {
            f.write_str("nil")
        } else {
            fmt::Debug::fmt(&**self, f)
        }
    }
}

/// Exact: nil differs from empty. Compare slices, or use `semantic_eq` on messages, where that does not matter.
impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &List<T>) -> bool {
        self.is_nil() == other.is_nil() && **self == **other
    }
}
impl<T: Eq> Eq for List<T> {}

impl<T: PartialEq<U>, U> PartialEq<[U]> for List<T> {
    fn eq(&self, other: &[U]) -> bool {
        **self == *other
    }
}
impl<T: PartialEq<U>, U> PartialEq<Vec<U>> for List<T> {
    fn eq(&self, other: &Vec<U>) -> bool {
        **self == **other
    }
}
impl<T: PartialEq<U>, U, const N: usize> PartialEq<[U; N]> for List<T> {
    fn eq(&self, other: &[U; N]) -> bool {
        **self == *other
    }
}

impl<T, U: Into<T>> FromIterator<U> for List<T> {
    fn from_iter<I: IntoIterator<Item = U>>(iter: I) -> List<T> {
        let vec: Vec<T> = iter.into_iter().map(Into::into).collect();
        if vec.is_empty() {
            List::NIL
        } else {
            List::from(vec)
        }
    }
}

impl<T, U: Into<T>> Extend<U> for List<T> {
    fn extend<I: IntoIterator<Item = U>>(&mut self, iter: I) {
        let mut iter = iter.into_iter().map(Into::into).peekable();
        if iter.peek().is_some() {
            self.with_vec(|v| v.extend(iter));
        }
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}
impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
impl<'a, T> IntoIterator for &'a mut List<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Bytes that may be nil: Go's `[]byte`, base64 in JSON.
#[derive(Clone, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bin(pub(crate) List<u8>);

impl Bin {
    /// No bytes, and not even an empty slice.
    pub const NIL: Bin = Bin(List::NIL);

    /// Whether this is nil; empty bytes are not.
    pub const fn is_nil(&self) -> bool {
        self.0.is_nil()
    }

    /// The bytes as a `Vec`.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl Deref for Bin {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
impl fmt::Debug for Bin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nil() {
            f.write_str("nil")
        } else {
            write!(f, "b\"{}\"", self.0.escape_ascii())
        }
    }
}
impl From<Vec<u8>> for Bin {
    fn from(bytes: Vec<u8>) -> Bin {
        Bin(List::from(bytes))
    }
}
impl From<&[u8]> for Bin {
    fn from(bytes: &[u8]) -> Bin {
        Bin(List::from(bytes))
    }
}
impl From<&str> for Bin {
    fn from(text: &str) -> Bin {
        Bin(List::from(text.as_bytes()))
    }
}
impl PartialEq<[u8]> for Bin {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}
impl AsRef<[u8]> for Bin {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
