//! Events about a pod, in upstream's reasons and texts.

use corten_core::Str;

/// Whether an event is about something going right or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

/// One event to record.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Its type.
    pub kind: NoteKind,
    /// A CamelCase reason.
    pub reason: &'static str,
    /// The text.
    pub message: String,
    /// The container it is about; empty for the whole pod.
    pub container: Str,
}

impl Note {
    /// A normal event about `container` (empty for the pod).
    pub fn normal(container: &str, reason: &'static str, message: impl Into<String>) -> Note {
        Note {
            kind: NoteKind::Normal,
            reason,
            message: message.into(),
            container: container.into(),
        }
    }

    /// A warning about `container` (empty for the pod).
    pub fn warning(container: &str, reason: &'static str, message: impl Into<String>) -> Note {
        Note {
            kind: NoteKind::Warning,
            reason,
            message: message.into(),
            container: container.into(),
        }
    }
}
