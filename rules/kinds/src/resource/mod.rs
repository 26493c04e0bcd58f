//! ResourceClaims, their templates, DeviceClasses and ResourceSlices.

mod claim;
mod class;
mod columns;
mod convert;
mod device_selector;
mod slice;
mod slice_validation;
mod validation;

pub use claim::{ResourceClaimTemplates, ResourceClaims};
pub use class::DeviceClasses;
pub use convert::convert;
pub use slice::ResourceSlices;
