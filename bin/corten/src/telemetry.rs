//! Logs: one line each on standard error.

use tracing_subscriber::EnvFilter;

/// Starts logging what `filter` selects; an unreadable filter logs warnings only.
pub fn start(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(true)
        .init();
}
