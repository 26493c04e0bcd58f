//! Fixtures: Services and EndpointSlices as YAML to the part of the table that they add.

use std::net::SocketAddr;

use corten_api::Object;
use corten_meta::{GroupResource, ObjectKey, Snapshot};
use expect_test::{Expect, expect};

use super::*;
use crate::Flow;

fn config() -> ProxyConfig {
    ProxyConfig::new(
        "corten",
        "10.244.0.0/16".parse().unwrap(),
        "10.96.0.0/12".parse().unwrap(),
    )
}

fn node() -> Node {
    Node {
        zone: "z1".into(),
        ..Node::new("node-a", vec!["192.168.0.2".parse().unwrap()])
    }
}

fn snapshot(yaml: &str) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for document in corten_codec::yaml::decode_documents(yaml.as_bytes()).unwrap() {
        match Object::from_value(&document).unwrap() {
            object if object.kind() == "Service" => {
                snapshot.put(*object.downcast::<Service>().unwrap());
            }
            object => {
                snapshot.put(*object.downcast::<EndpointSlice>().unwrap());
            }
        }
    }
    snapshot
}

/// A Service `ns/web` of the given spec and status.
fn service(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{namespace: ns, name: web}}, {spec}}}\n")
}

/// A slice of `ns/web` with port 8080 named "", or what the last argument says, and the given endpoints.
fn slice(name: &str, endpoints: &str, ports: &str) -> String {
    let ports = if ports.is_empty() {
        "{name: '', port: 8080, protocol: TCP}"
    } else {
        ports
    };
    format!(
        "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{namespace: ns, \
         name: {name}, labels: {{kubernetes.io/service-name: web}}}}, ports: [{ports}], endpoints: [{endpoints}]}}\n"
    )
}

fn endpoint(ip: &str, node: &str) -> String {
    format!("{{addresses: [{ip}], nodeName: {node}, conditions: {{ready: true}}}},")
}

const CLUSTER_IP: &str =
    "spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5], ports: [{port: 80, protocol: TCP}]}";

/// What the objects add to the skeleton: chains, and elements with their set.
fn added(yaml: &str) -> String {
    let mut planner = ProxyPlanner::new(config(), node());
    planner.observe(&snapshot(yaml));
    let plan = planner.plan();
    let skeleton = table::skeleton(&config(), &node(), Family::V4);
    let mut only = Ruleset::new(Family::V4, "added");
    let after = &plan.rulesets[0];
    for (key, element) in after
        .elements
        .iter()
        .filter(|(key, _)| !skeleton.elements.contains_key(*key))
    {
        only.sets
            .insert(key.set.clone(), after.sets[&key.set].clone());
        only.elements.insert(key.clone(), element.clone());
    }
    for (name, set) in after
        .sets
        .iter()
        .filter(|(name, _)| !skeleton.sets.contains_key(*name))
    {
        only.sets.insert(name.clone(), set.clone());
    }
    for (name, chain) in after
        .chains
        .iter()
        .filter(|(name, _)| !skeleton.chains.contains_key(*name))
    {
        only.chains.insert(name.clone(), chain.clone());
    }
    let text = only.to_string();
    let lines = text.lines().filter(|l| {
        !["type ", "}", "table"]
            .iter()
            .any(|s| l.trim().starts_with(s))
    });
    lines
        .map(|line| {
            line.trim_start_matches('\t')
                .trim_end_matches(" {")
                .to_owned()
                + "\n"
        })
        .collect()
}

fn check(yaml: String, expect: Expect) {
    expect.assert_eq(&added(&yaml));
}

/// The skeleton's chains whose names satisfy a condition.
fn skeleton_chains(wanted: impl Fn(&str) -> bool) -> String {
    let mut rules = table::skeleton(&config(), &node(), Family::V4);
    rules.sets.clear();
    rules.chains = rules
        .chains
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    rules.to_string()
}

#[test]
fn the_skeleton_s_sets() {
    let mut rules = table::skeleton(&config(), &node(), Family::V4);
    rules.chains.clear();
    expect![[r#"
        table ip corten {
        	set cluster-ips {
        		type ipv4_addr
        	}
        	map firewall-ips {
        		type ipv4_addr . inet_proto . inet_service : verdict
        	}
        	set hairpin-connections {
        		type ipv4_addr . ipv4_addr . inet_proto . inet_service
        	}
        	map no-endpoint-nodeports {
        		type inet_proto . inet_service : verdict
        	}
        	map no-endpoint-services {
        		type ipv4_addr . inet_proto . inet_service : verdict
        	}
        	set nodeport-ips {
        		type ipv4_addr
        		192.168.0.2
        	}
        	map service-ips {
        		type ipv4_addr . inet_proto . inet_service : verdict
        	}
        	map service-nodeports {
        		type inet_proto . inet_service : verdict
        	}
        }
    "#]]
    .assert_eq(&rules.to_string());
}

#[test]
fn the_skeleton_s_hooks() {
    expect![[r#"
        table ip corten {
        	chain filter-forward {
        		type filter hook forward priority 0; policy accept;
        		ct state new jump service-endpoints-check
        		ct state new jump cluster-ips-check
        	}
        	chain filter-input {
        		type filter hook input priority 0; policy accept;
        		ct state new jump nodeport-endpoints-check
        		ct state new jump service-endpoints-check
        	}
        	chain filter-output {
        		type filter hook output priority 0; policy accept;
        		ct state new jump service-endpoints-check
        		ct state new jump cluster-ips-check
        	}
        	chain filter-output-pre-dnat {
        		type filter hook output priority -110; policy accept;
        		ct state new jump firewall-check
        	}
        	chain filter-prerouting-pre-dnat {
        		type filter hook prerouting priority -110; policy accept;
        		ct state new jump firewall-check
        	}
        	chain nat-output {
        		type nat hook output priority -100; policy accept;
        		jump services
        	}
        	chain nat-postrouting {
        		type nat hook postrouting priority 100; policy accept;
        		jump masquerading
        	}
        	chain nat-prerouting {
        		type nat hook prerouting priority -100; policy accept;
        		jump services
        	}
        }
    "#]]
    .assert_eq(&skeleton_chains(|name| {
        name.starts_with("filter-") || name.starts_with("nat-")
    }));
}

#[test]
fn the_skeleton_s_chains() {
    expect![[r#"
        table ip corten {
        	chain cluster-ips-check {
        		ip daddr @cluster-ips reject
        		ip daddr 10.96.0.0/12 drop
        	}
        	chain firewall-check {
        		ip daddr . meta l4proto . th dport vmap @firewall-ips
        	}
        	chain masquerading {
        		meta mark & 0x00004000 != 0x00000000 meta mark set meta mark ^ 0x00004000 masquerade fully-random
        		ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
        	}
        	chain nodeport-endpoints-check {
        		ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
        	}
        	chain reject-chain {
        		reject
        	}
        	chain service-endpoints-check {
        		ip daddr . meta l4proto . th dport vmap @no-endpoint-services
        	}
        	chain services {
        		ip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x00004000
        		ip daddr . meta l4proto . th dport vmap @service-ips
        		ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
        	}
        }
    "#]].assert_eq(&skeleton_chains(|name| {
        !name.starts_with("filter-") && !name.starts_with("nat-")
    }));
}

#[test]
fn node_ports_on_every_address_and_masquerading_all() {
    let config = ProxyConfig {
        masquerade: Masquerade::All,
        ..config()
    };
    let node = Node {
        node_ports: NodePortAddresses::All,
        ..node()
    };
    let rules = table::skeleton(&config, &node, Family::V6);
    let mut shown = Ruleset::new(Family::V6, "v6");
    for name in ["services", "nodeport-endpoints-check", "cluster-ips-check"] {
        shown.chains.insert(name.into(), rules.chains[name].clone());
    }
    expect![[r#"
        table ip6 v6 {
        	chain cluster-ips-check {
        		ip6 daddr @cluster-ips reject
        	}
        	chain nodeport-endpoints-check {
        		ip6 daddr != ::1 meta l4proto . th dport vmap @no-endpoint-nodeports
        	}
        	chain services {
        		ip6 daddr @cluster-ips meta mark set meta mark | 0x00004000
        		ip6 daddr . meta l4proto . th dport vmap @service-ips
        		fib daddr type local ip6 daddr != ::1 meta l4proto . th dport vmap @service-nodeports
        	}
        }
    "#]]
    .assert_eq(&shown.to_string());
}

#[test]
fn cluster_ip() {
    let slices = slice(
        "a",
        &(endpoint("10.244.0.7", "node-a") + &endpoint("10.244.1.9", "node-b")),
        "",
    );
    check(
        service(CLUSTER_IP) + &slices,
        expect![[r#"
        set cluster-ips
        10.96.0.5
        set hairpin-connections
        10.244.0.7 . 10.244.0.7 . tcp . 8080
        map service-ips
        10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
        chain service-ns/web/tcp/80
        meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.7 . 8080, 1 : 10.244.1.9 . 8080 }
    "#]],
    );
}

#[test]
fn without_endpoints_packets_are_refused() {
    check(
        service(CLUSTER_IP),
        expect![[r#"
        set cluster-ips
        10.96.0.5
        map no-endpoint-services
        10.96.0.5 . tcp . 80 : goto reject-chain
    "#]],
    );
}

#[test]
fn headless_and_external_names_add_nothing() {
    let slices = slice("a", &endpoint("10.244.0.7", "node-a"), "");
    check(
        service("spec: {clusterIP: None, ports: [{port: 80}]}") + &slices,
        expect![[""]],
    );
    check(
        service("spec: {type: ExternalName, externalName: example.org}") + &slices,
        expect![[""]],
    );
}

#[test]
fn services_of_other_proxies_add_nothing() {
    for label in ["service-proxy-name: other", "headless: ''"] {
        let labelled = format!("name: web, labels: {{service.kubernetes.io/{label}}}");
        check(
            service(CLUSTER_IP).replace("name: web", &labelled),
            expect![[""]],
        );
    }
}

const BALANCED: &str = "type: LoadBalancer, clusterIP: 10.96.0.5, externalIPs: [192.0.2.9], \
    ports: [{port: 80, nodePort: 30080, protocol: TCP}]";
const INGRESS: &str = "status: {loadBalancer: {ingress: [{ip: 203.0.113.4}, {ip: 203.0.113.5, ipMode: Proxy}, {hostname: x}]}}";

#[test]
fn every_way_from_outside() {
    let slices = slice("a", &endpoint("10.244.1.9", "node-b"), "");
    check(
        service(&format!("spec: {{{BALANCED}}}, {INGRESS}")) + &slices,
        expect![[r#"
            set cluster-ips
            10.96.0.5
            map service-ips
            10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
            192.0.2.9 . tcp . 80 : goto external-ns/web/tcp/80
            203.0.113.4 . tcp . 80 : goto external-ns/web/tcp/80
            map service-nodeports
            tcp . 30080 : goto external-ns/web/tcp/80
            chain external-ns/web/tcp/80
            meta mark set meta mark | 0x00004000
            goto service-ns/web/tcp/80
            chain service-ns/web/tcp/80
            meta l4proto tcp dnat to 10.244.1.9:8080
        "#]],
    );
}

#[test]
fn source_ranges_guard_load_balancer_addresses() {
    let slices = slice("a", &endpoint("10.244.1.9", "node-b"), "");
    let ranges = "loadBalancerSourceRanges: [' 198.51.100.0/24', 192.168.0.0/16, 'fd00::/8']";
    check(
        service(&format!("spec: {{{BALANCED}, {ranges}}}, {INGRESS}")) + &slices,
        expect![[r#"
            set cluster-ips
            10.96.0.5
            map firewall-ips
            203.0.113.4 . tcp . 80 : goto firewall-ns/web/tcp/80
            map service-ips
            10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
            192.0.2.9 . tcp . 80 : goto external-ns/web/tcp/80
            203.0.113.4 . tcp . 80 : goto external-ns/web/tcp/80
            map service-nodeports
            tcp . 30080 : goto external-ns/web/tcp/80
            chain external-ns/web/tcp/80
            meta mark set meta mark | 0x00004000
            goto service-ns/web/tcp/80
            chain firewall-ns/web/tcp/80
            ip saddr 198.51.100.0/24 return
            ip saddr 192.168.0.0/16 return
            ip saddr 203.0.113.4 return
            drop
            chain service-ns/web/tcp/80
            meta l4proto tcp dnat to 10.244.1.9:8080
        "#]],
    );
    // A range of everything is no restriction.
    let all = "loadBalancerSourceRanges: [198.51.100.0/24, 0.0.0.0/0]";
    let open = added(&(service(&format!("spec: {{{BALANCED}, {all}}}, {INGRESS}")) + &slices));
    assert!(!open.contains("firewall"), "{open}");
}

#[test]
fn external_policy_local() {
    let local =
        format!("spec: {{{BALANCED}, externalTrafficPolicy: Local, healthCheckNodePort: 32000}}");
    let both = endpoint("10.244.0.7", "node-a") + &endpoint("10.244.1.9", "node-b");
    check(
        service(&local) + &slice("a", &both, ""),
        expect![[r#"
        set cluster-ips
        10.96.0.5
        set hairpin-connections
        10.244.0.7 . 10.244.0.7 . tcp . 8080
        map service-ips
        10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
        192.0.2.9 . tcp . 80 : goto external-ns/web/tcp/80
        map service-nodeports
        tcp . 30080 : goto external-ns/web/tcp/80
        chain external-ns/web/tcp/80
        ip saddr 10.244.0.0/16 goto service-ns/web/tcp/80
        fib saddr type local meta mark set meta mark | 0x00004000
        fib saddr type local goto service-ns/web/tcp/80
        goto local-ns/web/tcp/80
        chain local-ns/web/tcp/80
        meta l4proto tcp dnat to 10.244.0.7:8080
        chain service-ns/web/tcp/80
        meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.7 . 8080, 1 : 10.244.1.9 . 8080 }
    "#]],
    );
    // None here: outside traffic is dropped, that of pods and the node goes elsewhere.
    check(
        service(&local) + &slice("a", &endpoint("10.244.1.9", "node-b"), ""),
        expect![[r#"
            set cluster-ips
            10.96.0.5
            map no-endpoint-nodeports
            tcp . 30080 : drop
            map no-endpoint-services
            192.0.2.9 . tcp . 80 : drop
            map service-ips
            10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
            192.0.2.9 . tcp . 80 : goto external-ns/web/tcp/80
            map service-nodeports
            tcp . 30080 : goto external-ns/web/tcp/80
            chain external-ns/web/tcp/80
            ip saddr 10.244.0.0/16 goto service-ns/web/tcp/80
            fib saddr type local meta mark set meta mark | 0x00004000
            fib saddr type local goto service-ns/web/tcp/80
            chain service-ns/web/tcp/80
            meta l4proto tcp dnat to 10.244.1.9:8080
        "#]],
    );
}

#[test]
fn internal_policy_local() {
    let local = "spec: {clusterIP: 10.96.0.5, internalTrafficPolicy: Local, ports: [{port: 80, protocol: TCP}]}";
    let both = endpoint("10.244.0.7", "node-a") + &endpoint("10.244.1.9", "node-b");
    check(
        service(local) + &slice("a", &both, ""),
        expect![[r#"
        set cluster-ips
        10.96.0.5
        set hairpin-connections
        10.244.0.7 . 10.244.0.7 . tcp . 8080
        map service-ips
        10.96.0.5 . tcp . 80 : goto local-ns/web/tcp/80
        chain local-ns/web/tcp/80
        meta l4proto tcp dnat to 10.244.0.7:8080
    "#]],
    );
    check(
        service(local) + &slice("a", &endpoint("10.244.1.9", "node-b"), ""),
        expect![[r#"
            set cluster-ips
            10.96.0.5
            map no-endpoint-services
            10.96.0.5 . tcp . 80 : drop
        "#]],
    );
}

#[test]
fn session_affinity() {
    let sticky = "spec: {clusterIP: 10.96.0.5, sessionAffinity: ClientIP, ports: [{port: 80, protocol: TCP}], \
        sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}}";
    let both = endpoint("10.244.0.7", "node-a") + &endpoint("10.244.1.9", "node-b");
    check(
        service(sticky) + &slice("a", &both, ""),
        expect![[r#"
        set affinity-ns/web/tcp/80__10.244.0.7/8080/600
        size 65535
        flags dynamic,timeout
        timeout 10m
        set affinity-ns/web/tcp/80__10.244.1.9/8080/600
        size 65535
        flags dynamic,timeout
        timeout 10m
        set cluster-ips
        10.96.0.5
        set hairpin-connections
        10.244.0.7 . 10.244.0.7 . tcp . 8080
        map service-ips
        10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
        chain endpoint-ns/web/tcp/80__10.244.0.7/8080
        update @affinity-ns/web/tcp/80__10.244.0.7/8080/600 { ip saddr }
        meta l4proto tcp dnat to 10.244.0.7:8080
        chain endpoint-ns/web/tcp/80__10.244.1.9/8080
        update @affinity-ns/web/tcp/80__10.244.1.9/8080/600 { ip saddr }
        meta l4proto tcp dnat to 10.244.1.9:8080
        chain service-ns/web/tcp/80
        ip saddr @affinity-ns/web/tcp/80__10.244.0.7/8080/600 goto endpoint-ns/web/tcp/80__10.244.0.7/8080
        ip saddr @affinity-ns/web/tcp/80__10.244.1.9/8080/600 goto endpoint-ns/web/tcp/80__10.244.1.9/8080
        numgen random mod 2 vmap { 0 : goto endpoint-ns/web/tcp/80__10.244.0.7/8080, 1 : goto endpoint-ns/web/tcp/80__10.244.1.9/8080 }
    "#]],
    );
}

#[test]
fn ports_match_by_name_and_protocol() {
    let dns = "spec: {clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}, \
        {name: dns-tcp, port: 53, protocol: TCP}, {name: metrics, port: 9153, protocol: TCP}]}";
    let ports = "{name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5353, protocol: TCP}, \
        {name: metrics, protocol: TCP}, {name: metrics, port: 9153, protocol: UDP}";
    check(
        service(dns) + &slice("a", &endpoint("10.244.0.1", "node-a"), ports),
        expect![[r#"
            set cluster-ips
            10.96.0.10
            set hairpin-connections
            10.244.0.1 . 10.244.0.1 . tcp . 5353
            10.244.0.1 . 10.244.0.1 . udp . 5353
            map no-endpoint-services
            10.96.0.10 . tcp . 9153 : goto reject-chain
            map service-ips
            10.96.0.10 . tcp . 53 : goto service-ns/web/tcp/53
            10.96.0.10 . udp . 53 : goto service-ns/web/udp/53
            chain service-ns/web/tcp/53
            meta l4proto tcp dnat to 10.244.0.1:5353
            chain service-ns/web/udp/53
            meta l4proto udp dnat to 10.244.0.1:5353
        "#]],
    );
}

#[test]
fn terminating_endpoints_serve_when_none_is_ready() {
    let state = |ip: &str, ready, serving, terminating| {
        format!(
            "{{addresses: [{ip}], nodeName: node-b, conditions: {{ready: {ready}, serving: {serving}, terminating: {terminating}}}}},"
        )
    };
    let last = state("10.244.0.1", false, true, true)
        + &state("10.244.0.2", false, false, true)
        + &state("10.244.0.3", false, false, false);
    check(
        service(CLUSTER_IP) + &slice("a", &last, ""),
        expect![[r#"
        set cluster-ips
        10.96.0.5
        map service-ips
        10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
        chain service-ns/web/tcp/80
        meta l4proto tcp dnat to 10.244.0.1:8080
    "#]],
    );
    check(
        service(CLUSTER_IP) + &slice("a", &(last + &state("10.244.0.4", true, true, false)), ""),
        expect![[r#"
            set cluster-ips
            10.96.0.5
            map service-ips
            10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80
            chain service-ns/web/tcp/80
            meta l4proto tcp dnat to 10.244.0.4:8080
        "#]],
    );
    // An address in two slices: the one that is not terminating counts, whichever comes first.
    let (old, new) = (
        state("10.244.0.1", false, false, true),
        state("10.244.0.1", true, true, false),
    );
    let first = added(&(service(CLUSTER_IP) + &slice("a", &old, "") + &slice("b", &new, "")));
    assert_eq!(
        first,
        added(&(service(CLUSTER_IP) + &slice("a", &new, "") + &slice("b", &old, "")))
    );
    assert!(first.contains("dnat to 10.244.0.1:8080"), "{first}");
}

#[test]
fn topology_hints() {
    let hinted = |ip: &str, hints: &str| {
        format!(
            "{{addresses: [{ip}], nodeName: node-x, conditions: {{ready: true}}, hints: {{{hints}}}}},"
        )
    };
    let zone = |ip: &str, zone: &str| hinted(ip, &format!("forZones: [{{name: {zone}}}]"));
    let chosen = |endpoints: String| {
        let text = added(&(service(CLUSTER_IP) + &slice("a", &endpoints, "")));
        text.lines()
            .find(|line| line.contains("dnat"))
            .unwrap()
            .to_owned()
    };
    expect!["meta l4proto tcp dnat to 10.244.0.1:8080"].assert_eq(&chosen(
        zone("10.244.0.1", "z1") + &zone("10.244.0.2", "z2"),
    ));
    // One without a hint, or none for here: hints do not count.
    let all = expect![
        "meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.1 . 8080, 1 : 10.244.0.2 . 8080 }"
    ];
    all.assert_eq(&chosen(
        zone("10.244.0.1", "z1") + &endpoint("10.244.0.2", "node-x"),
    ));
    all.assert_eq(&chosen(
        zone("10.244.0.1", "z2") + &zone("10.244.0.2", "z2"),
    ));
    let own = |ip: &str, node: &str| {
        hinted(
            ip,
            &format!("forZones: [{{name: z1}}], forNodes: [{{name: {node}}}]"),
        )
    };
    expect!["meta l4proto tcp dnat to 10.244.0.2:8080"].assert_eq(&chosen(
        own("10.244.0.1", "node-b") + &own("10.244.0.2", "node-a"),
    ));
}

#[test]
fn a_cluster_ip_cannot_be_taken_and_conflicts_do_not_depend_on_order() {
    let mut documents = service(CLUSTER_IP) + &slice("a", &endpoint("10.244.0.7", "node-a"), "");
    documents += "---\n{apiVersion: v1, kind: Service, metadata: {namespace: evil, name: web}, \
        spec: {clusterIP: 10.96.0.6, externalIPs: [10.96.0.5, 192.0.2.1], ports: [{port: 80, protocol: TCP}]}}\n";
    documents += "---\n{apiVersion: v1, kind: Service, metadata: {namespace: good, name: web}, \
        spec: {clusterIP: 10.96.0.7, externalIPs: [192.0.2.1], ports: [{port: 80, protocol: TCP}]}}\n";
    for namespace in ["evil", "good"] {
        documents += &slice("a", &endpoint("10.244.0.9", "node-b"), "")
            .replace("namespace: ns", &format!("namespace: {namespace}"));
    }
    let text = added(&documents);
    assert!(
        text.contains("10.96.0.5 . tcp . 80 : goto service-ns/web/tcp/80"),
        "{text}"
    );
    assert!(
        text.contains("192.0.2.1 . tcp . 80 : goto external-evil/web/tcp/80"),
        "{text}"
    );
    // When the winner goes, the other one takes over.
    let mut planner = ProxyPlanner::new(config(), node());
    planner.observe(&snapshot(&documents));
    planner.plan();
    planner.set_service(ObjectKey::new("evil", "web"), None);
    let text = planner.plan().rulesets[0].to_string();
    assert!(
        text.contains("192.0.2.1 . tcp . 80 : goto external-good/web/tcp/80"),
        "{text}"
    );
    assert!(!text.contains("evil"), "{text}");
}

/// Plans made step by step equal plans made at once, and what is gone leaves nothing.
#[test]
fn the_order_of_changes_does_not_matter() {
    let sticky = "spec: {type: NodePort, clusterIP: 10.96.0.5, sessionAffinity: ClientIP, externalTrafficPolicy: Local, \
        ports: [{port: 80, nodePort: 30080, protocol: TCP}]}";
    let two = endpoint("10.244.0.7", "node-a") + &endpoint("10.244.1.9", "node-b");
    let states = [
        String::new(),
        service(CLUSTER_IP),
        service(CLUSTER_IP) + &slice("a", &two, ""),
        service(sticky) + &slice("a", &two, ""),
        slice("a", &endpoint("10.244.0.7", "node-a"), "") + &slice("b", &two, ""),
        service(sticky) + &slice("b", &endpoint("10.244.3.3", "node-c"), ""),
        service(&format!("spec: {{{BALANCED}}}, {INGRESS}")) + &slice("b", &two, ""),
    ];
    let mut planner = ProxyPlanner::new(config(), node());
    for from in &states {
        for to in &states {
            for state in [from, to] {
                planner.observe(&snapshot(state));
                let stepwise = planner.plan().rulesets;
                let mut fresh = ProxyPlanner::new(config(), node());
                fresh.observe(&snapshot(state));
                assert_eq!(stepwise, fresh.plan().rulesets, "{from} -> {to}");
            }
        }
    }
}

#[test]
fn a_change_touches_only_its_service() {
    let mut planner = ProxyPlanner::new(config(), node());
    let mut objects = snapshot("");
    for n in 0..300 {
        let text = (service(CLUSTER_IP) + &slice("a", &endpoint("10.244.0.7", "node-a"), ""))
            .replace("10.96.0.5", &format!("10.96.{}.{}", n / 250, n % 250 + 1))
            .replace("namespace: ns", &format!("namespace: ns{n}"));
        for (resource, table) in snapshot(&text).resources() {
            for (key, object) in table {
                objects.insert(resource, key.clone(), object.clone());
            }
        }
    }
    planner.observe(&objects);
    let before = planner.plan().rulesets.remove(0);
    let changed = slice("a", &endpoint("10.244.5.5", "node-b"), "")
        .replace("namespace: ns", "namespace: ns7");
    for (key, object) in snapshot(&changed)
        .table(&GroupResource::of::<EndpointSlice>())
        .unwrap()
    {
        objects.insert(
            &GroupResource::of::<EndpointSlice>(),
            key.clone(),
            object.clone(),
        );
    }
    planner.observe(&objects);
    let after = planner.plan().rulesets.remove(0);
    assert_eq!(before.chains.diff(&after.chains).count(), 1);
    assert_eq!(before.elements.diff(&after.elements).count(), 0);
    planner.observe(&objects);
    assert!(planner.plan().rulesets[0].chains.ptr_eq(&after.chains));
}

#[test]
fn stale_datagrams() {
    let dns = "spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 53, nodePort: 30053, protocol: UDP}]}";
    let ports = "{name: '', port: 5353, protocol: UDP}";
    let mut planner = ProxyPlanner::new(config(), node());
    planner.observe(&snapshot(
        &(service(dns) + &slice("a", &endpoint("10.244.0.1", "node-a"), ports)),
    ));
    let stale = planner.plan().datagrams;
    let flow = |protocol, destination: &str, reply: &str| Flow {
        protocol,
        destination: destination.parse::<SocketAddr>().unwrap(),
        reply_source: reply.parse().unwrap(),
    };
    // Unanswered before there were endpoints, and to an endpoint that is gone.
    assert!(stale.is_stale(&flow(Protocol::Udp, "10.96.0.10:53", "10.96.0.10:53")));
    assert!(stale.is_stale(&flow(Protocol::Udp, "192.168.0.2:30053", "10.244.0.9:5353")));
    assert!(!stale.is_stale(&flow(Protocol::Udp, "10.96.0.10:53", "10.244.0.1:5353")));
    assert!(!stale.is_stale(&flow(Protocol::Tcp, "10.96.0.10:53", "10.244.0.9:5353")));
    assert!(!stale.is_stale(&flow(Protocol::Udp, "10.96.0.11:53", "10.244.0.9:5353")));
    // Nothing changed since, or no endpoint is left: nothing to forget.
    assert!(planner.plan().datagrams.is_empty());
    planner.observe(&snapshot(&service(dns)));
    assert!(planner.plan().datagrams.is_empty());
}

#[test]
fn health_counts_ready_endpoints_here() {
    let local =
        format!("spec: {{{BALANCED}, externalTrafficPolicy: Local, healthCheckNodePort: 32000}}");
    let both = endpoint("10.244.0.7", "node-a")
        + &endpoint("10.244.0.8", "node-a")
        + &endpoint("10.244.1.9", "node-b");
    let mut planner = ProxyPlanner::new(config(), node());
    planner.observe(&snapshot(&(service(&local) + &slice("a", &both, ""))));
    let health = planner.plan().health;
    assert_eq!(
        health[&32000],
        ServiceHealth {
            service: ObjectKey::new("ns", "web"),
            local_endpoints: 2
        }
    );
    planner.observe(&snapshot(&service(&format!("spec: {{{BALANCED}}}"))));
    assert!(planner.plan().health.is_empty());
}

#[test]
fn the_node_and_the_service_cidrs_are_read_from_their_objects() {
    let mut planner = ProxyPlanner::new(config(), node());
    let mut objects = Snapshot::new();
    let yaml = "{apiVersion: v1, kind: Node, metadata: {name: node-a, labels: {topology.kubernetes.io/zone: z9}}, \
        status: {addresses: [{type: Hostname, address: x}, {type: InternalIP, address: 192.168.0.7}]}}";
    let node =
        Object::from_value(&corten_codec::yaml::decode_value(yaml.as_bytes()).unwrap()).unwrap();
    objects.put(*node.downcast::<corten_api::core::v1::Node>().unwrap());
    let yaml = "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.100.0.0/16]}}";
    let cidr =
        Object::from_value(&corten_codec::yaml::decode_value(yaml.as_bytes()).unwrap()).unwrap();
    objects.put(*cidr.downcast::<ServiceCIDR>().unwrap());
    planner.observe(&objects);
    let text = planner.plan().rulesets[0].to_string();
    assert!(
        text.contains("ip daddr 10.100.0.0/16 drop") && text.contains("192.168.0.7"),
        "{text}"
    );
    assert!(
        !text.contains("10.96.0.0") && !text.contains("192.168.0.2"),
        "{text}"
    );
    assert_eq!(planner.node.zone, "z9");
}
