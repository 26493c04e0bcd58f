//! Fairness under load, told as a small simulation: flows that always have a request waiting, and a clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::classify::flow_hash;

const QUEUING: Queuing = Queuing::Queue {
    queues: 64,
    hand: 6,
    length: 50,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn wide(seats: u32) -> Work {
    Work { seats, ..Work::ONE }
}

/// Runs flows (requests kept waiting, width, milliseconds each) for a while on so many seats; answers how many
/// seat-milliseconds each flow got.
fn shares(limit: u32, flows: &[(usize, u32, u64)], until: u64) -> Vec<u64> {
    let mut queues: Queues<usize> = Queues::new(QUEUING, limit, ms(0));
    let mut running: Vec<(u64, usize, Seat)> = Vec::new();
    let mut waiting = vec![0usize; flows.len()];
    let mut got = vec![0u64; flows.len()];
    for now in 0..until {
        let mut given = Vec::new();
        let done: Vec<_> = running.extract_if(.., |(end, _, _)| *end <= now).collect();
        for (_, flow, seat) in done {
            got[flow] += u64::from(seat.width()) * flows[flow].2;
            assert!(queues.finish(ms(now), seat, &mut given).is_none());
        }
        for (flow, (depth, width, takes)) in flows.iter().enumerate() {
            while waiting[flow] < *depth {
                let hash = flow_hash(5, "schema", &flow.to_string());
                match queues.arrive(ms(now), hash, wide(*width), || flow) {
                    Arrival::Runs(seat) => running.push((now + takes, flow, seat)),
                    Arrival::Waits(_) => waiting[flow] += 1,
                    Arrival::Refused(_) => break,
                }
            }
        }
        for (flow, seat) in given {
            waiting[flow] -= 1;
            running.push((now + flows[flow].2, flow, seat));
        }
        assert!(queues.counts().seats_in_use <= limit);
    }
    got
}

#[test]
fn a_noisy_flow_gets_no_more_than_a_modest_one() {
    let got = shares(10, &[(200, 1, 10), (4, 1, 10)], 4000);
    // The modest flow keeps four requests waiting, in up to four queues of its own; the noisy one has six queues.
    assert!(got[1] * 2 > got[0], "{got:?}");
    let alone = shares(10, &[(200, 1, 10)], 4000);
    assert!(alone[0] > 35_000, "{alone:?}");
}

#[test]
fn wide_and_slow_requests_count_for_what_they_take() {
    let got = shares(12, &[(60, 1, 5), (60, 4, 20)], 8000);
    let (low, high) = (got[0].min(got[1]), got[0].max(got[1]));
    assert!(low * 10 > high * 6, "{got:?}");
}

#[test]
fn a_full_queue_refuses_and_the_rest_wait_their_turn() {
    let one = Queuing::Queue {
        queues: 1,
        hand: 1,
        length: 2,
    };
    let mut queues: Queues<u32> = Queues::new(one, 1, ms(0));
    let Arrival::Runs(first) = queues.arrive(ms(0), 1, Work::ONE, || 0) else {
        panic!("the first runs")
    };
    let Arrival::Waits(second) = queues.arrive(ms(1), 1, Work::ONE, || 1) else {
        panic!("the second waits")
    };
    assert!(matches!(
        queues.arrive(ms(1), 1, Work::ONE, || 2),
        Arrival::Waits(_)
    ));
    let refused = queues.arrive(ms(1), 1, Work::ONE, || 3);
    assert_eq!(refused, Arrival::Refused(Refusal::QueueFull));
    assert!(queues.give_up(ms(2), second, Waited::TooLong));
    assert!(!queues.give_up(ms(2), second, Waited::TooLong));
    let mut given = Vec::new();
    assert!(queues.finish(ms(3), first, &mut given).is_none());
    let (who, seat) = given.pop().unwrap();
    assert_eq!((who, given.len()), (2, 0));
    assert!(queues.finish(ms(4), seat, &mut given).is_none());
    assert!(queues.is_idle());
    let counts = queues.counts();
    assert_eq!(
        (counts.dispatched, counts.rejected, counts.timed_out),
        (2, 2, 1)
    );
}

#[test]
fn seats_linger_and_too_wide_requests_run_alone() {
    let mut queues: Queues<u32> = Queues::new(QUEUING, 4, ms(0));
    let work = Work {
        seats: 1,
        final_seats: 3,
        lingers: ms(5),
    };
    let Arrival::Runs(seat) = queues.arrive(ms(0), 1, work, || 0) else {
        panic!("it runs")
    };
    assert!(matches!(
        queues.arrive(ms(0), 2, wide(9), || 1),
        Arrival::Waits(_)
    ));
    let mut given = Vec::new();
    let lingering = queues.finish(ms(1), seat, &mut given).unwrap();
    assert!(given.is_empty() && queues.counts().seats_in_use == 3);
    queues.release(ms(6), lingering, &mut given);
    assert_eq!(given.len(), 1);
    assert!(matches!(
        queues.arrive(ms(7), 3, Work::ONE, || 2),
        Arrival::Waits(_)
    ));
}

#[test]
fn levels_without_queues() {
    let mut reject: Queues<u32> = Queues::new(Queuing::Reject, 1, ms(0));
    assert!(matches!(
        reject.arrive(ms(0), 1, Work::ONE, || 0),
        Arrival::Runs(_)
    ));
    let refused = reject.arrive(ms(0), 1, Work::ONE, || 0);
    assert_eq!(refused, Arrival::Refused(Refusal::Concurrency));
    let mut exempt: Queues<u32> = Queues::new(Queuing::Exempt, 0, ms(0));
    for _ in 0..1000 {
        assert!(matches!(
            exempt.arrive(ms(0), 1, wide(10), || 0),
            Arrival::Runs(_)
        ));
    }
}

#[test]
fn fewer_queues_drain_and_more_seats_start_waiters() {
    let mut queues: Queues<u32> = Queues::new(QUEUING, 1, ms(0));
    let mut given = Vec::new();
    let Arrival::Runs(seat) = queues.arrive(ms(0), 77, Work::ONE, || 0) else {
        panic!("it runs")
    };
    for flow in 0..10 {
        assert!(matches!(
            queues.arrive(ms(0), flow << 20, Work::ONE, || 1),
            Arrival::Waits(_)
        ));
    }
    let few = Queuing::Queue {
        queues: 2,
        hand: 1,
        length: 9,
    };
    queues.configure(few, 100, ms(1), &mut given);
    assert_eq!(given.len(), 10);
    let mut none = Vec::new();
    for (_, seat) in given.drain(..).chain([(0, seat)]) {
        assert!(queues.finish(ms(2), seat, &mut none).is_none());
    }
    assert!(queues.is_idle() && queues.views().count() == 2 && none.is_empty());
}
