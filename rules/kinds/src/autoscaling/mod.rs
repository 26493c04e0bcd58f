//! HorizontalPodAutoscalers, stored as autoscaling/v2.

mod columns;
mod convert;
mod metrics;
mod pod_autoscaler;

pub use convert::convert;
pub use pod_autoscaler::HorizontalPodAutoscalers;
