//! FlowSchemas and PriorityLevelConfigurations.

mod columns;
mod flow_schema;
mod priority_level;
mod validation;

pub use flow_schema::FlowSchemas;
pub use priority_level::PriorityLevelConfigurations;

use corten_api::meta::v1::ObjectMeta;

/// A status update changes nothing of the metadata but managedFields.
fn keep_metadata(new: &mut ObjectMeta, old: &ObjectMeta) {
    let kept = std::mem::replace(new, old.clone());
    new.managed_fields = kept.managed_fields;
    new.resource_version = kept.resource_version;
}
