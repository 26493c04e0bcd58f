//! Mirrored Endpoints in fixtures.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::core::v1::{Endpoints, Service};
use corten_api::discovery::v1::EndpointSlice;
use expect_test::expect;

const TEXT: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {clusterIP: 10.96.0.9, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: default, labels: {team: a}, annotations: {note: x, kubectl.kubernetes.io/last-applied-configuration: old}}
subsets:
- addresses: [{ip: 192.0.2.1}, {ip: 'fd00::1'}]
  notReadyAddresses: [{ip: 192.0.2.2, hostname: h}]
  ports: [{name: pg, port: 5432, protocol: TCP}]
";

fn slices(world: &World) -> String {
    world.list::<EndpointSlice>(|s| {
        let endpoints = s.endpoints.iter().map(|e| {
            let ready = if e.conditions.ready == Some(true) {
                ""
            } else {
                "!"
            };
            format!(" {ready}{}", e.addresses[0])
        });
        let ports = s.ports.iter().map(|p| format!(" {}", p.port.unwrap_or(0)));
        let ports: String = ports.collect();
        format!("{}{ports}{}", s.address_type, endpoints.collect::<String>())
    })
}

#[test]
fn each_family_is_mirrored_with_labels_and_annotations() {
    let mut world = World::new(TEXT);
    expect![[r#"
        create endpointslices default/db-
        create endpointslices default/db-"#]]
    .assert_eq(&world.run(&CONTROLLER, "default/db"));
    expect![[r#"
        db-3 IPv4 5432 192.0.2.1 !192.0.2.2
        db-5 IPv6 5432 fd00::1"#]]
    .assert_eq(&slices(&world));
    let slice = world.snapshot.list::<EndpointSlice>().next().unwrap();
    let labels: Vec<String> = slice
        .metadata
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        labels,
        [
            "endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io",
            "kubernetes.io/service-name=db",
            "team=a"
        ]
    );
    let annotations: Vec<&str> = slice
        .metadata
        .annotations
        .iter()
        .map(|(k, _)| k.as_str())
        .collect();
    assert_eq!(annotations, ["note"]);
    assert_eq!(slice.metadata.controller_of().unwrap().kind, "Endpoints");
    assert_eq!(slice.endpoints[1].hostname.as_deref(), Some("h"));
}

#[test]
fn changes_are_followed_in_the_same_slice() {
    let mut world = World::new(TEXT);
    world.run(&CONTROLLER, "default/db");
    world.edit::<Endpoints>("default", "db", |e| {
        e.subsets[0].addresses = e.subsets[0].addresses.iter().take(1).cloned().collect();
        e.subsets[0].ports[0].port = 5433;
    });
    world.run(&CONTROLLER, "default/db");
    expect!["db-3 IPv4 5433 192.0.2.1 !192.0.2.2"].assert_eq(&slices(&world));
}

#[test]
fn mirrors_go_with_what_they_mirror() {
    let edits: [fn(&mut World); 3] = [
        |w| {
            w.edit::<Endpoints>("default", "db", |e| {
                e.metadata
                    .labels
                    .insert("endpointslice.kubernetes.io/skip-mirror", "true");
            })
        },
        |w| {
            w.edit::<Service>("default", "db", |s| {
                s.spec.selector.insert("app", "db");
            })
        },
        |w| w.edit::<Endpoints>("default", "db", |e| e.subsets = Default::default()),
    ];
    for edit in edits {
        let mut world = World::new(TEXT);
        world.run(&CONTROLLER, "default/db");
        edit(&mut world);
        world.run(&CONTROLLER, "default/db");
        expect![""].assert_eq(&slices(&world));
    }
}

#[test]
fn what_is_no_address_is_told_of() {
    let text = TEXT.replace("192.0.2.2", "localhost");
    let done = World::new(&text).run(&CONTROLLER, "default/db");
    assert!(
        done.ends_with("Warning InvalidIPAddress Endpoints/db: Skipped 1 invalid IP addresses when mirroring to EndpointSlices"),
        "{done}"
    );
}

#[test]
fn leader_elections_are_not_mirrored() {
    let text = TEXT.replace("note: x", "control-plane.alpha.kubernetes.io/leader: '{}'");
    expect![""].assert_eq(&World::new(&text).run(&CONTROLLER, "default/db"));
}
