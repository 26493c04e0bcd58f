//! ComponentStatuses: their table. They are made on request and never written.

use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::core::v1::ComponentStatus;
use corten_core::{Time, Value};

/// The strategy of ComponentStatuses.
pub struct ComponentStatuses;

static COLUMNS: [Column; 4] = [
    cells::NAME,
    cells::column("Status", "string", "Status of the component conditions"),
    cells::column("Message", "string", "Message of the component conditions"),
    cells::column("Error", "string", "Error of the component conditions"),
];

impl Rules for ComponentStatuses {
    type Of = ComponentStatus;

    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn cells(&self, status: &ComponentStatus, _now: &Time) -> Vec<Value> {
        let healthy = status.conditions.iter().find(|c| c.type_ == "Healthy");
        let (state, message, error) = match healthy {
            None => ("Unknown", "", ""),
            Some(found) => (
                if found.status == "True" {
                    "Healthy"
                } else {
                    "Unhealthy"
                },
                found.message.as_str(),
                found.error.as_str(),
            ),
        };
        let name = status.metadata.name.as_str();
        [name, state, message, error].map(Value::from).to_vec()
    }
}
