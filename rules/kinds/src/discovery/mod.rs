//! EndpointSlices.

mod columns;
mod endpoint_slice;

pub use endpoint_slice::EndpointSlices;
