//! EndpointSlices.

mod columns;
mod endpoint_slice;
mod validation;

pub use endpoint_slice::EndpointSlices;
