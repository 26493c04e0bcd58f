//! Deletes requests that nobody decides, and those that were dealt with.
//!
//! Invariant: times are counted from the last condition, or from creation while there is none. Leaves out: issued
//! certificates that expire within the hour after which they go anyway.

use super::has;
use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, resource};
use corten_api::certificates::v1::CertificateSigningRequest;
use corten_core::Time;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "certificatesigningrequest-cleaner",
    service_account: "certificate-controller",
    primary: resource::<CertificateSigningRequest>,
    wakes: &[],
    reconcile: plan,
};

/// One that was issued, denied or refused stays so long, seconds.
const SETTLED: i64 = 3600;
/// One that waits stays so long, seconds.
const PENDING: i64 = 24 * 3600;

/// When the request may go, and why.
fn end_of(request: &CertificateSigningRequest) -> Option<(Time, &'static str)> {
    let conditions = &request.status.conditions;
    if conditions.is_empty() {
        let made = request.metadata.creation_timestamp;
        return Some((made.plus_seconds(PENDING), "nobody has decided about it"));
    }
    let at = |kind: &str| {
        let mut found = conditions.iter().filter(|c| c.type_ == kind);
        found.find_map(|c| (!c.last_update_time.is_zero()).then_some(c.last_update_time))
    };
    let issued = !request.status.certificate.is_empty();
    let settled = at("Denied")
        .or(at("Failed"))
        .or_else(|| at("Approved").filter(|_| issued));
    if let Some(at) = settled {
        return Some((at.plus_seconds(SETTLED), "it was dealt with"));
    }
    let approved = at("Approved").filter(|_| has(request, "Approved"))?;
    Some((
        approved.plus_seconds(PENDING),
        "no certificate was issued for it",
    ))
}

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let request = snapshot.get::<CertificateSigningRequest>("", &key.name)?;
    let mut plan = Plan::default();
    let (end, because) = end_of(request)?;
    match end < context.now {
        true => plan.write(Write::delete(request, because)),
        false => plan.wake_at(end.plus_seconds(1)),
    }
    Some(plan)
}
