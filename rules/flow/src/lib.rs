//! API priority and fairness: which flow a request belongs to, how many seats it takes, in which queue it waits and
//! when it is its turn. Pure: times come in as durations since a start, randomness as a seed.
//! Invariant: a flow gets no more than its share of its level while others wait there. Left out: waiting itself.

mod borrow;
mod classify;
mod deal;
mod demand;
mod drops;
mod queue;
mod queues;
mod seats;

pub use borrow::{Claim, Limits, Share, limits, seats_max, share_out};
pub use classify::{Class, Request, Schema, Schemas, flow_hash};
pub use deal::deal;
pub use demand::{Demand, Observed, Smoothed};
pub use drops::Drops;
pub use queues::{
    Arrival, Counts, Given, QueueView, Queues, Queuing, Refusal, Seat, Ticket, Waited,
};
pub use seats::{ListWork, Work, list_seats, write_work};
