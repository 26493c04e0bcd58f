//! HorizontalPodAutoscalers, stored as autoscaling/v2.

mod columns;
mod convert;
mod metrics;
mod pod_autoscaler;
mod validation;

pub use convert::convert;
pub use pod_autoscaler::HorizontalPodAutoscalers;
