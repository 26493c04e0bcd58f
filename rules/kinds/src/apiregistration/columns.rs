//! Columns of the tables of the group, as upstream describes them. Cells are beside each kind.

use crate::Column;
use crate::cells::{AGE, NAME, column};

/// Of `apiservices`.
pub(super) static API_SERVICE: [Column; 4] = [
    NAME,
    column(
        "Service",
        "string",
        "The reference to the service that hosts this API endpoint.",
    ),
    column("Available", "string", "Whether this service is available."),
    AGE,
];
