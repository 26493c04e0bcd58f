//! ResourceClaims, their templates, DeviceClasses and ResourceSlices.

mod claim;
mod class;
mod columns;
mod slice;

pub use claim::{ResourceClaimTemplates, ResourceClaims};
pub use class::DeviceClasses;
pub use slice::ResourceSlices;
