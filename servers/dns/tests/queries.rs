//! Real queries over loopback and through the Service: messages in, messages out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corten_api::Object;
use corten_api::core::v1::{Namespace, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_dns::{DnsOptions, DnsServer};
use corten_meta::Snapshot;
use expect_test::{Expect, expect};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(10);

const OBJECTS: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: ns}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: web}, spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 80, protocol: TCP}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: out}, spec: {type: ExternalName, externalName: target.example.org}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: in}, spec: {type: ExternalName, externalName: web.ns.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: circle}, spec: {type: ExternalName, externalName: circle.ns.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: ns, name: many}, spec: {clusterIP: None, ports: [{port: 80, protocol: TCP}]}}
";

fn objects() -> Snapshot {
    let mut snapshot = Snapshot::new();
    for document in corten_codec::yaml::decode_documents(OBJECTS.as_bytes()).unwrap() {
        let object = Object::from_value(&document).unwrap();
        match object.kind() {
            "Namespace" => snapshot.put(*object.downcast::<Namespace>().unwrap()),
            _ => snapshot.put(*object.downcast::<Service>().unwrap()),
        };
    }
    let endpoints: String = (1..=100)
        .map(|n| format!("{{addresses: [10.244.7.{n}]}},"))
        .collect();
    let yaml = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [{endpoints}], \
         metadata: {{namespace: ns, name: many-1, labels: {{kubernetes.io/service-name: many}}}}, \
         ports: [{{name: '', port: 80, protocol: TCP}}]}}"
    );
    let slice =
        Object::from_value(&corten_codec::yaml::decode_value(yaml.as_bytes()).unwrap()).unwrap();
    snapshot.put(*slice.downcast::<EndpointSlice>().unwrap());
    snapshot
}

/// A server on loopback that knows `OBJECTS`.
struct Server {
    at: SocketAddr,
    state: watch::Sender<Option<Snapshot>>,
    _runtime: Runtime,
}

fn server(upstreams: Vec<SocketAddr>) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut options = DnsOptions::new("cluster.local", vec!["127.0.0.1:0".parse().unwrap()]);
    options.upstreams = upstreams;
    options.service = vec!["10.96.0.10".parse().unwrap()];
    let server = runtime.block_on(DnsServer::start(options)).unwrap();
    let at = server.addresses()[0];
    let (state, source) = watch::channel(Some(objects()));
    runtime.spawn(server.run(source));
    Server {
        at,
        state,
        _runtime: runtime,
    }
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn udp_bytes(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(bytes, server).unwrap();
    let mut buffer = vec![0; 65_535];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, server);
    buffer.truncate(length);
    buffer
}

fn udp(server: SocketAddr, request: &Message) -> Message {
    Message::from_vec(&udp_bytes(server, &request.to_vec().unwrap())).unwrap()
}

fn tcp(server: SocketAddr, requests: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for request in requests {
        let bytes = request.to_vec().unwrap();
        stream
            .write_all(&(bytes.len() as u16).to_be_bytes())
            .unwrap();
        stream.write_all(&bytes).unwrap();
    }
    let mut answers = Vec::new();
    for _ in requests {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes).unwrap();
        answers.push(Message::from_vec(&bytes).unwrap());
    }
    answers
}

/// An answer's flags and sections, a line each.
fn shown(message: &Message) -> String {
    let m = &message.metadata;
    let flags = [
        (m.authoritative, "aa"),
        (m.truncation, "tc"),
        (m.recursion_desired, "rd"),
        (m.recursion_available, "ra"),
    ];
    let flags: Vec<&str> = flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| *name)
        .collect();
    let mut text = format!("{} {:?} {}\n", m.id, m.response_code, flags.join(" "));
    for (section, records) in [
        ("", &message.answers),
        ("auth ", &message.authorities),
        ("also ", &message.additionals),
    ] {
        for record in records {
            text += &format!("{section}{record}\n");
        }
    }
    text
}

fn check(server: &Server, name: &str, kind: RecordType, expect: Expect) {
    let request = request(name, kind);
    let over_udp = shown(&udp(server.at, &request));
    expect.assert_eq(&over_udp);
    assert_eq!(shown(&tcp(server.at, &[request])[0]), over_udp);
}

#[test]
fn services() {
    let server = server(Vec::new());
    check(
        &server,
        "web.ns.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
            4711 NoError aa rd ra
            web.ns.svc.cluster.local. 5 IN A 10.96.0.5
        "#]],
    );
    check(
        &server,
        "web.ns.svc.cluster.local.",
        RecordType::AAAA,
        expect![[r#"
            4711 NoError aa rd ra
            auth cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 0 7200 1800 86400 5
        "#]],
    );
    check(
        &server,
        "_http._tcp.web.ns.svc.cluster.local.",
        RecordType::SRV,
        expect![[r#"
            4711 NoError aa rd ra
            _http._tcp.web.ns.svc.cluster.local. 5 IN SRV 0 100 80 web.ns.svc.cluster.local.
            also web.ns.svc.cluster.local. 5 IN A 10.96.0.5
        "#]],
    );
    check(
        &server,
        "5.0.96.10.in-addr.arpa.",
        RecordType::PTR,
        expect![[r#"
            4711 NoError aa rd ra
            5.0.96.10.in-addr.arpa. 5 IN PTR web.ns.svc.cluster.local.
        "#]],
    );
}

#[test]
fn denials_and_the_zone_itself() {
    let server = server(Vec::new());
    check(
        &server,
        "none.ns.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
            4711 NXDomain aa rd ra
            auth cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 0 7200 1800 86400 5
        "#]],
    );
    check(
        &server,
        "web.ns.svc.cluster.local.ns.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
            4711 NXDomain aa rd ra
            auth cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 0 7200 1800 86400 5
        "#]],
    );
    check(
        &server,
        "dns-version.cluster.local.",
        RecordType::TXT,
        expect![[r#"
            4711 NoError aa rd ra
            dns-version.cluster.local. 5 IN TXT 1.1.0
        "#]],
    );
    check(
        &server,
        "cluster.local.",
        RecordType::NS,
        expect![[r#"
        4711 NoError aa rd ra
        cluster.local. 5 IN NS ns.dns.cluster.local.
        also ns.dns.cluster.local. 5 IN A 10.96.0.10
    "#]],
    );
}

#[test]
fn aliases() {
    let server = server(Vec::new());
    check(
        &server,
        "in.ns.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
            4711 NoError aa rd ra
            in.ns.svc.cluster.local. 5 IN CNAME web.ns.svc.cluster.local.
            web.ns.svc.cluster.local. 5 IN A 10.96.0.5
        "#]],
    );
    check(
        &server,
        "in.ns.svc.cluster.local.",
        RecordType::CNAME,
        expect![[r#"
            4711 NoError aa rd ra
            in.ns.svc.cluster.local. 5 IN CNAME web.ns.svc.cluster.local.
        "#]],
    );
    check(
        &server,
        "circle.ns.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
            4711 ServFail rd ra
        "#]],
    );
    // Without servers for other names nothing is known of them.
    check(
        &server,
        "example.org.",
        RecordType::A,
        expect![[r#"
        4711 Refused rd ra
    "#]],
    );
}

#[test]
fn the_spelling_of_the_question_comes_back() {
    let server = server(Vec::new());
    let answer = udp(
        server.at,
        &request("WeB.ns.SVC.cluster.LOCAL.", RecordType::A),
    );
    assert_eq!(
        answer.queries[0].name().to_ascii(),
        "WeB.ns.SVC.cluster.LOCAL."
    );
    assert_eq!(
        answer.answers[0].name.to_ascii(),
        "WeB.ns.SVC.cluster.LOCAL."
    );
}

#[test]
fn answers_fit_what_the_client_takes() {
    let server = server(Vec::new());
    let plain = request("many.ns.svc.cluster.local.", RecordType::A);
    let cut = udp(server.at, &plain);
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.edns.is_none());
    assert_eq!(
        tcp(server.at, std::slice::from_ref(&plain))[0]
            .answers
            .len(),
        100
    );
    // 1,232 bytes are not enough for 100 addresses either, whatever the client says.
    let mut large = plain.clone();
    large.set_edns(Edns::new().set_max_payload(65_000).clone());
    let answer = udp(server.at, &large);
    assert!(answer.metadata.truncation);
    assert_eq!(answer.edns.unwrap().max_payload(), 1232);
    // Where SRV records fit but the addresses with them do not, the addresses are left out.
    let mut srv = request("many.ns.svc.cluster.local.", RecordType::SRV);
    assert_eq!(
        tcp(server.at, std::slice::from_ref(&srv))[0]
            .additionals
            .len(),
        100
    );
    srv.set_edns(Edns::new());
    assert!(udp(server.at, &srv).metadata.truncation);
    // Clients that take the first address spread: each question turns the list.
    let first = |id| {
        let mut request = plain.clone();
        request.metadata.id = id;
        tcp(server.at, &[request])[0].answers[0].data.to_string()
    };
    assert_eq!(
        (first(0), first(1), first(101)),
        (
            "10.244.7.1".into(),
            "10.244.7.2".into(),
            "10.244.7.2".into()
        )
    );
}

#[test]
fn what_is_not_supported_is_refused() {
    let server = server(Vec::new());
    let code = |message: Message| udp(server.at, &message).metadata.response_code;
    let web = || request("web.ns.svc.cluster.local.", RecordType::A);
    let mut update = web();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(update), ResponseCode::NotImp);
    let mut version = web();
    version.set_edns(Edns::new().set_version(1).clone());
    // 16 is BADVERS here; the library reads it as BADSIG, which has the same number.
    assert_eq!(u16::from(code(version)), 16);
    let mut two = web();
    two.add_query(web().queries[0].clone());
    assert_eq!(code(two), ResponseCode::FormErr);
    let mut chaos = web();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(chaos), ResponseCode::Refused);
    assert_eq!(
        code(request("cluster.local.", RecordType::AXFR)),
        ResponseCode::Refused
    );
    // Bytes that are no message, but have a number.
    let bytes = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 1];
    assert_eq!(udp_bytes(server.at, &bytes)[..4], [0x12, 0x34, 0x80, 1]);
}

#[test]
fn connections_take_many_questions() {
    let server = server(Vec::new());
    let requests: Vec<Message> = (0..20)
        .map(|id| {
            let mut request = request("web.ns.svc.cluster.local.", RecordType::A);
            request.metadata.id = id;
            request
        })
        .collect();
    let answers = tcp(server.at, &requests);
    assert!(
        answers
            .iter()
            .enumerate()
            .all(|(id, answer)| usize::from(answer.metadata.id) == id)
    );
}

#[test]
fn changes_are_answered_at_once() {
    let server = server(Vec::new());
    let ask = || {
        udp(
            server.at,
            &request("new.ns.svc.cluster.local.", RecordType::A),
        )
    };
    assert_eq!(ask().metadata.response_code, ResponseCode::NXDomain);
    let mut snapshot = objects();
    let mut service = Service::default();
    service.metadata.namespace = "ns".into();
    service.metadata.name = "new".into();
    service.spec.cluster_ip = "10.96.0.77".into();
    snapshot.put(service);
    server.state.send(Some(snapshot)).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while ask().answers.is_empty() {
        assert!(std::time::Instant::now() < deadline);
    }
}

/// A server for `example.org`, UDP and TCP, that counts questions. Ends with the process.
fn upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(listener) = std::net::TcpListener::bind(socket.local_addr().unwrap()) {
            break (socket, listener);
        }
    };
    let at = socket.local_addr().unwrap();
    let counter = count.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            for answer in upstream_answers(&buffer[..length], &counter, 512) {
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            let _ = stream.read_exact(&mut bytes);
            let answer = upstream_answers(&bytes, &counter, 65_535).pop().unwrap();
            let _ = stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat());
        }
    });
    (at, count)
}

/// The answers to a question, forged ones first.
fn upstream_answers(bytes: &[u8], count: &AtomicUsize, limit: usize) -> Vec<Vec<u8>> {
    let request = Message::from_vec(bytes).unwrap();
    let query = &request.queries[0];
    if query.query_type() != RecordType::HINFO {
        count.fetch_add(1, Ordering::Relaxed);
    }
    let mut answer = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    answer.add_query(query.clone());
    answer.metadata.recursion_available = true;
    let name = query.name().to_lowercase().to_ascii();
    let address = |n| {
        Record::from_rdata(
            query.name().to_lowercase(),
            60,
            RData::A(A::new(192, 0, 2, n)),
        )
    };
    match name.as_str() {
        "target.example.org." => answer.add_answer(address(1)),
        "long.example.org." => answer.add_answers((0..200).map(address)),
        _ => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 60);
            answer.add_authority(Record::from_rdata(
                Name::from_ascii("example.org.").unwrap(),
                60,
                RData::SOA(soa),
            ))
        }
    };
    let mut forged = answer.clone();
    forged.metadata.id = request.metadata.id.wrapping_add(1);
    forged.answers.clear();
    let mut other = answer.clone();
    other.queries[0].set_name(Name::from_ascii("other.example.org.").unwrap());
    let mut bytes = answer.to_vec().unwrap();
    if bytes.len() > limit {
        bytes = answer.truncate().to_vec().unwrap();
    }
    vec![
        vec![1, 2, 3],
        forged.to_vec().unwrap(),
        other.to_vec().unwrap(),
        bytes,
    ]
}

#[test]
fn other_names_are_asked_for_and_remembered() {
    let (at, count) = upstream();
    let server = server(vec![at]);
    let asked = || count.load(Ordering::Relaxed);
    let target = request("Target.Example.org.", RecordType::A);
    let first = udp(server.at, &target);
    assert_eq!(first.metadata.id, 4711);
    assert_eq!(first.queries[0].name().to_ascii(), "Target.Example.org.");
    assert_eq!(first.answers[0].data.to_string(), "192.0.2.1");
    assert!(!first.metadata.authoritative && first.metadata.recursion_available);
    assert_eq!(udp(server.at, &target).answers, first.answers);
    assert_eq!(asked(), 1);
    // Denials too.
    for _ in 0..3 {
        let denial = udp(server.at, &request("none.example.org.", RecordType::A));
        assert_eq!(denial.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(denial.authorities.len(), 1);
    }
    assert_eq!(asked(), 2);
    // What is too long for a datagram is asked for again by the client, and then by TCP.
    let long = request("long.example.org.", RecordType::A);
    assert!(udp(server.at, &long).metadata.truncation);
    assert_eq!(
        tcp(server.at, std::slice::from_ref(&long))[0].answers.len(),
        200
    );
    // An alias is answered with what it leads to, from memory by now.
    let before = asked();
    let alias = udp(
        server.at,
        &request("out.ns.svc.cluster.local.", RecordType::A),
    );
    let records: Vec<String> = alias
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    assert_eq!(records, ["target.example.org.", "192.0.2.1"]);
    assert_eq!(asked(), before);
    udp(
        server.at,
        &request("out.ns.svc.cluster.local.", RecordType::A),
    );
    assert_eq!(asked(), before);
    // Names of the cluster never leave it.
    udp(
        server.at,
        &request("none.ns.svc.cluster.local.", RecordType::A),
    );
    assert_eq!(asked(), before);
}

#[test]
fn a_dead_upstream_is_passed_over() {
    let (alive, _) = upstream();
    // A bound port that nobody listens on refuses at once.
    let dead = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = server(vec![dead, alive]);
    assert_eq!(
        udp(server.at, &request("target.example.org.", RecordType::A))
            .answers
            .len(),
        1
    );
    let lonely = self::server(vec![dead]);
    let answer = udp(lonely.at, &request("target.example.org.", RecordType::A));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    // An alias is true even then.
    assert_eq!(
        udp(
            lonely.at,
            &request("out.ns.svc.cluster.local.", RecordType::A)
        )
        .answers
        .len(),
        1
    );
}

#[test]
fn a_loop_is_found() {
    // The relay gives everything back to the server.
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay_at = relay.local_addr().unwrap();
    let server = server(vec![relay_at]);
    let at = server.at;
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, client)) = relay.recv_from(&mut buffer) {
            let (relay, bytes) = (relay.try_clone().unwrap(), buffer[..length].to_vec());
            std::thread::spawn(move || relay.send_to(&udp_bytes(at, &bytes), client));
        }
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    while udp(server.at, &request("example.org.", RecordType::A))
        .metadata
        .response_code
        != ResponseCode::Refused
    {
        assert!(
            std::time::Instant::now() < deadline,
            "the loop was not noticed"
        );
    }
}
