//! `Str`: an immutable text of 16 bytes with up to 15 bytes inline, the string of every API struct.
//! Invariant: the tag is the inline length, or says that `ptr` and `len` are a heap or a static text; the text is UTF-8.
//! Leaves out mutation in place: build a `String` and convert.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Longest text kept without an allocation, in bytes.
const INLINE: usize = 15;

/// The last byte of a `Str`. An enum, so that `Option<Str>` needs no further space.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
#[allow(dead_code, reason = "L1 to L15 are made by transmute from the length")]
enum Tag {
    L0,
    L1,
    L2,
    L3,
    L4,
    L5,
    L6,
    L7,
    L8,
    L9,
    L10,
    L11,
    L12,
    L13,
    L14,
    L15,
    Heap,
    Static,
}

/// An immutable UTF-8 text in 16 bytes; `Option<Str>` has the same size.
#[repr(C)]
pub struct Str {
    ptr: *const u8,
    len: u32,
    pad: [u8; 3],
    tag: Tag,
}

const _: () = assert!(size_of::<Str>() == 16 && size_of::<Option<Str>>() == 16);

// SAFETY: a Str owns its bytes and nobody writes to them.
unsafe impl Send for Str {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for Str {}

impl Str {
    /// The empty text.
    pub const EMPTY: Str = Str {
        ptr: std::ptr::null(),
        len: 0,
        pad: [0; 3],
        tag: Tag::L0,
    };

    /// A text that lives as long as the program: never allocates, also in constants.
    pub const fn from_static(text: &'static str) -> Str {
        if text.len() <= INLINE {
            return Str::inline(text.as_bytes());
        }
        assert!(text.len() <= u32::MAX as usize);
        Str {
            ptr: text.as_ptr(),
            len: text.len() as u32,
            pad: [0; 3],
            tag: Tag::Static,
        }
    }

    /// A copy of `text`, on the heap when longer than 15 bytes.
    pub fn new(text: &str) -> Str {
        if text.len() <= INLINE {
            Str::inline(text.as_bytes())
        } else {
            Str::heap(text.to_owned().into_boxed_str())
        }
    }

    const fn inline(text: &[u8]) -> Str {
        let mut bytes = [0u8; 16];
        let mut i = 0;
        while i < text.len() {
            bytes[i] = text[i];
            i += 1;
        }
        bytes[INLINE] = text.len() as u8;
        // SAFETY: both are 16 bytes; the last byte is at most 15, a valid Tag; every other field takes any bits.
        unsafe { std::mem::transmute::<[u8; 16], Str>(bytes) }
    }

    fn heap(text: Box<str>) -> Str {
        let len = u32::try_from(text.len()).expect("a text of an API object is shorter than 4 GiB");
        Str {
            ptr: Box::into_raw(text) as *const u8,
            len,
            pad: [0; 3],
            tag: Tag::Heap,
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes a str.
        unsafe { std::str::from_utf8_unchecked(self.bytes()) }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        let tag = self.tag as usize;
        let (ptr, len) = if tag <= INLINE {
            (self as *const Str as *const u8, tag)
        } else {
            (self.ptr, self.len as usize)
        };
        // SAFETY: an inline text lies in the first `tag` bytes of self; otherwise ptr and len are those of the text kept.
        unsafe { std::slice::from_raw_parts(ptr, len) }
    }

    /// Bytes this text holds on the heap.
    pub fn heap_size(&self) -> usize {
        if self.tag == Tag::Heap {
            self.len as usize
        } else {
            0
        }
    }
}

impl Drop for Str {
    #[inline]
    fn drop(&mut self) {
        if self.tag == Tag::Heap {
            let text = std::ptr::slice_from_raw_parts_mut(self.ptr as *mut u8, self.len as usize);
            // SAFETY: made by Box::into_raw of a boxed str of this length, and dropped once.
            drop(unsafe { Box::from_raw(text) });
        }
    }
}

impl Clone for Str {
    #[inline]
    fn clone(&self) -> Str {
        if self.tag == Tag::Heap {
            return Str::heap(self.as_str().to_owned().into_boxed_str());
        }
        Str {
            ptr: self.ptr,
            len: self.len,
            pad: self.pad,
            tag: self.tag,
        }
    }
}

impl Deref for Str {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Default for Str {
    fn default() -> Str {
        Str::EMPTY
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl PartialEq for Str {
    #[inline]
    fn eq(&self, other: &Str) -> bool {
        self.bytes() == other.bytes()
    }
}
impl Eq for Str {}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Str) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Str {
    fn cmp(&self, other: &Str) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}
impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self
    }
}
impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self
    }
}
impl AsRef<[u8]> for Str {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}
impl AsRef<std::path::Path> for Str {
    fn as_ref(&self) -> &std::path::Path {
        std::path::Path::new(self.as_str())
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str::new(text)
    }
}
impl From<&Str> for Str {
    fn from(text: &Str) -> Str {
        text.clone()
    }
}
impl From<&String> for Str {
    fn from(text: &String) -> Str {
        Str::new(text)
    }
}
impl From<String> for Str {
    fn from(text: String) -> Str {
        if text.len() <= INLINE {
            Str::inline(text.as_bytes())
        } else {
            Str::heap(text.into_boxed_str())
        }
    }
}
impl From<Box<str>> for Str {
    fn from(text: Box<str>) -> Str {
        if text.len() <= INLINE {
            Str::inline(text.as_bytes())
        } else {
            Str::heap(text)
        }
    }
}
impl From<Cow<'_, str>> for Str {
    fn from(text: Cow<'_, str>) -> Str {
        match text {
            Cow::Borrowed(text) => Str::new(text),
            Cow::Owned(text) => Str::from(text),
        }
    }
}
impl From<Str> for String {
    fn from(text: Str) -> String {
        text.as_str().to_owned()
    }
}
impl From<&Str> for String {
    fn from(text: &Str) -> String {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}
impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
impl PartialEq<String> for Str {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}
impl PartialEq<Str> for str {
    fn eq(&self, other: &Str) -> bool {
        self == other.as_str()
    }
}
impl PartialEq<Str> for &str {
    fn eq(&self, other: &Str) -> bool {
        *self == other.as_str()
    }
}
impl PartialEq<Str> for String {
    fn eq(&self, other: &Str) -> bool {
        self == other.as_str()
    }
}
