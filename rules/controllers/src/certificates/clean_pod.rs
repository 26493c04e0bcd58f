//! Deletes PodCertificateRequests a quarter of an hour after they were made: whoever needed one has its certificate by
//! then, or asked again.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, resource};
use corten_api::certificates::v1beta1::PodCertificateRequest;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "podcertificaterequest-cleaner-controller",
    service_account: "podcertificaterequestcleaner",
    primary: resource::<PodCertificateRequest>,
    wakes: &[],
    reconcile: plan,
};

/// How long one stays, seconds.
const STAYS: i64 = 15 * 60;

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let request = snapshot.get::<PodCertificateRequest>(&key.namespace, &key.name)?;
    let mut plan = Plan::default();
    let end = request.metadata.creation_timestamp.plus_seconds(STAYS);
    match context.now < end {
        true => plan.wake_at(end),
        false => plan.write(Write::delete(request, "its time is over")),
    }
    Some(plan)
}
