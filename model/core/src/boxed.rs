//! `AnyMessage`: an owned message whose type is known at run time only.
//! Invariant: the pointer is a box of the table's type; the table decides clone, drop and downcasts.

use crate::access::{MsgMut, MsgRef};
use crate::erased::Type;
use crate::table::{Kind, Message, Msg};
use std::ptr::NonNull;

/// A boxed message of any type.
pub struct AnyMessage {
    ptr: NonNull<u8>,
    msg: &'static Msg,
}

// SAFETY: a box of a message, and messages are Send and Sync.
unsafe impl Send for AnyMessage {}
// SAFETY: as above.
unsafe impl Sync for AnyMessage {}

fn type_of(msg: &'static Msg) -> Type {
    Type {
        kind: Kind::Msg,
        size: msg.size,
        msg: Some(msg),
    }
}

impl AnyMessage {
    /// A zero message of the type.
    pub fn zero(msg: &'static Msg) -> AnyMessage {
        let ptr = NonNull::new(type_of(msg).new_box()).expect("allocation does not return null");
        AnyMessage { ptr, msg }
    }

    /// A typed message.
    pub fn new<M: Message>(message: M) -> AnyMessage {
        AnyMessage::from_box(Box::new(message))
    }

    /// A typed message that is boxed already.
    pub fn from_box<M: Message>(message: Box<M>) -> AnyMessage {
        let ptr = NonNull::new(Box::into_raw(message) as *mut u8).expect("a box is not null");
        AnyMessage { ptr, msg: M::msg() }
    }

    /// The table.
    #[inline]
    pub fn msg(&self) -> &'static Msg {
        self.msg
    }

    /// A view of the message.
    #[inline]
    pub fn as_ref(&self) -> MsgRef<'_> {
        // SAFETY: a live message of the table.
        unsafe { MsgRef::from_raw(self.ptr.as_ptr(), self.msg) }
    }

    /// An exclusive view of the message.
    #[inline]
    pub fn as_mut(&mut self) -> MsgMut<'_> {
        // SAFETY: a live message of the table, borrowed exclusively.
        unsafe { MsgMut::from_raw(self.ptr.as_ptr(), self.msg) }
    }

    /// The message as its type, when it is that.
    #[inline]
    pub fn downcast_ref<M: Message>(&self) -> Option<&M> {
        self.as_ref().downcast()
    }

    /// The message as its type, when it is that.
    #[inline]
    pub fn downcast_mut<M: Message>(&mut self) -> Option<&mut M> {
        self.as_mut().downcast()
    }

    /// The box of the type, or the message back.
    pub fn downcast<M: Message>(self) -> Result<Box<M>, AnyMessage> {
        if self.msg != M::msg() {
            return Err(self);
        }
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: a box of M, given up by `this`.
        Ok(unsafe { Box::from_raw(this.ptr.as_ptr() as *mut M) })
    }
}

impl Drop for AnyMessage {
    fn drop(&mut self) {
        // SAFETY: the box of a live message, dropped once.
        unsafe { type_of(self.msg).free_box(self.ptr.as_ptr()) }
    }
}

impl Clone for AnyMessage {
    fn clone(&self) -> AnyMessage {
        let of = type_of(self.msg);
        let copy = crate::erased::allocate(of.element());
        // SAFETY: the bytes of a live message, made an own message at once.
        unsafe {
            std::ptr::copy_nonoverlapping(self.ptr.as_ptr(), copy, of.size);
            of.own(copy);
        }
        AnyMessage {
            ptr: NonNull::new(copy).expect("allocation does not return null"),
            msg: self.msg,
        }
    }
}

impl PartialEq for AnyMessage {
    fn eq(&self, other: &AnyMessage) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl std::fmt::Debug for AnyMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}
