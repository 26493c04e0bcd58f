//! Jobs and CronJobs: one file per kind.

mod columns;
mod cron_job;
mod indexes;
mod job;
mod job_status;
mod job_validation;
mod schedule;

pub use cron_job::CronJobs;
pub use job::Jobs;
