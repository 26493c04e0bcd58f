//! Services and names, from inside pods and from the host.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use corten_tests::{Cluster, Kubectl, eventually, expect_equal, expect_parts, get, manifests};
use serde_json::json;

/// A Deployment of web servers, its Service and a client pod.
fn servers(kubectl: &Kubectl, replicas: u32, service: &serde_json::Value) -> Result<()> {
    kubectl.apply(&manifests::server_deployment("web", replicas).to_string())?;
    kubectl.apply(&service.to_string())?;
    kubectl.apply(&manifests::idle_pod("client").to_string())?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.wait("condition=Ready", "pod/client")
}

fn ask(kubectl: &Kubectl, url: &str) -> Result<String> {
    kubectl.run(&format!("exec client -- timeout 5 wget -q -O - {url}"))
}

pub fn cluster_ip_and_names(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("svc")?;
    servers(&kubectl, 2, &manifests::service("web", "ClusterIP"))?;
    let namespace = kubectl.namespace();
    let names = [
        "web",
        &format!("web.{namespace}"),
        &format!("web.{namespace}.svc.cluster.local"),
    ]
    .map(str::to_string);
    for name in names {
        eventually("the Service answers by name", || {
            let host = ask(&kubectl, &format!("http://{name}/hostname"))?;
            expect_parts(&host, &["web-"])
        })?;
    }
    let mut seen = BTreeSet::new();
    eventually("both pods answer", || {
        seen.insert(ask(&kubectl, "http://web/hostname")?);
        expect_equal(seen.len(), 2)
    })?;
    let address = kubectl.run("get service web -o jsonpath={.spec.clusterIP}")?;
    let page = kubectl.inside(|| get(&format!("{address}:80"), "/hostname"))??;
    expect_equal(page.status, 200)?;
    let environment = kubectl.run("exec client -- cat /etc/resolv.conf")?;
    let search = format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local");
    expect_parts(&environment, &[&search, "options ndots:5"])?;
    // A pod that asks its own Service gets an answer, from itself too.
    let pod = kubectl.run("get pods -l app=web -o 'jsonpath={.items[0].metadata.name}'")?;
    eventually("a pod reaches itself through its Service", || {
        let line = format!("exec {pod} -- timeout 5 wget -q -O - http://web/hostname");
        expect_equal(kubectl.run(&line)?, pod.as_str())
    })?;
    let missing = kubectl.fail("exec client -- nslookup no-such-name")?;
    expect_equal(missing.code != 0, true)
}

pub fn node_port(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("nodeport")?;
    servers(&kubectl, 1, &manifests::service("web", "NodePort"))?;
    let port = kubectl.run("get service web -o 'jsonpath={.spec.ports[0].nodePort}'")?;
    let authority = format!("{}:{port}", cluster.node_address()?);
    eventually("the node port answers on the host", || {
        let page = kubectl.inside(|| get(&authority, "/hostname"))??;
        expect_parts(&page.body, &["web-"])
    })?;
    let inside = ask(&kubectl, &format!("http://{authority}/hostname"))?;
    expect_parts(&inside, &["web-"])?;
    // Without endpoints a connection is refused at once instead of hanging.
    kubectl.run("scale deployment web --replicas=0")?;
    eventually("the node port refuses", || {
        match kubectl.inside(|| get(&authority, "/hostname"))? {
            Ok(page) => anyhow::bail!("it answered {}", page.status),
            Err(error) => expect_parts(&format!("{error:#}"), &["refused"]),
        }
    })
}

pub fn headless_and_external_name(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("names")?;
    let mut service = manifests::service("web", "ClusterIP");
    service["spec"]["clusterIP"] = json!("None");
    servers(&kubectl, 2, &service)?;
    let path = "{.items[*].status.podIP}";
    let addresses = kubectl.run(&format!("get pods -l app=web -o 'jsonpath={path}'"))?;
    let namespace = kubectl.namespace();
    eventually("the headless name has every pod", || {
        let name = format!("web.{namespace}.svc.cluster.local");
        let answer = kubectl.run(&format!("exec client -- nslookup {name}"))?;
        expect_parts(&answer, &addresses.split(' ').collect::<Vec<_>>())
    })?;
    let external = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"away"},
        "spec":{"type":"ExternalName","externalName":"kubernetes.default.svc.cluster.local"}}"#;
    kubectl.apply(external)?;
    eventually("the external name leads on", || {
        let name = format!("away.{namespace}.svc.cluster.local");
        let answer = kubectl.run(&format!("exec client -- nslookup {name}"))?;
        expect_parts(&answer, &["kubernetes.default.svc.cluster.local"])
    })
}

pub fn session_affinity(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("affinity")?;
    let mut service = manifests::service("web", "ClusterIP");
    service["spec"]["sessionAffinity"] = json!("ClientIP");
    servers(&kubectl, 3, &service)?;
    let first = eventually("the Service answers", || {
        ask(&kubectl, "http://web/hostname")
    })?;
    for _ in 0..10 {
        expect_equal(ask(&kubectl, "http://web/hostname")?, first.as_str())?;
    }
    Ok(())
}

pub fn udp_service(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("udp")?;
    let mut service = manifests::service("web", "ClusterIP");
    service["spec"]["ports"] =
        json!([{ "name": "udp", "port": 90, "targetPort": 8081, "protocol": "UDP" }]);
    let mut server = manifests::server_pod("web");
    server["spec"]["containers"][0]["args"] =
        json!(["netexec", "--http-port=8080", "--udp-port=8081"]);
    kubectl.apply(&server.to_string())?;
    kubectl.apply(&service.to_string())?;
    kubectl.apply(&manifests::server_pod("dialer").to_string())?;
    kubectl.wait("condition=Ready", "pod/web")?;
    kubectl.wait("condition=Ready", "pod/dialer")?;
    let dialer = kubectl.run("get pod dialer -o jsonpath={.status.podIP}")?;
    let address = kubectl.run("get service web -o jsonpath={.spec.clusterIP}")?;
    let query = format!("/dial?request=hostname&protocol=udp&host={address}&port=90&tries=1");
    eventually("the UDP Service answers", || {
        let page = kubectl.inside(|| get(&format!("{dialer}:8080"), &query))??;
        expect_parts(&page.body, &["\"responses\":[\"web\"]"]).context("dialling over UDP")
    })
}

pub fn service_addresses_are_repaired(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("repair")?;
    kubectl.apply(&manifests::service("web", "ClusterIP").to_string())?;
    let address = kubectl.run("get service web -o jsonpath={.spec.clusterIP}")?;
    let uid = format!("get ipaddress {address} -o jsonpath={{.metadata.uid}}");
    let first = kubectl.run(&uid)?;
    kubectl.run(&format!("delete ipaddress {address}"))?;
    eventually("the address has an object again", || {
        expect_equal(kubectl.run(&uid)? != first, true)
    })?;
    let parent = format!("get ipaddress {address} -o jsonpath={{.spec.parentRef.name}}");
    expect_equal(kubectl.run(&parent)?, "web")?;
    let events =
        "get events --field-selector reason=ClusterIPNotAllocated -o jsonpath={.items[*].message}";
    eventually("the service tells of it", || {
        expect_parts(
            &kubectl.run(events)?,
            &[&address, "is not allocated; repairing"],
        )
    })?;
    kubectl.run("delete service web")?;
    kubectl
        .fail(&format!("get ipaddress {address}"))
        .map(|_| ())
}

pub fn service_ranges(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("ranges")?;
    let range = kubectl.run("get servicecidr kubernetes -o jsonpath={.spec.cidrs[0]}")?;
    expect_equal(range, "10.96.0.0/16")?;
    let create = |name: &str, address: &str| {
        format!("create service clusterip {name} --tcp=80 --clusterip={address}")
    };
    let refused = kubectl.fail(&create("early", "10.50.0.7"))?;
    let text =
        "failed to allocate IP 10.50.0.7: the provided network does not match the current range";
    expect_parts(&refused.stderr, &[text])?;
    let more = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "more"}, "spec": {"cidrs": ["10.50.0.0/24"]}});
    kubectl.apply(&more.to_string())?;
    kubectl.wait("condition=Ready", "servicecidr/more")?;
    kubectl.run(&create("late", "10.50.0.7"))?;
    // An address that somebody else's object stands for is not given.
    let foreign = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": "10.50.0.8"},
        "spec": {"parentRef": {"resource": "things", "namespace": "default", "name": "x"}}});
    kubectl.apply(&foreign.to_string())?;
    let refused = kubectl.fail(&create("taken", "10.50.0.8"))?;
    expect_parts(&refused.stderr, &["provided IP is already allocated"])?;
    // The range stays until its addresses are given back.
    kubectl.run("delete servicecidr more --wait=false")?;
    eventually("the range waits", || {
        let why = kubectl.run("get servicecidr more -o jsonpath={.status.conditions[0].reason}")?;
        expect_equal(why, "Terminating")
    })?;
    kubectl.run("delete service late")?;
    kubectl.run("delete ipaddress 10.50.0.8")?;
    kubectl
        .run("wait --for=delete servicecidr/more --timeout=60s")
        .map(|_| ())
}
