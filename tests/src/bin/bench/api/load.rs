//! Load on one core: clients with a connection each that send requests made before the clock starts, and the time
//! each answer takes. Invariant: an answer that was not expected ends the measurement.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use corten_tests::{ApiAccess, NetworkNamespace};

use crate::pinned::{LOAD, pin};

/// One request, and the answer it is to get.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub accept: &'static str,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub expect: u16,
}

impl Request {
    /// A read as JSON.
    pub fn get(path: impl Into<String>) -> Request {
        Request {
            method: "GET",
            path: path.into(),
            accept: "application/json",
            content_type: "application/json",
            body: Vec::new(),
            expect: 200,
        }
    }

    /// A write of JSON.
    pub fn write(
        method: &'static str,
        path: impl Into<String>,
        body: impl Into<Vec<u8>>,
    ) -> Request {
        Request {
            method,
            body: body.into(),
            expect: if method == "POST" { 201 } else { 200 },
            ..Request::get(path)
        }
    }

    /// With a body of another type.
    pub fn typed(self, content_type: &'static str) -> Request {
        Request {
            content_type,
            ..self
        }
    }

    /// Answered in another type.
    pub fn accepting(self, accept: &'static str) -> Request {
        Request { accept, ..self }
    }

    fn bytes(&self, access: &ApiAccess) -> Vec<u8> {
        access.encode(
            self.method,
            &self.path,
            self.accept,
            self.content_type,
            &self.body,
        )
    }
}

/// What some load gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Milliseconds, ascending.
    pub latencies: Vec<f64>,
    pub seconds: f64,
    /// Bytes of all answers' bodies.
    pub bytes: u64,
}

/// Sends `count` requests over `clients` connections, each as soon as the last one of its client was answered.
pub fn drive(
    network: &NetworkNamespace,
    access: &ApiAccess,
    clients: usize,
    count: usize,
    make: &(dyn Fn(usize) -> Request + Sync),
) -> Result<Outcome> {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let mut outcome = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..clients.min(count).max(1))
            .map(|_| {
                let next = &next;
                scope.spawn(move || client(network, access, next, count, make))
            })
            .collect();
        let mut all = Outcome::default();
        for worker in workers {
            match worker.join() {
                Ok(one) => {
                    let one = one?;
                    all.latencies.extend(one.latencies);
                    all.bytes += one.bytes;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        anyhow::Ok(all)
    })?;
    outcome.seconds = started.elapsed().as_secs_f64();
    outcome.latencies.sort_by(f64::total_cmp);
    Ok(outcome)
}

fn client(
    network: &NetworkNamespace,
    access: &ApiAccess,
    next: &AtomicUsize,
    count: usize,
    make: &(dyn Fn(usize) -> Request + Sync),
) -> Result<Outcome> {
    pin(LOAD)?;
    let mut client = network.enter(|| access.connect())??;
    let mut outcome = Outcome::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(outcome);
        }
        let request = make(number);
        let bytes = request.bytes(access);
        let started = Instant::now();
        let answer = client.exchange(&bytes)?;
        outcome
            .latencies
            .push(started.elapsed().as_secs_f64() * 1000.0);
        outcome.bytes += answer.length as u64;
        if answer.status != request.expect {
            let said = String::from_utf8_lossy(&answer.beginning);
            bail!(
                "{} {} answered {}: {said}",
                request.method,
                request.path,
                answer.status
            );
        }
    }
}
