//! Jobs and CronJobs: one file per kind.

mod columns;
mod cron_job;
mod job;

pub use cron_job::CronJobs;
pub use job::Jobs;
