//! ServiceCIDR: a range of service addresses is ready from its creation, and stays until no address depends on it.
//!
//! Invariant: the finalizer goes only when every address that was given from the range lies in another one too, and a
//! while after the deletion, so that whoever gives addresses has seen it.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::meta::v1::Condition;
use corten_api::networking::v1::{IPAddress, ServiceCIDR};
use corten_core::{Str, Time};
use corten_meta::{ObjectKey, Snapshot};
use std::net::IpAddr;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "service-cidr-controller",
    service_account: "service-cidrs-controller",
    primary: resource::<ServiceCIDR>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<ServiceCIDR>),
            keys: overlapping,
        },
        Wake {
            on: Watched::One(resource::<IPAddress>),
            keys: containing,
        },
    ],
    reconcile: plan,
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The label of addresses that the API server gave: these keep a range.
pub(crate) const MANAGED_BY: (&str, &str) =
    ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
/// Those who give addresses see a deletion within so long, seconds.
const GRACE: i64 = 10;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    first: u128,
    length: u32,
    is_v6: bool,
}

fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl Range {
    /// A range in CIDR notation.
    pub(crate) fn parse(text: &str) -> Option<Range> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u32 = length.parse().ok()?;
        let (first, most) = number(address);
        (length <= most).then_some(Range {
            first,
            length,
            is_v6: address.is_ipv6(),
        })
    }

    /// Whether all of `other` lies in it.
    pub(crate) fn holds(self, other: Range) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
        self.is_v6 == other.is_v6
            && self.length <= other.length
            && self.first & mask == other.first & mask
    }
}

/// The ranges of one object: one for each address family.
pub(crate) fn ranges(cidr: &ServiceCIDR) -> impl Iterator<Item = Range> {
    cidr.spec.cidrs.iter().filter_map(|c| Range::parse(c))
}

/// The range that is just this address.
pub(crate) fn address_of(name: &str) -> Option<Range> {
    let address: IpAddr = name.parse().ok()?;
    let (first, length) = number(address);
    Some(Range {
        first,
        length,
        is_v6: address.is_ipv6(),
    })
}

fn key_of(cidr: &ServiceCIDR) -> ObjectKey {
    ObjectKey::new("", cidr.metadata.name.clone())
}

/// Ranges that another one may set free.
fn overlapping(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(changed) = object.downcast_ref::<ServiceCIDR>() else {
        return Vec::new();
    };
    let going = snapshot
        .list::<ServiceCIDR>()
        .filter(|c| c.metadata.deleting());
    going
        .filter(|c| ranges(c).any(|r| ranges(changed).any(|o| r.holds(o) || o.holds(r))))
        .map(key_of)
        .collect()
}

fn containing(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(address) = address_of(&object.meta().name) else {
        return Vec::new();
    };
    let going = snapshot
        .list::<ServiceCIDR>()
        .filter(|c| c.metadata.deleting());
    going
        .filter(|c| ranges(c).any(|r| r.holds(address)))
        .map(key_of)
        .collect()
}

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let cidr = snapshot.get::<ServiceCIDR>("", &key.name)?;
    let mut plan = Plan::default();
    let mut new = cidr.clone();
    if !cidr.metadata.deleting() {
        new.metadata.add_finalizer(FINALIZER);
        if let Some(write) = Write::patch(cidr, &new, "addresses may be given from it") {
            plan.write(write);
            return Some(plan);
        }
        let text = "Kubernetes Service CIDR is ready";
        ready(&mut new, "True", "", text, context.now);
        plan.write_if(Write::patch_status(cidr, &new, "it can be used"));
        return Some(plan);
    }
    if !is_free(snapshot, cidr) {
        let text = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        ready(&mut new, "False", "Terminating", text, context.now);
        plan.write_if(Write::patch_status(cidr, &new, "addresses depend on it"));
        return Some(plan);
    }
    let deleted = cidr.metadata.deletion_timestamp.unwrap_or_default();
    let end = deleted.plus_seconds(GRACE);
    if end > context.now {
        plan.wake_at(end);
        return Some(plan);
    }
    new.metadata.remove_finalizer(FINALIZER);
    let write = Write::patch(cidr, &new, "no address depends on it");
    plan.write_if(write.map(|w| w.only_if_unchanged(cidr)));
    Some(plan)
}

/// Whether other ranges hold all of it, or all addresses that were given from it.
fn is_free(snapshot: &Snapshot, cidr: &ServiceCIDR) -> bool {
    let others = || {
        snapshot
            .list::<ServiceCIDR>()
            .filter(|c| c.metadata.name != cidr.metadata.name)
    };
    let elsewhere = |range: Range| others().any(|c| ranges(c).any(|r| r.holds(range)));
    if ranges(cidr).all(elsewhere) {
        return true;
    }
    snapshot
        .list::<IPAddress>()
        .filter(|a| a.metadata.label(MANAGED_BY.0) == MANAGED_BY.1)
        .filter_map(|a| address_of(&a.metadata.name))
        .all(|address| !ranges(cidr).any(|r| r.holds(address)) || elsewhere(address))
}

fn ready(cidr: &mut ServiceCIDR, status: &str, reason: &str, message: &str, now: Time) {
    let new = Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: now,
        ..Default::default()
    };
    let text =
        |c: &Condition| -> [Str; 3] { [c.status.clone(), c.reason.clone(), c.message.clone()] };
    match cidr
        .status
        .conditions
        .iter_mut()
        .find(|c| c.type_ == "Ready")
    {
        Some(old) if text(old) == text(&new) => {}
        Some(old) => *old = new,
        None => cidr.status.conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::{CONTROLLER, Range, address_of};
    use crate::testing::World;
    use corten_api::networking::v1::ServiceCIDR;
    use corten_meta::{GroupResource, ObjectKey};
    use expect_test::expect;

    fn cidr(name: &str, range: &str, meta: &str) -> String {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {{name: {name}{meta}}}\nspec: {{cidrs: [{range}]}}\n"
        )
    }

    const GOING: &str = ", deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [networking.k8s.io/service-cidr-finalizer]";
    const ADDRESS: &str = "---\napiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: 10.1.0.5, labels: {ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io}}\n";

    #[test]
    fn ranges_hold_what_lies_in_them() {
        let holds = |range: &str, name: &str| {
            Range::parse(range)
                .unwrap()
                .holds(address_of(name).unwrap())
        };
        assert!(holds("10.1.0.0/16", "10.1.255.1") && !holds("10.1.0.0/16", "10.2.0.1"));
        assert!(holds("0.0.0.0/0", "10.2.0.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/64", "fd00::9") && !holds("fd00::/64", "fd00:1::9"));
    }

    #[test]
    fn a_range_is_protected_and_then_ready() {
        let mut world = World::new(&cidr("a", "10.1.0.0/16", ""));
        expect![[r#"
            patch servicecidrs a {"metadata":{"finalizers":["networking.k8s.io/service-cidr-finalizer"]}}
            patch servicecidrs a /status {"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Kubernetes Service CIDR is ready","reason":"","status":"True","type":"Ready"}]}}"#]]
        .assert_eq(&world.run(&CONTROLLER, "a"));
    }

    #[test]
    fn a_range_that_goes_waits_for_its_addresses() {
        let mut world = World::new(&(cidr("a", "10.1.0.0/16", GOING) + ADDRESS));
        let done = world.run(&CONTROLLER, "a");
        assert!(
            done.contains("There are still IPAddresses referencing"),
            "{done}"
        );
        let addresses = GroupResource::new("networking.k8s.io", "ipaddresses");
        world
            .snapshot
            .remove(&addresses, &ObjectKey::new("", "10.1.0.5"));
        expect!["wake at +10s"].assert_eq(&world.step(&CONTROLLER, "a"));
        world.later(10);
        world.run(&CONTROLLER, "a");
        assert_eq!(world.snapshot.list::<ServiceCIDR>().count(), 0);
    }

    #[test]
    fn another_range_takes_the_addresses_over() {
        let text = cidr("a", "10.1.0.0/16", GOING) + &cidr("b", "10.1.0.0/24", "") + ADDRESS;
        expect!["wake at +10s"].assert_eq(&World::new(&text).step(&CONTROLLER, "a"));
    }
}
