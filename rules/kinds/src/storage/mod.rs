//! StorageClasses, CSIDrivers, CSINodes, CSIStorageCapacities, VolumeAttachments, VolumeAttributesClasses.

mod attachment;
mod attributes_class;
mod capacity;
mod class;
mod columns;
mod driver;
mod node;
mod validation;

pub use attachment::VolumeAttachments;
pub use attributes_class::VolumeAttributesClasses;
pub use capacity::CsiStorageCapacities;
pub use class::StorageClasses;
pub use driver::CsiDrivers;
pub use node::CsiNodes;
