//! Whether the store accepts writes, and why not.

use crate::engine::Damage;

/// Whether the store accepts writes. Reads and watches work in every state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Writable,
    /// The log could not be written. The store tries again by itself.
    Suspended {
        /// How it failed.
        reason: String,
    },
    /// Some records could not be read at open. They are missing from every list, so nothing may be written
    /// that would act on their absence.
    Damaged {
        /// What could not be read.
        records: Vec<Damage>,
    },
    /// The store was closed.
    Closed,
}

impl Health {
    /// Whether commits are accepted.
    pub fn is_writable(&self) -> bool {
        matches!(self, Health::Writable)
    }

    pub(crate) fn refusal(&self) -> String {
        match self {
            Health::Writable => String::new(),
            Health::Suspended { reason } => reason.clone(),
            Health::Damaged { records } => {
                let first = records.first().map_or(String::new(), |damage| {
                    format!(", {}: {}", damage.key, damage.reason)
                });
                format!("{} of its records cannot be read{first}", records.len())
            }
            Health::Closed => "it was closed".to_owned(),
        }
    }
}
