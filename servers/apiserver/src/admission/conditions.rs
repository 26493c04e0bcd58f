//! Match conditions: expressions that must all hold before a webhook is asked.

use corten_api::Object;
use corten_api::admissionregistration::v1::MatchCondition;
use corten_client::Status;

use super::asked::Asked;
use super::matching::Matched;

/// Conditions of a webhook.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    count: usize,
}

impl Conditions {
    pub(super) fn of_webhook(conditions: &[MatchCondition], _fails_open: bool) -> Conditions {
        Conditions {
            count: conditions.len(),
        }
    }

    /// Whether all hold.
    pub(super) fn hold(
        &self,
        _asked: &Asked<'_>,
        _object: Option<&Object>,
        _matched: &Matched,
    ) -> Result<bool, Status> {
        match self.count {
            0 => Ok(true),
            _ => Err(Status::internal("match conditions are not evaluated yet")),
        }
    }
}
