//! Columns of the tables of the group, as upstream describes them. Cells are beside each kind.

use crate::Column;
use crate::cells::{AGE, NAME, column};

/// Of `poddisruptionbudgets`.
pub(super) static POD_DISRUPTION_BUDGET: [Column; 5] = [
    NAME,
    column(
        "Min Available",
        "string",
        "The minimum number of pods that must be available.",
    ),
    column(
        "Max Unavailable",
        "string",
        "The maximum number of pods that may be unavailable.",
    ),
    column(
        "Allowed Disruptions",
        "integer",
        "Calculated number of pods that may be disrupted at this time.",
    ),
    AGE,
];
