//! Endpoint slices in fixtures: who is in them, under which conditions and ports, and how slices are filled.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::core::v1::{Pod, PodCondition, PodIP, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_core::Time;
use expect_test::expect;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, labels: {tier: front}}
spec:
  clusterIP: 10.96.0.7
  ipFamilies: [IPv4]
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
";

fn pod(name: &str, address: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: web}}}}
spec: {{nodeName: n1, containers: [{{name: c, ports: [{{name: web, containerPort: 9090, protocol: TCP}}]}}]}}
status:
  phase: Running
  podIP: {address}
  podIPs: [{{ip: {address}}}]
  conditions: [{{type: Ready, status: 'True'}}]
"
    )
}

fn slices(world: &World) -> String {
    world.list::<EndpointSlice>(|s| {
        let ports = s.ports.iter().map(|p| {
            format!(
                " {}:{}",
                p.name.as_deref().unwrap_or_default(),
                p.port.unwrap_or(0)
            )
        });
        let endpoints = s.endpoints.iter().map(|e| {
            let c = &e.conditions;
            let flag = |name: &str, value: Option<bool>| match value {
                Some(true) => format!(" {name}"),
                Some(false) => String::new(),
                None => format!(" {name}?"),
            };
            let addresses: Vec<&str> = e.addresses.iter().map(|a| a.as_str()).collect();
            format!(
                "\n  {}{}{}{}",
                addresses.join(","),
                flag("ready", c.ready),
                flag("serving", c.serving),
                flag("terminating", c.terminating)
            )
        });
        let head = format!("{}{}", s.address_type, ports.collect::<String>());
        head + &endpoints.collect::<String>()
    })
}

fn settled(yaml: &str) -> World {
    let mut world = World::new(yaml);
    world.run(&CONTROLLER, "default/web");
    world
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let world = settled(SERVICE);
    assert_eq!(world.snapshot.list::<EndpointSlice>().count(), 1);
    let slice = world.snapshot.list::<EndpointSlice>().next().unwrap();
    assert!(slice.endpoints.is_empty() && slice.ports.is_empty());
    assert!(slice.metadata.generate_name.starts_with("web-"));
    let labels: Vec<String> = slice
        .metadata
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        labels,
        [
            "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io",
            "kubernetes.io/service-name=web",
            "tier=front"
        ]
    );
}

#[test]
fn pods_are_in_with_their_conditions() {
    let text = ["", "unready", "going", "failed", "waiting"]
        .iter()
        .enumerate()
        .map(|(i, name)| pod(&format!("p{name}"), &format!("10.0.0.{i}")))
        .fold(SERVICE.to_owned(), |all, one| all + &one);
    let mut world = World::new(&text);
    let unready = |p: &mut Pod| {
        p.status.conditions = [PodCondition {
            type_: "Ready".into(),
            status: "False".into(),
            ..PodCondition::default()
        }]
        .into_iter()
        .collect();
    };
    world.edit::<Pod>("default", "punready", unready);
    world.edit::<Pod>("default", "pgoing", |p| {
        p.metadata.deletion_timestamp = Some(Time::from_unix(0))
    });
    world.edit::<Pod>("default", "pfailed", |p| p.status.phase = "Failed".into());
    world.edit::<Pod>("default", "pwaiting", |p| {
        p.status.pod_ips = Default::default();
        p.status.pod_ip = "".into();
    });
    world.run(&CONTROLLER, "default/web");
    let told = slices(&world);
    let (_, told) = told.split_once(' ').unwrap();
    expect![[r#"
        IPv4 http:8080
          10.0.0.0 ready serving
          10.0.0.2 serving terminating
          10.0.0.1"#]]
    .assert_eq(told);
    let slice = world.snapshot.list::<EndpointSlice>().next().unwrap();
    let first = &slice.endpoints[0];
    assert_eq!(first.zone.as_deref(), Some("z1"));
    assert_eq!(first.node_name.as_deref(), Some("n1"));
    assert_eq!(
        first.target_ref.as_ref().map(|t| t.name.as_str()),
        Some("p")
    );
    world.edit::<Service>("default", "web", |s| {
        s.spec.publish_not_ready_addresses = true
    });
    world.run(&CONTROLLER, "default/web");
    let told = slices(&world);
    assert_eq!(told.matches(" ready").count(), 3, "{told}");
}

#[test]
fn one_pods_change_rewrites_one_slice() {
    let text = (0..150).fold(SERVICE.to_owned(), |all, i| {
        all + &pod(
            &format!("p{i:03}"),
            &format!("10.0.{}.{}", i / 100, i % 100),
        )
    });
    let mut world = settled(&text);
    let mut counts: Vec<usize> = world
        .snapshot
        .list::<EndpointSlice>()
        .map(|s| s.endpoints.len())
        .collect();
    counts.sort();
    assert_eq!(counts, [50, 100]);
    world.edit::<Pod>("default", "p003", |p| p.status.phase = "Failed".into());
    let plan = world.plan(&CONTROLLER, "default/web");
    assert_eq!(plan.steps.len(), 1);
    world.apply(plan);
    // The room that it leaves is used before a new slice is made.
    world.put(
        World::new(&pod("q", "10.0.9.9"))
            .snapshot
            .list::<Pod>()
            .next()
            .unwrap()
            .clone()
            .into(),
    );
    let done = world.run(&CONTROLLER, "default/web");
    assert_eq!(world.snapshot.list::<EndpointSlice>().count(), 2, "{done}");
}

#[test]
fn named_ports_are_each_pods_own() {
    let text = SERVICE.replace("targetPort: 8080", "targetPort: web")
        + &pod("a", "10.0.0.1")
        + &pod("b", "10.0.0.2");
    let mut world = World::new(&text);
    world.edit::<Pod>("default", "b", |p| {
        p.spec.containers[0].ports[0].container_port = 9091
    });
    world.run(&CONTROLLER, "default/web");
    let told = slices(&world);
    assert!(
        told.contains("http:9090\n  10.0.0.1") && told.contains("http:9091\n  10.0.0.2"),
        "{told}"
    );
}

#[test]
fn each_family_has_slices_of_its_own() {
    let text = SERVICE.replace("[IPv4]", "[IPv4, IPv6]") + &pod("a", "10.0.0.1");
    let mut world = World::new(&text);
    world.edit::<Pod>("default", "a", |p| {
        p.status.pod_ips.push(PodIP {
            ip: "fd00::1".into(),
        })
    });
    world.run(&CONTROLLER, "default/web");
    let told = slices(&world);
    assert!(
        told.contains("IPv4 http:8080\n  10.0.0.1") && told.contains("IPv6 http:8080\n  fd00::1"),
        "{told}"
    );
    world.edit::<Service>("default", "web", |s| {
        s.spec.ip_families = [corten_core::Str::from("IPv4")].into_iter().collect()
    });
    world.run(&CONTROLLER, "default/web");
    assert!(!slices(&world).contains("IPv6"));
}

#[test]
fn headless_services_are_marked_and_name_their_pods() {
    let text = SERVICE.replace("clusterIP: 10.96.0.7", "clusterIP: None") + &pod("a", "10.0.0.1");
    let mut world = World::new(&text);
    world.edit::<Pod>("default", "a", |p| {
        p.spec.hostname = "one".into();
        p.spec.subdomain = "web".into();
    });
    world.run(&CONTROLLER, "default/web");
    let slice = world.snapshot.list::<EndpointSlice>().next().unwrap();
    assert!(
        slice
            .metadata
            .labels
            .contains_key("service.kubernetes.io/headless")
    );
    assert_eq!(slice.endpoints[0].hostname.as_deref(), Some("one"));
}

#[test]
fn services_without_selector_are_their_users_own() {
    let text = SERVICE.replace("selector: {app: web}", "selector: {}");
    expect![""].assert_eq(&World::new(&text).run(&CONTROLLER, "default/web"));
    let text = SERVICE.replace("clusterIP: 10.96.0.7", "type: ExternalName");
    expect![""].assert_eq(&World::new(&text).run(&CONTROLLER, "default/web"));
}

#[test]
fn services_that_want_traffic_close_get_hints() {
    for (distribution, zones, nodes) in [
        ("PreferClose", "z1", ""),
        ("PreferSameZone", "z1", ""),
        ("PreferSameNode", "z1", "n1"),
    ] {
        let text = SERVICE.replace(
            "clusterIP: 10.96.0.7",
            &format!("clusterIP: 10.96.0.7\n  trafficDistribution: {distribution}"),
        );
        let mut world = settled(&(text + &pod("a", "10.0.0.1")));
        let hints = |world: &World| {
            let slice = world.snapshot.list::<EndpointSlice>().next().unwrap();
            slice.endpoints[0].hints.clone()
        };
        let told = hints(&world).unwrap();
        let zone: String = told.for_zones.iter().map(|z| z.name.to_string()).collect();
        let node: String = told.for_nodes.iter().map(|n| n.name.to_string()).collect();
        assert_eq!(
            (zone.as_str(), node.as_str()),
            (zones, nodes),
            "{distribution}"
        );
        world.edit::<Service>("default", "web", |s| s.spec.traffic_distribution = None);
        world.run(&CONTROLLER, "default/web");
        assert!(hints(&world).is_none());
    }
}
