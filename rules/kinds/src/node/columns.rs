//! Columns of the tables of the group, as upstream describes them. Cells are beside each kind.

use crate::Column;
use crate::cells::{AGE, NAME, column};

/// Of `runtimeclasses`.
pub(super) static RUNTIME_CLASS: [Column; 3] = [NAME, column("Handler", "string", ""), AGE];
