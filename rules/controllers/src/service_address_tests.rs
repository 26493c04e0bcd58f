//! Addresses of services in fixtures.

use crate::service_address::{ADDRESSES, DEFAULT_RANGE, SERVICES};
use crate::testing::World;
use corten_api::networking::v1::IPAddress;
use corten_meta::{GroupResource, ObjectKey};
use expect_test::expect;

const CIDR: &str = "---\napiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16]}\n";

fn service(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: a, name: {name}}}\nspec: {{clusterIP: {address}, clusterIPs: [{address}], type: ClusterIP}}\n"
    )
}

fn address(name: &str, service: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {{name: {name}, labels: {{ipaddress.kubernetes.io/managed-by: ipallocator.k8s.io, ipaddress.kubernetes.io/ip-family: IPv4}}}}\nspec: {{parentRef: {{resource: services, namespace: a, name: {service}}}}}\n"
    )
}

fn world(parts: &[String]) -> World {
    World::new(&(CIDR.to_owned() + &parts.concat()))
}

#[test]
fn a_missing_object_is_made_anew() {
    let mut world = world(&[service("web", "10.96.0.9")]);
    expect![[r"
        create ipaddresses /10.96.0.9 if ipaddresses 10.96.0.9 is gone if services a/web is there
        Warning ClusterIPNotAllocated Service/web: Cluster IP [IPv4]: 10.96.0.9 is not allocated; repairing"]]
    .assert_eq(&world.step(&SERVICES, "a/web"));
    expect![""].assert_eq(&world.step(&SERVICES, "a/web"));
    expect![""].assert_eq(&world.step(&ADDRESSES, "10.96.0.9"));
    let made = world.snapshot.get::<IPAddress>("", "10.96.0.9").unwrap();
    assert_eq!(made.spec.parent_ref.as_ref().unwrap().name, "web");
}

#[test]
fn headless_services_and_whole_ones_are_left_alone() {
    let whole = [service("web", "10.96.0.9"), address("10.96.0.9", "web")];
    expect![""].assert_eq(&world(&whole).step(&SERVICES, "a/web"));
    expect![""].assert_eq(&world(&[service("web", "None")]).step(&SERVICES, "a/web"));
}

#[test]
fn an_address_outside_of_every_range_is_told() {
    let mut world = world(&[service("web", "10.1.0.9")]);
    expect!["Warning ClusterIPOutOfRange Service/web: Cluster IP [IPv4]: 10.1.0.9 is not within any configured Service CIDR; please recreate service"]
        .assert_eq(&world.step(&SERVICES, "a/web"));
}

#[test]
fn an_object_that_names_nobody_is_replaced() {
    let mut world = world(&[service("web", "10.96.0.9"), address("10.96.0.9", "other")]);
    expect![[r"
        delete ipaddresses 10.96.0.9 if services a/other is gone
        create ipaddresses /10.96.0.9
        Warning ClusterIPNotAllocated Service/web: the ClusterIP [IPv4]: 10.96.0.9 for Service a/web has a wrong reference; repairing"]]
    .assert_eq(&world.step(&SERVICES, "a/web"));
}

#[test]
fn two_services_with_one_address_are_told() {
    let mut world = world(&[
        service("web", "10.96.0.9"),
        service("other", "10.96.0.9"),
        address("10.96.0.9", "other"),
    ]);
    expect!["Warning ClusterIPAlreadyAllocated Service/web: Cluster IP [IPv4]:10.96.0.9 was assigned to multiple services; please recreate service"]
        .assert_eq(&world.step(&SERVICES, "a/web"));
}

#[test]
fn an_object_without_its_labels_is_replaced() {
    let mut world = world(&[
        service("web", "10.96.0.9"),
        address("10.96.0.9", "web").replace("IPv4", "IPv6"),
    ]);
    expect![[r"
        delete ipaddresses 10.96.0.9
        create ipaddresses /10.96.0.9"]]
    .assert_eq(&world.step(&SERVICES, "a/web"));
}

#[test]
fn an_object_without_service_goes_after_a_minute() {
    let new = "creationTimestamp: '2026-01-01T00:00:00Z', name: 10.96.0.9";
    let mut world = world(&[address("10.96.0.9", "web").replacen("name: 10.96.0.9", new, 1)]);
    expect!["wake at +60s"].assert_eq(&world.step(&ADDRESSES, "10.96.0.9"));
    world.later(60);
    expect![[r"
        delete ipaddresses 10.96.0.9 if services a/web is gone
        Warning IPAddressNotAllocated IPAddress/10.96.0.9: IPAddress: 10.96.0.9 for Service a/web appears to have leaked: cleaning up"]]
    .assert_eq(&world.step(&ADDRESSES, "10.96.0.9"));
}

#[test]
fn an_object_that_its_service_does_not_have_goes() {
    let mut world = world(&[service("web", "10.96.0.8"), address("10.96.0.9", "web")]);
    expect![[r"
        delete ipaddresses 10.96.0.9
        Warning IPAddressWrongReference IPAddress/10.96.0.9: IPAddress: 10.96.0.9 for Service a/web has a wrong reference; cleaning up"]]
    .assert_eq(&world.step(&ADDRESSES, "10.96.0.9"));
}

#[test]
fn others_objects_are_left_alone() {
    let by_hand = address("10.96.0.9", "web").replace("ipallocator.k8s.io", "me");
    let mut world = world(&[by_hand]);
    world.later(100);
    expect![""].assert_eq(&world.step(&ADDRESSES, "10.96.0.9"));
}

#[test]
fn what_is_deleted_by_hand_comes_back() {
    let mut world = world(&[service("web", "10.96.0.9"), address("10.96.0.9", "web")]);
    let addresses = GroupResource::new("networking.k8s.io", "ipaddresses");
    let key = ObjectKey::new("", "10.96.0.9");
    world.snapshot.remove(&addresses, &key);
    world.run(&SERVICES, "a/web");
    assert!(world.snapshot.get::<IPAddress>("", "10.96.0.9").is_some());
}

#[test]
fn the_configured_range_comes_back() {
    let mut world = world(&[]);
    world.context.cluster.service_cidr = "10.96.0.0/16".into();
    expect![""].assert_eq(&world.step(&DEFAULT_RANGE, "kubernetes"));
    let ranges = GroupResource::new("networking.k8s.io", "servicecidrs");
    world
        .snapshot
        .remove(&ranges, &ObjectKey::new("", "kubernetes"));
    expect!["create servicecidrs /kubernetes if servicecidrs kubernetes is gone"]
        .assert_eq(&world.step(&DEFAULT_RANGE, "kubernetes"));
    expect![""].assert_eq(&world.step(&DEFAULT_RANGE, "another"));
}
