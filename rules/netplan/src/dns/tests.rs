//! Questions to a small cluster: one line for each, with its answer.

use corten_api::Object;
use corten_api::core::v1::{Namespace, Service};
use corten_api::discovery::v1::EndpointSlice;
use expect_test::{Expect, expect};

use super::*;

const OBJECTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: ns}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: web}, spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5, 'fd00::5'],
  ports: [{name: http, port: 80, protocol: TCP}, {name: http, port: 80, protocol: UDP}, {name: admin, port: 81, protocol: TCP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}},
  ports: [{name: http, port: 8080, protocol: TCP}], endpoints: [{addresses: [10.244.0.9], conditions: {ready: true}}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: db}, spec: {clusterIP: None, ports: [{name: sql, port: 5432, protocol: TCP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {namespace: ns, name: db-1, labels: {kubernetes.io/service-name: db}},
  ports: [{name: sql, port: 5432, protocol: TCP}], endpoints: [
  {addresses: [10.244.0.7], hostname: db-0, conditions: {ready: true}}, {addresses: [10.244.1.8], conditions: {}},
  {addresses: [10.244.1.9], hostname: db-2, conditions: {ready: false, serving: true, terminating: true}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv6, metadata: {namespace: ns, name: db-2, labels: {kubernetes.io/service-name: db}},
  ports: [{name: sql, port: 5432, protocol: TCP}], endpoints: [{addresses: ['fd00::7'], hostname: db-0, conditions: {ready: true}}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: nobody}, spec: {clusterIP: None}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: out}, spec: {type: ExternalName, externalName: Example.ORG.}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: pending}, spec: {type: ClusterIP}}
";

fn snapshot(yaml: &str) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for document in corten_codec::yaml::decode_documents(yaml.as_bytes()).unwrap() {
        let object = Object::from_value(&document).unwrap();
        match object.kind() {
            "Namespace" => snapshot.put(*object.downcast::<Namespace>().unwrap()),
            "Service" => snapshot.put(*object.downcast::<Service>().unwrap()),
            _ => snapshot.put(*object.downcast::<EndpointSlice>().unwrap()),
        };
    }
    snapshot
}

fn records() -> Records {
    let mut records = Records::new("cluster.local.", vec!["10.96.0.10".parse().unwrap()]);
    records.observe(&snapshot(OBJECTS));
    records
}

fn check(questions: &[(&str, Kind)], expect: Expect) {
    let records = records();
    let line = |(name, kind): &(&str, Kind)| {
        format!("{name} {kind:?}: {}\n", shown(records.answer(name, *kind)))
    };
    expect.assert_eq(&questions.iter().map(line).collect::<String>());
}

fn shown(answer: Answer) -> String {
    match answer {
        Answer::Found {
            records,
            additional,
        } => {
            let records: Vec<String> = records.iter().map(|record| format!("{record:?}")).collect();
            let additional: Vec<String> = additional
                .iter()
                .map(|(name, data)| format!("{name} {data:?}"))
                .collect();
            let also = if additional.is_empty() {
                String::new()
            } else {
                format!("; {}", additional.join(", "))
            };
            records.join(", ") + &also
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn services() {
    check(
        &[
            ("web.ns.svc.cluster.local", Kind::A),
            ("WEB.ns.SVC.Cluster.Local.", Kind::A),
            ("web.ns.svc.cluster.local", Kind::Aaaa),
            ("web.ns.svc.cluster.local", Kind::Txt),
            ("web.ns.svc.cluster.local", Kind::Srv),
            ("_http._tcp.web.ns.svc.cluster.local", Kind::Srv),
            ("_http._tcp.web.ns.svc.cluster.local", Kind::A),
            ("_tcp.web.ns.svc.cluster.local", Kind::Srv),
            ("_sctp.web.ns.svc.cluster.local", Kind::Srv),
            ("_none._tcp.web.ns.svc.cluster.local", Kind::Srv),
            ("10-244-0-9.web.ns.svc.cluster.local", Kind::A),
            ("pending.ns.svc.cluster.local", Kind::A),
            ("none.ns.svc.cluster.local", Kind::A),
            ("web.absent.svc.cluster.local", Kind::A),
        ],
        expect![[r#"
            web.ns.svc.cluster.local A: A(10.96.0.5)
            WEB.ns.SVC.Cluster.Local. A: A(10.96.0.5)
            web.ns.svc.cluster.local Aaaa: Aaaa(fd00::5)
            web.ns.svc.cluster.local Txt: NoData
            web.ns.svc.cluster.local Srv: Srv { weight: 50, port: 80, target: "web.ns.svc.cluster.local" }, Srv { weight: 50, port: 81, target: "web.ns.svc.cluster.local" }; web.ns.svc.cluster.local A(10.96.0.5), web.ns.svc.cluster.local Aaaa(fd00::5)
            _http._tcp.web.ns.svc.cluster.local Srv: Srv { weight: 100, port: 80, target: "web.ns.svc.cluster.local" }; web.ns.svc.cluster.local A(10.96.0.5), web.ns.svc.cluster.local Aaaa(fd00::5)
            _http._tcp.web.ns.svc.cluster.local A: NoData
            _tcp.web.ns.svc.cluster.local Srv: NoData
            _sctp.web.ns.svc.cluster.local Srv: NoName
            _none._tcp.web.ns.svc.cluster.local Srv: NoName
            10-244-0-9.web.ns.svc.cluster.local A: A(10.244.0.9)
            pending.ns.svc.cluster.local A: NoName
            none.ns.svc.cluster.local A: NoName
            web.absent.svc.cluster.local A: NoName
        "#]],
    );
}

#[test]
fn headless_services() {
    check(
        &[
            ("db.ns.svc.cluster.local", Kind::A),
            ("db.ns.svc.cluster.local", Kind::Aaaa),
            ("db.ns.svc.cluster.local", Kind::Srv),
            ("_sql._tcp.db.ns.svc.cluster.local", Kind::Srv),
            ("_tcp.db.ns.svc.cluster.local", Kind::A),
            ("db-0.db.ns.svc.cluster.local", Kind::A),
            ("db-0.db.ns.svc.cluster.local", Kind::Aaaa),
            ("10-244-1-8.db.ns.svc.cluster.local", Kind::A),
            ("db-2.db.ns.svc.cluster.local", Kind::A),
            ("nobody.ns.svc.cluster.local", Kind::A),
        ],
        expect![[r#"
            db.ns.svc.cluster.local A: A(10.244.0.7), A(10.244.1.8)
            db.ns.svc.cluster.local Aaaa: Aaaa(fd00::7)
            db.ns.svc.cluster.local Srv: Srv { weight: 50, port: 5432, target: "10-244-1-8.db.ns.svc.cluster.local" }, Srv { weight: 50, port: 5432, target: "db-0.db.ns.svc.cluster.local" }; 10-244-1-8.db.ns.svc.cluster.local A(10.244.1.8), db-0.db.ns.svc.cluster.local A(10.244.0.7), db-0.db.ns.svc.cluster.local Aaaa(fd00::7)
            _sql._tcp.db.ns.svc.cluster.local Srv: Srv { weight: 50, port: 5432, target: "10-244-1-8.db.ns.svc.cluster.local" }, Srv { weight: 50, port: 5432, target: "db-0.db.ns.svc.cluster.local" }; 10-244-1-8.db.ns.svc.cluster.local A(10.244.1.8), db-0.db.ns.svc.cluster.local A(10.244.0.7), db-0.db.ns.svc.cluster.local Aaaa(fd00::7)
            _tcp.db.ns.svc.cluster.local A: NoData
            db-0.db.ns.svc.cluster.local A: A(10.244.0.7)
            db-0.db.ns.svc.cluster.local Aaaa: Aaaa(fd00::7)
            10-244-1-8.db.ns.svc.cluster.local A: A(10.244.1.8)
            db-2.db.ns.svc.cluster.local A: NoName
            nobody.ns.svc.cluster.local A: NoName
        "#]],
    );
}

#[test]
fn other_names() {
    check(
        &[
            ("out.ns.svc.cluster.local", Kind::A),
            ("out.ns.svc.cluster.local", Kind::Cname),
            ("x.out.ns.svc.cluster.local", Kind::A),
            ("10-244-0-5.ns.pod.cluster.local", Kind::A),
            ("10-244-0-5.ns.pod.cluster.local", Kind::Aaaa),
            ("fd00--7.ns.pod.cluster.local", Kind::Aaaa),
            ("10-244-0-5.absent.pod.cluster.local", Kind::A),
            ("web.ns.pod.cluster.local", Kind::A),
            ("dns-version.cluster.local", Kind::Txt),
            ("dns-version.cluster.local", Kind::A),
            ("cluster.local", Kind::Soa),
            ("cluster.local", Kind::Ns),
            ("cluster.local", Kind::A),
            ("ns.dns.cluster.local", Kind::A),
            ("svc.cluster.local", Kind::A),
            ("ns.svc.cluster.local", Kind::A),
            ("absent.svc.cluster.local", Kind::A),
            ("web.ns.svc.cluster.local.ns.svc.cluster.local", Kind::A),
            ("web.ns.cluster.local", Kind::A),
            ("web", Kind::A),
            ("notcluster.local", Kind::A),
            ("example.org", Kind::A),
        ],
        expect![[r#"
            out.ns.svc.cluster.local A: Alias("example.org")
            out.ns.svc.cluster.local Cname: Alias("example.org")
            x.out.ns.svc.cluster.local A: NoName
            10-244-0-5.ns.pod.cluster.local A: A(10.244.0.5)
            10-244-0-5.ns.pod.cluster.local Aaaa: NoData
            fd00--7.ns.pod.cluster.local Aaaa: Aaaa(fd00::7)
            10-244-0-5.absent.pod.cluster.local A: NoName
            web.ns.pod.cluster.local A: NoName
            dns-version.cluster.local Txt: Txt("1.1.0")
            dns-version.cluster.local A: NoData
            cluster.local Soa: Soa
            cluster.local Ns: Ns("ns.dns.cluster.local"); ns.dns.cluster.local A(10.96.0.10)
            cluster.local A: NoData
            ns.dns.cluster.local A: A(10.96.0.10)
            svc.cluster.local A: NoData
            ns.svc.cluster.local A: NoData
            absent.svc.cluster.local A: NoName
            web.ns.svc.cluster.local.ns.svc.cluster.local A: NoName
            web.ns.cluster.local A: NoName
            web A: Elsewhere
            notcluster.local A: Elsewhere
            example.org A: Elsewhere
        "#]],
    );
}

#[test]
fn reverse() {
    check(
        &[
            ("5.0.96.10.in-addr.arpa", Kind::Ptr),
            ("5.0.96.10.in-addr.arpa", Kind::A),
            ("7.0.244.10.in-addr.arpa", Kind::Ptr),
            ("8.1.244.10.in-addr.arpa", Kind::Ptr),
            ("9.0.244.10.in-addr.arpa", Kind::Ptr),
            ("9.1.244.10.in-addr.arpa", Kind::Ptr),
            ("0.244.10.in-addr.arpa", Kind::Ptr),
            (
                "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
                Kind::Ptr,
            ),
            (
                "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
                Kind::Ptr,
            ),
        ],
        expect![[r#"
            5.0.96.10.in-addr.arpa Ptr: Ptr("web.ns.svc.cluster.local")
            5.0.96.10.in-addr.arpa A: NoData
            7.0.244.10.in-addr.arpa Ptr: Ptr("db-0.db.ns.svc.cluster.local")
            8.1.244.10.in-addr.arpa Ptr: Ptr("10-244-1-8.db.ns.svc.cluster.local")
            9.0.244.10.in-addr.arpa Ptr: Ptr("10-244-0-9.web.ns.svc.cluster.local")
            9.1.244.10.in-addr.arpa Ptr: Elsewhere
            0.244.10.in-addr.arpa Ptr: Elsewhere
            5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa Ptr: Ptr("web.ns.svc.cluster.local")
            7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa Ptr: Ptr("db-0.db.ns.svc.cluster.local")
        "#]],
    );
}

#[test]
fn what_is_gone_leaves_nothing() {
    let mut records = records();
    records.observe(&Snapshot::new());
    assert_eq!(
        records.answer("web.ns.svc.cluster.local", Kind::A),
        Answer::NoName
    );
    assert_eq!(
        records.answer("7.0.244.10.in-addr.arpa", Kind::Ptr),
        Answer::Elsewhere
    );
    assert_eq!(
        records.answer("5.0.96.10.in-addr.arpa", Kind::Ptr),
        Answer::Elsewhere
    );
    records.observe(&snapshot(OBJECTS));
    assert_eq!(
        records.answer("ns.dns.cluster.local", Kind::A),
        self::records().answer("ns.dns.cluster.local", Kind::A)
    );
    assert_eq!(
        records.answer("db.ns.svc.cluster.local", Kind::Srv),
        self::records().answer("db.ns.svc.cluster.local", Kind::Srv)
    );
}

#[test]
fn the_server_s_own_objects_make_its_records() {
    let mut snapshot = snapshot(OBJECTS);
    snapshot.put(objects::service("10.96.0.10".parse().unwrap()));
    snapshot.put(objects::slice("node-a", "10.244.0.1:53".parse().unwrap()));
    let mut records = Records::new("cluster.local", Vec::new());
    records.observe(&snapshot);
    let answer = records.answer(
        "_dns-tcp._tcp.kube-dns.kube-system.svc.cluster.local",
        Kind::Srv,
    );
    expect!["Srv { weight: 100, port: 53, target: \"kube-dns.kube-system.svc.cluster.local\" }; kube-dns.kube-system.svc.cluster.local A(10.96.0.10)"].assert_eq(&shown(answer));
}
