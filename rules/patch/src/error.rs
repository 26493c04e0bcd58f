//! Why a patch is refused.

/// Why a patch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is a patch, but cannot be applied to this object: 422.
    #[error("{0}")]
    Invalid(String),
    /// It is not a patch: 400.
    #[error("{0}")]
    Bad(String),
    /// It has no meaning for this kind of object, which upstream calls an internal error: 500.
    #[error("{0}")]
    Misfit(String),
    /// It would change fields that others manage (apply only): 409.
    #[error("{}", conflict_text(.0))]
    Conflict(Vec<Conflict>),
}

/// One field of an apply that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager's name.
    pub manager: String,
    /// The field's path, `.spec.replicas`.
    pub field: String,
    /// The cause's text, `conflict with "kubectl" using apps/v1`.
    pub message: String,
}

/// Upstream's one text for a list of conflicts.
fn conflict_text(conflicts: &[Conflict]) -> String {
    match conflicts {
        [one] => format!(
            "Apply failed with 1 conflict: {}: {}",
            one.message, one.field
        ),
        more => {
            let mut text = format!("Apply failed with {} conflicts: ", more.len());
            for (i, group) in more.chunk_by(|a, b| a.message == b.message).enumerate() {
                if i > 0 {
                    text.push('\n');
                }
                let who = group[0].message.trim_start_matches("conflict");
                text.push_str(&format!("conflicts{who}:"));
                for conflict in group {
                    text.push_str("\n- ");
                    text.push_str(&conflict.field);
                }
            }
            text
        }
    }
}

pub(crate) fn bad<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Bad(text.into()))
}

pub(crate) fn misfit<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Misfit(text.into()))
}

pub(crate) fn invalid<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Invalid(text.into()))
}
