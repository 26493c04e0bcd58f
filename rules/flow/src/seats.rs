//! How wide a request is: lists take seats by the objects they touch, writes go on taking seats for the events that
//! their watchers get. The figures are upstream's.

use std::time::Duration;

/// What a request will cost: seats while it runs, and seats for a while after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Seats while it runs, at least 1.
    pub seats: u32,
    /// Seats afterwards.
    pub final_seats: u32,
    /// How long afterwards.
    pub lingers: Duration,
}

impl Work {
    /// One seat, nothing afterwards.
    pub const ONE: Work = Work {
        seats: 1,
        final_seats: 0,
        lingers: Duration::ZERO,
    };

    /// The seats it must have to start.
    pub fn width(&self) -> u32 {
        self.seats.max(self.final_seats)
    }

    /// Seat-seconds, with `service` as the guess how long it runs.
    pub fn total(&self, service: Duration) -> f64 {
        f64::from(self.seats) * service.as_secs_f64()
            + f64::from(self.final_seats) * self.lingers.as_secs_f64()
    }
}

const SEATS_MAX: u32 = 10;
const LIST_SEATS_MAX: u32 = 100;
const BYTES_PER_SEAT: u64 = 100_000;
/// Streamed lists hold no more than this at once.
const STREAMED_BYTES_MAX: u64 = 1_000_000;
const WATCHERS_PER_SEAT: u64 = 10;
const EVENT_COST: Duration = Duration::from_millis(5);

/// What is known of a list before it runs.
#[derive(Clone, Copy, Debug)]
pub struct ListWork {
    /// Objects stored of the resource.
    pub objects: u64,
    /// Their mean size in bytes.
    pub size: u64,
    /// Objects asked for; 0 for all.
    pub limit: u64,
    /// The request names one object.
    pub single: bool,
}

/// The seats of a list (or of a watch that starts with one), at most `most` (0 = no limit of the level).
pub fn list_seats(list: ListWork, most: u32) -> u32 {
    let most = if most == 0 {
        LIST_SEATS_MAX
    } else {
        most.min(LIST_SEATS_MAX)
    };
    let touched = match (list.single, list.limit) {
        (true, _) => 1,
        (false, 0) => list.objects,
        (false, limit) => limit.min(list.objects),
    };
    let bytes = touched.saturating_mul(list.size).min(STREAMED_BYTES_MAX);
    let seats = bytes.div_ceil(BYTES_PER_SEAT);
    u32::try_from(seats).unwrap_or(most).clamp(1, most)
}

/// The work of a write that so many watchers hear of.
pub fn write_work(watchers: u64, most: u32) -> Work {
    if watchers < WATCHERS_PER_SEAT {
        return Work::ONE;
    }
    let most = if most == 0 {
        SEATS_MAX
    } else {
        most.min(SEATS_MAX)
    };
    let wanted = u32::try_from(watchers.div_ceil(WATCHERS_PER_SEAT)).unwrap_or(u32::MAX);
    let seats = wanted.min(most);
    Work {
        seats: 1,
        final_seats: seats,
        lingers: EVENT_COST.mul_f64(f64::from(wanted) / f64::from(seats)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(objects: u64, size: u64, limit: u64) -> u32 {
        let single = false;
        let work = ListWork {
            objects,
            size,
            limit,
            single,
        };
        list_seats(work, 9)
    }

    #[test]
    fn lists_are_as_wide_as_what_they_hold() {
        assert_eq!(list(0, 0, 0), 1);
        assert_eq!(list(100, 1000, 0), 1);
        assert_eq!(list(101, 1000, 0), 2);
        assert_eq!(list(10_000, 1000, 150), 2);
        assert_eq!(list(1_000_000, 5000, 0), 9);
        let work = ListWork {
            objects: 1000,
            size: 90_000,
            limit: 0,
            single: true,
        };
        assert_eq!(list_seats(work, 0), 1);
    }

    #[test]
    fn writes_linger_for_their_watchers() {
        assert_eq!(write_work(9, 0), Work::ONE);
        let few = write_work(25, 0);
        assert_eq!((few.final_seats, few.lingers), (3, EVENT_COST));
        // As much work in fewer seats takes longer.
        let many = write_work(1000, 0);
        assert_eq!((many.final_seats, many.lingers), (10, EVENT_COST * 10));
    }
}
