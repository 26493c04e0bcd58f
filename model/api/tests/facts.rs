//! The generated tables agree with each other and with figures known from upstream.

use corten_api::apps::v1::Deployment;
use corten_api::core::v1::{Container, Pod, PodSpec, Service};
use corten_api::meta::v1::{ObjectMeta, OwnerReference};
use corten_api::{
    Gvk, Kind, Object, groups, kind_info, kinds, resource_of, resource_of_kind, resources,
};
use corten_core::{ListType, Message};

#[test]
fn structs_are_small() {
    assert_eq!(size_of::<ObjectMeta>(), 224);
    assert!(
        size_of::<Pod>() <= 1_100,
        "a Pod has {} bytes",
        size_of::<Pod>()
    );
    assert!(
        size_of::<PodSpec>() <= 560,
        "a PodSpec has {} bytes",
        size_of::<PodSpec>()
    );
    assert!(
        size_of::<Container>() <= 370,
        "a Container has {} bytes",
        size_of::<Container>()
    );
}

#[test]
fn tables_are_sorted() {
    assert!(
        kinds().is_sorted_by(|a, b| (a.group, a.version, a.kind) < (b.group, b.version, b.kind))
    );
    assert!(
        resources()
            .is_sorted_by(|a, b| (a.group, a.version, a.plural) < (b.group, b.version, b.plural))
    );
    assert!(kinds().len() >= 350, "{} kinds", kinds().len());
}

#[test]
fn every_resource_has_its_kinds() {
    for r in resources() {
        assert!(kind_info(r.gvk()).is_some(), "{} has no struct", r.gvk());
        assert_eq!(resource_of(r.group, r.version, r.plural), Some(r));
        assert_eq!(resource_of_kind(r.gvk()), Some(r));
        if r.verbs.contains(&"list") {
            let kind = format!("{}List", r.kind);
            let list = kind_info(Gvk {
                kind: &kind,
                ..r.gvk()
            })
            .expect("a list kind");
            assert!(list.list && !list.has_meta());
            assert!(
                list.msg().field("items").and_then(|f| f.msg())
                    == Some(kind_info(r.gvk()).unwrap().msg())
            );
        }
        if r.stored() {
            let stored = Gvk {
                group: r.storage_group,
                version: r.storage_version,
                kind: r.kind,
            };
            assert!(
                kind_info(stored).is_some(),
                "{stored} is stored but has no struct"
            );
        }
        for s in r
            .subresources
            .iter()
            .filter(|s| s.name != "log" && s.name != "proxy")
        {
            let gvk = Gvk {
                group: s.group,
                version: s.version,
                kind: s.kind,
            };
            assert!(kind_info(gvk).is_some(), "{}/{} is {gvk}", r.plural, s.name);
        }
    }
}

#[test]
fn storage_is_upstreams() {
    let at = |group, version, plural| {
        let r = resource_of(group, version, plural).unwrap();
        (r.storage_prefix, r.storage_group, r.storage_version)
    };
    assert_eq!(at("", "v1", "services"), ("services/specs", "", "v1"));
    assert_eq!(at("", "v1", "nodes"), ("minions", "", "v1"));
    assert_eq!(
        at("", "v1", "replicationcontrollers"),
        ("controllers", "", "v1")
    );
    assert_eq!(at("events.k8s.io", "v1", "events"), ("events", "", "v1"));
    assert_eq!(at("autoscaling", "v1", "horizontalpodautoscalers").2, "v2");
    assert_eq!(at("networking.k8s.io", "v1", "ingresses").0, "ingress");
    assert_eq!(
        at("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        (
            "apiextensions.k8s.io/customresourcedefinitions",
            "apiextensions.k8s.io",
            "v1beta1"
        )
    );
}

#[test]
fn discovery_facts() {
    let deployments = resource_of("apps", "v1", "deployments").unwrap();
    assert_eq!(deployments.short_names, ["deploy"]);
    assert_eq!(deployments.categories, ["all"]);
    assert!(deployments.namespaced && deployments.default_on());
    let scale = deployments.subresource("scale").unwrap();
    assert_eq!(
        (scale.group, scale.version, scale.kind),
        ("autoscaling", "v1", "Scale")
    );
    assert!(
        groups()
            .iter()
            .any(|g| g.name == "autoscaling" && g.versions == ["v2", "v1"])
    );
    assert_eq!(
        (
            Deployment::PLURAL,
            Deployment::API_VERSION,
            Deployment::NAMESPACED
        ),
        ("deployments", "apps/v1", true)
    );
}

#[test]
fn merge_facts() {
    let ports = Container::msg().field("ports").unwrap();
    assert_eq!(
        (ports.facts.list_type, ports.facts.map_keys),
        (ListType::Map, &["containerPort", "protocol"][..])
    );
    assert_eq!(
        (ports.facts.patch_strategy, ports.facts.patch_merge_key),
        ("merge", "containerPort")
    );
    let selector = Service::msg()
        .field("spec")
        .and_then(|f| f.msg())
        .unwrap()
        .field("selector")
        .unwrap();
    assert!(selector.facts.atomic);
    let protocol = ports.msg().unwrap().field("protocol").unwrap();
    assert_eq!(
        (protocol.facts.default, protocol.facts.values),
        ("\"TCP\"", &["SCTP", "TCP", "UDP"][..])
    );
    let volumes = PodSpec::msg().field("volumes").unwrap();
    assert_eq!(volumes.facts.patch_strategy, "merge,retainKeys");
    assert!(PodSpec::msg().field("containers").unwrap().required());
    // The fields of an embedded message are fields of the parent in JSON.
    assert!(volumes.msg().unwrap().field("configMap").is_some());
}

#[test]
fn options_are_known_in_every_group() {
    let options = kind_info(Gvk {
        group: "apps",
        version: "v1",
        kind: "DeleteOptions",
    })
    .unwrap();
    assert_eq!((options.group, options.api_version), ("", "v1"));
    assert!(
        kind_info(Gvk {
            group: "apps",
            version: "v1",
            kind: "Pod"
        })
        .is_none()
    );
}

#[test]
fn metadata_of_objects() {
    let mut owner = Deployment::namespaced("ns", "web");
    owner.metadata.uid = "u-1".into();
    let mut pod = Pod::named("web-1");
    pod.metadata
        .owner_references
        .push(OwnerReference::controller(&owner));
    assert!(pod.metadata.controlled_by("u-1") && !pod.metadata.controlled_by("u-2"));
    assert!(pod.metadata.add_finalizer("a/b") && !pod.metadata.add_finalizer("a/b"));
    let mut object = Object::from(pod);
    assert_eq!((object.api_version(), object.kind()), ("v1", "Pod"));
    assert_eq!(
        object.meta().controller_of().unwrap().api_version,
        "apps/v1"
    );
    object.meta_mut().namespace = "ns".into();
    assert_eq!(object.meta().full_name(), "ns/web-1");
    assert!(object.downcast_mut::<Deployment>().is_none());
    let pod = object.downcast::<Pod>().unwrap();
    assert_eq!((pod.api_version.as_str(), pod.kind.as_str()), ("v1", "Pod"));
    let status = Object::new_for(Gvk {
        group: "",
        version: "v1",
        kind: "Status",
    })
    .unwrap();
    assert!(!status.has_meta() && status.meta().name.is_empty());
}
