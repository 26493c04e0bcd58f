//! The packet filter against the kernel: what `nft` prints is what the ruleset says, and changes are incremental.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::process::Command;

use corten_dataplane::{Netns, PacketFilter};
use corten_netplan::ruleset::{
    Chain, ChainKind, Datum, Element, Field, Hook, Is, Ruleset, Set, Statement as S, Type, Verdict,
};
use corten_netplan::{Family, Protocol};

/// What `nft` prints of everything in the namespace.
fn listed(netns: &Netns) -> String {
    let output = netns
        .run(|| Command::new("nft").args(["-y", "list", "ruleset"]).output())
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// One line per set element, and nothing that only differs in layout.
fn normal(text: &str) -> Vec<String> {
    let joined = text.replace(",\n", ", ");
    let mut lines = Vec::new();
    for line in joined.lines().map(str::trim) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.strip_prefix("elements = {") {
            Some(elements) => {
                let inner = elements.trim_end_matches('}');
                let mut elements: Vec<String> =
                    inner.split(',').map(|e| e.trim().to_owned()).collect();
                elements.sort();
                lines.extend(elements);
            }
            None if line.is_empty() => {}
            None => lines.push(line),
        }
    }
    lines
}

/// Asserts that the kernel holds what the ruleset says; objects may come in another order.
fn agree(netns: &Netns, ruleset: &Ruleset) {
    let mut ours = normal(&ruleset.to_string());
    let mut theirs = normal(&listed(netns));
    ours.sort();
    theirs.sort();
    let only = |a: &[String], b: &[String]| {
        a.iter()
            .filter(|l| !b.contains(l))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(only(&ours, &theirs), only(&theirs, &ours));
    assert_eq!(ours.len(), theirs.len());
}

fn nft(netns: &Netns, arguments: &[&str]) {
    let status = netns
        .run(|| Command::new("nft").args(arguments).status())
        .unwrap()
        .unwrap();
    assert!(status.success());
}

/// A table with every kind of statement, set and element.
fn everything(family: Family) -> Ruleset {
    let mut rules = Ruleset::new(family, "corten-test");
    add_sets(&mut rules);
    add_nat_chains(&mut rules);
    add_matching_chain(&mut rules);
    add_base_chains(&mut rules);
    add_elements(&mut rules);
    rules
}

fn address(family: Family, n: u8) -> std::net::IpAddr {
    match family {
        Family::V4 => format!("10.0.0.{n}").parse().unwrap(),
        Family::V6 => format!("fd00::{n}").parse().unwrap(),
    }
}

fn add_sets(rules: &mut Ruleset) {
    let service = [Type::Address, Type::Protocol, Type::Port];
    rules.set("service-ips", Set::verdicts(&service));
    rules.set("cluster-ips", Set::of(&[Type::Address]));
    rules.set(
        "ports",
        Set::map(&[Type::Protocol, Type::Port], &[Type::Address, Type::Port]),
    );
    rules.set("pairs", Set::of(&[Type::Address, Type::Address]));
    rules.set("seen", Set::remembered(10_800));
}

fn add_nat_chains(rules: &mut Ruleset) {
    let family = rules.family;
    let ip = |n| address(family, n);
    let key = vec![
        Field::DestinationAddress,
        Field::Protocol,
        Field::DestinationPort,
    ];
    rules.chain(
        "services",
        Chain::regular(vec![vec![S::VerdictMap(key, "service-ips".into())]]),
    );
    let to = |n| SocketAddr::new(ip(n), 8080);
    rules.chain(
        "service-a/b/tcp/",
        Chain::regular(vec![vec![
            S::Protocol(Protocol::Tcp),
            S::DnatRandom(vec![to(1), to(2)]),
        ]]),
    );
    rules.chain(
        "one",
        Chain::regular(vec![
            vec![S::Remember("seen".into())],
            vec![S::Protocol(Protocol::Udp), S::Dnat(to(1))],
        ]),
    );
    rules.chain(
        "two",
        Chain::regular(vec![vec![S::GotoRandom(vec![
            "one".into(),
            "three".into(),
        ])]]),
    );
}

fn add_matching_chain(rules: &mut Ruleset) {
    let (inside, host) = match rules.family {
        Family::V4 => ("10.244.0.0/16", "10.1.2.3/32"),
        Family::V6 => ("fd01::/64", "fd02::9/128"),
    };
    rules.chain(
        "three",
        Chain::regular(vec![
            vec![
                S::Lookup(
                    vec![Field::DestinationAddress],
                    Is::In,
                    "cluster-ips".into(),
                ),
                S::MarkSet(0x4000),
            ],
            vec![
                S::Lookup(vec![Field::SourceAddress], Is::NotIn, "cluster-ips".into()),
                S::Verdict(Verdict::Drop),
            ],
            vec![
                S::Address(Field::SourceAddress, Is::NotIn, inside.parse().unwrap()),
                S::Verdict(Verdict::Return),
            ],
            vec![
                S::Address(Field::DestinationAddress, Is::In, host.parse().unwrap()),
                S::Verdict(Verdict::Accept),
            ],
            vec![S::SourceLocal, S::Verdict(Verdict::Goto("one".into()))],
            vec![
                S::DestinationLocal,
                S::InLink("lo".into()),
                S::Verdict(Verdict::Jump("one".into())),
            ],
        ]),
    );
}

fn add_base_chains(rules: &mut Ruleset) {
    rules.chain(
        "nat-prerouting",
        Chain::base(
            ChainKind::Nat,
            Hook::Prerouting,
            -100,
            vec![
                vec![S::Verdict(Verdict::Jump("services".into()))],
                vec![S::DnatMap(
                    vec![Field::Protocol, Field::DestinationPort],
                    "ports".into(),
                )],
            ],
        ),
    );
    rules.chain(
        "nat-postrouting",
        Chain::base(
            ChainKind::Nat,
            Hook::Postrouting,
            100,
            vec![
                vec![S::MarkHas(0x4000), S::MarkToggle(0x4000), S::Masquerade],
                vec![
                    S::ConnectionTranslated,
                    S::Lookup(
                        vec![Field::SourceAddress, Field::DestinationAddress],
                        Is::In,
                        "pairs".into(),
                    ),
                    S::OutLink("corten0".into()),
                    S::Masquerade,
                ],
            ],
        ),
    );
    rules.chain(
        "filter-forward",
        Chain::base(
            ChainKind::Filter,
            Hook::Forward,
            -5,
            vec![vec![S::ConnectionNew, S::Reject]],
        ),
    );
}

fn add_elements(rules: &mut Ruleset) {
    let family = rules.family;
    let ip = |n| address(family, n);
    for n in 1..200 {
        let key = vec![
            Datum::Address(ip(n)),
            Datum::Protocol(Protocol::Tcp),
            Datum::Port(443),
        ];
        rules.element(
            "service-ips",
            key,
            Element::Verdict(Verdict::Goto("service-a/b/tcp/".into())),
        );
        rules.element("cluster-ips", vec![Datum::Address(ip(n))], Element::Present);
    }
    rules.element(
        "service-ips",
        vec![
            Datum::Address(ip(200)),
            Datum::Protocol(Protocol::Sctp),
            Datum::Port(1),
        ],
        Element::Verdict(Verdict::Drop),
    );
    rules.element(
        "pairs",
        vec![Datum::Address(ip(1)), Datum::Address(ip(1))],
        Element::Present,
    );
    rules.element(
        "ports",
        vec![Datum::Protocol(Protocol::Udp), Datum::Port(53)],
        Element::Data(vec![Datum::Address(ip(9)), Datum::Port(5353)]),
    );
}

#[test]
fn every_statement_reads_back_as_nft_prints_it() {
    for family in [Family::V4, Family::V6] {
        let netns = Netns::anonymous().unwrap();
        let mut filter = PacketFilter::open_in(&netns).unwrap();
        let ruleset = everything(family);
        assert!(filter.apply(&ruleset).unwrap().replaced);
        agree(&netns, &ruleset);
        filter.remove(&ruleset).unwrap();
        assert_eq!(listed(&netns), "");
    }
}

/// Another version: a chain changed, one added with its element, one removed with its elements, a set come and gone.
fn changed(from: &Ruleset) -> Ruleset {
    let mut to = from.clone();
    let endpoint = |n: u8| SocketAddr::new(format!("10.9.0.{n}").parse().unwrap(), 80);
    to.chain(
        "service-a/b/tcp/",
        Chain::regular(vec![vec![
            S::Protocol(Protocol::Tcp),
            S::DnatRandom((1..100).map(endpoint).collect()),
        ]]),
    );
    to.chain(
        "two",
        Chain::regular(vec![vec![S::GotoRandom(vec![
            "three".into(),
            "four".into(),
        ])]]),
    );
    to.chain("three", Chain::regular(vec![]));
    to.chain(
        "four",
        Chain::regular(vec![vec![S::Remember("seen-too".into())]]),
    );
    to.chains.remove("one");
    to.sets.remove("seen");
    to.set("seen-too", Set::remembered(90));
    let key = |n: u8| {
        vec![
            Datum::Address(format!("10.0.0.{n}").parse().unwrap()),
            Datum::Protocol(Protocol::Tcp),
            Datum::Port(443),
        ]
    };
    to.element("service-ips", key(1), Element::Verdict(Verdict::Drop));
    to.element(
        "service-ips",
        key(250),
        Element::Verdict(Verdict::Goto("four".into())),
    );
    to.elements.remove(&corten_netplan::ruleset::ElementKey {
        set: "service-ips".into(),
        key: key(7),
    });
    to
}

#[test]
fn a_change_costs_what_changed() {
    let netns = Netns::anonymous().unwrap();
    let mut filter = PacketFilter::open_in(&netns).unwrap();
    let (first, second) = (everything(Family::V4), changed(&everything(Family::V4)));
    filter.apply(&first).unwrap();
    for (to, messages) in [(&second, 20), (&first, 30), (&second, 20)] {
        let change = filter.apply(to).unwrap();
        assert!(
            !change.replaced && change.messages <= messages,
            "{change:?}"
        );
        agree(&netns, to);
        assert_eq!(filter.apply(to).unwrap(), Default::default());
    }
}

#[test]
fn what_others_did_is_noticed() {
    let netns = Netns::anonymous().unwrap();
    let mut filter = PacketFilter::open_in(&netns).unwrap();
    let (first, second) = (everything(Family::V4), changed(&everything(Family::V4)));
    filter.apply(&first).unwrap();
    // Somebody else's table: ours stays, and the change is still small.
    nft(&netns, &["add", "table", "inet", "other"]);
    nft(&netns, &["add", "chain", "inet", "other", "x"]);
    assert!(!filter.apply(&second).unwrap().replaced);
    nft(&netns, &["delete", "table", "inet", "other"]);
    agree(&netns, &second);
    // Our own table was touched or is gone: it is replaced.
    nft(&netns, &["add", "chain", "ip", "corten-test", "foreign"]);
    assert!(filter.apply(&first).unwrap().replaced);
    agree(&netns, &first);
    nft(&netns, &["flush", "ruleset"]);
    assert!(filter.apply(&second).unwrap().replaced);
    agree(&netns, &second);
    // An owner that starts anew replaces what it finds.
    assert!(
        PacketFilter::open_in(&netns)
            .unwrap()
            .apply(&first)
            .unwrap()
            .replaced
    );
    agree(&netns, &first);
}

#[test]
fn a_refused_change_leaves_the_table_as_it_was() {
    let netns = Netns::anonymous().unwrap();
    let mut filter = PacketFilter::open_in(&netns).unwrap();
    let good = everything(Family::V4);
    filter.apply(&good).unwrap();
    let mut bad = good.clone();
    bad.chain(
        "two",
        Chain::regular(vec![vec![S::Verdict(Verdict::Goto("absent".into()))]]),
    );
    let error = filter.apply(&bad).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel refused to write chain two: No such file or directory (os error 2)"
    );
    agree(&netns, &good);
}

#[test]
fn thousands_of_services_fit_one_transaction() {
    let netns = Netns::anonymous().unwrap();
    let mut filter = PacketFilter::open_in(&netns).unwrap();
    let mut rules = Ruleset::new(Family::V4, "many");
    rules.set(
        "service-ips",
        Set::verdicts(&[Type::Address, Type::Protocol, Type::Port]),
    );
    let ip = |n: u32| std::net::IpAddr::from(std::net::Ipv4Addr::from(0x0a60_0000 + n));
    for n in 0..5_000 {
        let name = format!("service-{n}");
        let to = (0..3)
            .map(|i| SocketAddr::new(ip(n * 3 + i), 8080))
            .collect();
        rules.chain(
            &name,
            Chain::regular(vec![vec![S::Protocol(Protocol::Tcp), S::DnatRandom(to)]]),
        );
        let key = vec![
            Datum::Address(ip(n)),
            Datum::Protocol(Protocol::Tcp),
            Datum::Port(80),
        ];
        rules.element(
            "service-ips",
            key,
            Element::Verdict(Verdict::Goto(name.as_str().into())),
        );
    }
    assert!(filter.apply(&rules).unwrap().replaced);
    rules.chain("service-7", Chain::regular(vec![vec![S::Reject]]));
    assert_eq!(filter.apply(&rules).unwrap().messages, 4);
    let one = netns
        .run(|| {
            Command::new("nft")
                .args(["list", "chain", "ip", "many", "service-7"])
                .output()
        })
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&one.stdout).contains("reject"));
}
