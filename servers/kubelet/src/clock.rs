//! The one place where the kubelet reads the wall clock.

use corten_podplan::Moment;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The present moment.
pub(crate) fn now() -> Moment {
    of(SystemTime::now())
}

/// A system time as a moment.
pub(crate) fn of(time: SystemTime) -> Moment {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is from now to `moment`; nothing when it has passed.
pub(crate) fn until(moment: Moment) -> Duration {
    let millis = moment.millis_since(now());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
