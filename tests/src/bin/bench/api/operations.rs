//! The operations, each with what it needs to be there first: pods for reads and patches, a definition for custom
//! resources. Invariant: what is prepared is not counted.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::load::{Outcome, Request, drive};
use super::report::Measured;
use super::servers::Running;
use super::{Api, bodies, watches, webhook};

/// One line (or a few) of the table.
pub struct Operation {
    pub name: &'static str,
    pub about: &'static str,
    /// Takes minutes or gigabytes: measured only when it is named.
    pub large: bool,
    pub run: fn(&mut Bench) -> Result<Vec<Measured>>,
}

const fn usual(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Bench) -> Result<Vec<Measured>>,
) -> Operation {
    Operation {
        name,
        about,
        large: false,
        run,
    }
}

const fn large(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Bench) -> Result<Vec<Measured>>,
) -> Operation {
    Operation {
        name,
        about,
        large: true,
        run,
    }
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Every operation, in the order in which they are measured.
pub const OPERATIONS: &[Operation] = &[
    usual("create-configmap", "a small ConfigMap", create_config_map),
    usual(
        "create-custom",
        "a custom resource of the same content",
        create_custom,
    ),
    usual("create-pod", "a pod as a ReplicaSet makes it", create_pod),
    usual("get-pod", "one pod as JSON", |b| {
        b.read_pod("get-pod", "application/json")
    }),
    usual("get-proto", "one pod as protobuf", |b| {
        b.read_pod("get-proto", PROTOBUF)
    }),
    usual(
        "update-pod",
        "a pod read before, with a label changed",
        update_pod,
    ),
    usual("merge-patch-pod", "an annotation, as a merge patch", |b| {
        b.patch_pod("merge-patch-pod", MERGE, annotation)
    }),
    usual(
        "strategic-patch-pod",
        "a condition of the status, as the kubelet sends it",
        |b| b.patch_pod("strategic-patch-pod", STRATEGIC, condition),
    ),
    usual("json-patch-pod", "an annotation, as a JSON patch", |b| {
        b.patch_pod("json-patch-pod", JSON_PATCH, |number| {
            json!([{ "op": "add", "path": "/metadata/annotations/bench", "value": number.to_string() }])
        })
    }),
    usual("apply-pod", "an annotation, as a server-side apply", |b| {
        b.patch_pod("apply-pod", APPLY, |number| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "annotations": { "applied": number.to_string() } },
            })
        })
    }),
    usual("renew-lease", "a node's heartbeat", renew_lease),
    usual("list-json", "6,000 pods as JSON", |b| {
        b.list_pods("list-json", "", "application/json", 20)
    }),
    usual("list-protobuf", "6,000 pods as protobuf", |b| {
        b.list_pods("list-protobuf", "", PROTOBUF, 20)
    }),
    usual(
        "list-plain-json",
        "6,000 plain pods of 2.8 kB as JSON",
        |b| b.list_plain("list-plain-json", "application/json"),
    ),
    usual("list-plain-protobuf", "6,000 plain pods as protobuf", |b| {
        b.list_plain("list-plain-protobuf", PROTOBUF)
    }),
    usual("list-label", "600 of 6,000 pods by label", |b| {
        let query = "?labelSelector=app.kubernetes.io/name%3Dshop-3";
        b.list_pods("list-label", query, PROTOBUF, 50)
    }),
    usual("list-field", "60 of 6,000 pods by node", |b| {
        b.list_pods(
            "list-field",
            "?fieldSelector=spec.nodeName%3Dnode-7",
            PROTOBUF,
            100,
        )
    }),
    usual("list-paged", "6,000 pods in pages of 500", list_paged),
    usual(
        "list-configmaps",
        "10,000 ConfigMaps as JSON, with their memory",
        list_config_maps,
    ),
    usual(
        "list-custom",
        "10,000 custom resources as JSON, with their memory",
        list_custom,
    ),
    usual("watch-1", "an event to one watcher", |b| {
        watches::fan_out(b, "watch-1", bodies::pod, (1, 300))
    }),
    usual("watch-100", "an event to 100 watchers", |b| {
        watches::fan_out(b, "watch-100", bodies::pod, (100, 200))
    }),
    usual("watch-1000", "an event to 1,000 watchers", |b| {
        watches::fan_out(b, "watch-1000", bodies::pod, (1000, 60))
    }),
    usual("watch-10000", "an event to 10,000 watchers", |b| {
        watches::fan_out(b, "watch-10000", bodies::pod, (10_000, 12))
    }),
    usual(
        "watch-plain-1000",
        "a plain pod's event to 1,000 watchers",
        |b| watches::fan_out(b, "watch-plain-1000", bodies::plain_pod, (1000, 60)),
    ),
    usual(
        "watch-plain-10000",
        "a plain pod's event to 10,000 watchers",
        |b| watches::fan_out(b, "watch-plain-10000", bodies::plain_pod, (10_000, 12)),
    ),
    usual(
        "idle-watch-streams",
        "memory of a quiet watch, 100 on each connection",
        |b| watches::idle(b, "idle-watch-streams", 5000, 100),
    ),
    usual(
        "idle-watch-connections",
        "memory of a quiet watch on a connection of its own",
        |b| watches::idle(b, "idle-watch-connections", 1000, 1),
    ),
    usual(
        "webhook",
        "a ConfigMap with and without an admission webhook",
        webhook::added,
    ),
    large("many-json", "100,000 pods as JSON", |b| {
        b.list_many("many-json", "application/json")
    }),
    large("many-protobuf", "100,000 pods as protobuf", |b| {
        b.list_many("many-protobuf", PROTOBUF)
    }),
    large(
        "gigabyte",
        "1 GB of ConfigMaps as JSON, with the memory it takes",
        list_gigabyte,
    ),
];

/// Makes a pod in a namespace, with a name and a number.
pub type PodBody = fn(&str, &str, usize) -> Value;

/// A server with what was made on it so far.
pub struct Bench<'a> {
    pub flags: &'a Api,
    pub server: &'a Running,
    made: BTreeSet<String>,
    /// How many rounds changed pods: no two rounds make the same change.
    rounds: usize,
}

impl<'a> Bench<'a> {
    /// Nothing is made yet.
    pub fn new(flags: &'a Api, server: &'a Running) -> Bench<'a> {
        Bench {
            flags,
            server,
            made: BTreeSet::new(),
            rounds: 0,
        }
    }

    /// A namespace with the service account that admission looks for; no controller runs to make it.
    pub fn namespace(&mut self, namespace: &str) -> Result<()> {
        if !self.made.insert(format!("namespace {namespace}")) {
            return Ok(());
        }
        let object = |kind: &str, name: &str| json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name } });
        self.once(Request::write(
            "POST",
            "/api/v1/namespaces",
            object("Namespace", namespace).to_string(),
        ))?;
        self.once(Request::write(
            "POST",
            format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            object("ServiceAccount", "default").to_string(),
        ))
    }

    /// One request that is not counted.
    pub fn once(&self, request: Request) -> Result<()> {
        drive(&self.server.network, self.server.access(), 1, 1, &|_| {
            request.clone()
        })
        .map(drop)
    }

    /// One request that is not counted, and the JSON it was answered with.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let access = self.server.access();
        let answer = self
            .server
            .network
            .enter(|| access.connect()?.request("GET", path, b""))??;
        if answer.status != 200 {
            bail!("GET {path}: {}", answer.status);
        }
        answer.json()
    }

    /// Requests that are not counted.
    pub fn prepare(&self, count: usize, make: &(dyn Fn(usize) -> Request + Sync)) -> Result<()> {
        drive(&self.server.network, self.server.access(), 16, count, make).map(drop)
    }

    /// Requests that are.
    pub fn measure(
        &self,
        name: &str,
        clients: usize,
        count: usize,
        make: &(dyn Fn(usize) -> Request + Sync),
    ) -> Result<Measured> {
        self.server.forget_peak();
        let before = self.server.used();
        let outcome: Outcome = drive(
            &self.server.network,
            self.server.access(),
            clients,
            count,
            make,
        )?;
        let after = self.server.used();
        Ok(Measured::of(
            self.server.which,
            name,
            &outcome,
            before,
            after,
        ))
    }

    fn pods(&mut self, namespace: &str, count: usize, body: PodBody) -> Result<()> {
        self.namespace(namespace)?;
        if !self.made.insert(format!("pods {namespace}")) {
            return Ok(());
        }
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let path = format!("{path}?fieldManager=kube-controller-manager");
        self.prepare(count, &|number| {
            let pod = body(namespace, &pod_name(number), number);
            Request::write("POST", path.as_str(), pod.to_string())
        })?;
        Ok(())
    }

    fn few_pods(&mut self) -> Result<usize> {
        let count = self.flags.pods;
        self.pods("few", count, bodies::pod)?;
        Ok(count)
    }

    fn read_pod(&mut self, name: &str, accept: &'static str) -> Result<Vec<Measured>> {
        let pods = self.few_pods()?;
        let make = |number: usize| Request::get(pod_path(number % pods)).accepting(accept);
        self.prepare(200, &make)?;
        let (clients, count) = (self.flags.clients, self.flags.operations);
        Ok(vec![self.measure(name, clients, count, &make)?])
    }

    fn patch_pod(
        &mut self,
        name: &str,
        content_type: &'static str,
        patch: fn(usize) -> Value,
    ) -> Result<Vec<Measured>> {
        let pods = self.few_pods()?;
        self.rounds += 1;
        let round = self.rounds * 1_000_000;
        let part = if content_type == STRATEGIC {
            "/status"
        } else {
            ""
        };
        let query = match content_type == APPLY {
            true => "?fieldManager=bench&force=true",
            false => "",
        };
        let make = |number: usize| {
            let path = format!("{}{part}{query}", pod_path(number % pods));
            let mut patch = patch(round + number);
            if content_type == APPLY {
                patch["metadata"]["name"] = pod_name(number % pods).into();
            }
            Request::write("PATCH", path, patch.to_string()).typed(content_type)
        };
        self.prepare(200, &|number| make(500_000 + number))?;
        let (clients, count) = (self.flags.clients, self.flags.operations);
        Ok(vec![self.measure(name, clients, count, &make)?])
    }

    fn list_pods(
        &mut self,
        name: &str,
        query: &str,
        accept: &'static str,
        count: usize,
    ) -> Result<Vec<Measured>> {
        self.few_pods()?;
        let path = format!("/api/v1/namespaces/few/pods{query}");
        let make = |_| Request::get(path.as_str()).accepting(accept);
        // The first one is a line of its own: nothing is at hand for it yet.
        let first = self.measure(&format!("{name}-first"), 1, 1, &make)?;
        Ok(vec![first, self.measure(name, 1, count, &make)?])
    }

    /// Lists of plain pods: the bytes that the targets were set for.
    fn list_plain(&mut self, name: &str, accept: &'static str) -> Result<Vec<Measured>> {
        self.pods("plain", self.flags.pods, bodies::plain_pod)?;
        let make = |_| Request::get("/api/v1/namespaces/plain/pods").accepting(accept);
        self.prepare(1, &make)?;
        Ok(vec![self.measure(name, 1, 20, &make)?])
    }

    fn list_many(&mut self, name: &str, accept: &'static str) -> Result<Vec<Measured>> {
        let before = self.server.used();
        let pods = self.flags.many_pods;
        self.pods("many", pods, bodies::pod)?;
        let after = self.server.used();
        let make = |_| Request::get("/api/v1/namespaces/many/pods").accepting(accept);
        let mut first = self.measure(&format!("{name}-first"), 1, 1, &make)?;
        if after.resident_kib > before.resident_kib + 100_000 {
            first.each_kib = Some((after.resident_kib - before.resident_kib) as f64 / pods as f64);
        }
        Ok(vec![first, self.measure(name, 1, 5, &make)?])
    }

    /// Objects of one kind as many as lists are compared over, with the memory each takes.
    fn list_kept(
        &mut self,
        name: &str,
        path: &str,
        body: fn(&str) -> Value,
    ) -> Result<Vec<Measured>> {
        const KEPT: usize = 10_000;
        let before = self.server.used();
        self.prepare(KEPT, &|number| {
            Request::write("POST", path, body(&format!("kept-{number}")).to_string())
        })?;
        let after = self.server.used();
        let mut measured = self.measure(name, 1, 20, &|_| Request::get(path))?;
        let grown = after.resident_kib.saturating_sub(before.resident_kib);
        measured.each_kib = Some(grown as f64 / KEPT as f64);
        Ok(vec![measured])
    }

    /// Defines the custom resource.
    fn define(&mut self) -> Result<()> {
        if !self.made.insert("definition".to_owned()) {
            return Ok(());
        }
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.once(Request::write(
            "POST",
            definitions,
            bodies::definition().to_string(),
        ))?;
        // It is served when it is established, and upstream's handler a moment after that.
        for _ in 0..200 {
            if self.ask("/apis/bench.example.com/v1/settings").is_ok() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        bail!("the custom resource is not served")
    }

    fn create(
        &mut self,
        name: &str,
        path: &str,
        make: &(dyn Fn(usize) -> Value + Sync),
    ) -> Result<Vec<Measured>> {
        let request = |number| Request::write("POST", path, make(number).to_string());
        self.prepare(200, &|number| request(1_000_000 + number))?;
        let (clients, count) = (self.flags.clients, self.flags.operations);
        Ok(vec![self.measure(name, clients, count, &request)?])
    }
}

fn pod_name(number: usize) -> String {
    format!("shop-{}-6d4cf56db{}-{number:05}", number % 10, number % 10)
}

/// Where one of the few pods is.
pub fn pod_path(number: usize) -> String {
    format!("/api/v1/namespaces/few/pods/{}", pod_name(number))
}

/// A merge patch that changes something.
pub fn annotation(number: usize) -> Value {
    json!({ "metadata": { "annotations": { "bench": number.to_string() } } })
}

fn condition(number: usize) -> Value {
    let status = ["False", "True"][number / 6000 % 2];
    json!({ "status": {
        "phase": "Running",
        "conditions": [{
            "type": "Ready", "status": status, "message": number.to_string(),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    } })
}

fn create_config_map(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("create")?;
    let path = "/api/v1/namespaces/create/configmaps";
    b.create("create-configmap", path, &|n| {
        bodies::config_map(&format!("a{n}"))
    })
}

fn create_custom(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("create")?;
    b.define()?;
    let path = "/apis/bench.example.com/v1/namespaces/create/settings";
    b.create("create-custom", path, &|n| bodies::custom(&format!("a{n}")))
}

fn create_pod(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("create")?;
    let path = "/api/v1/namespaces/create/pods?fieldManager=kube-controller-manager";
    b.create("create-pod", path, &|n| {
        bodies::pod("create", &format!("a{n}"), n)
    })
}

fn update_pod(b: &mut Bench) -> Result<Vec<Measured>> {
    let pods = b.few_pods()?;
    let listed = b.ask("/api/v1/namespaces/few/pods")?;
    let objects: Vec<Value> = listed["items"].as_array().cloned().unwrap_or_default();
    let make = |number: usize| {
        let mut pod = objects[number % pods].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        if let Some(meta) = pod["metadata"].as_object_mut() {
            meta.remove("resourceVersion");
        }
        pod["metadata"]["labels"]["updated"] = format!("v{number}").into();
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/few/pods/{name}");
        Request::write("PUT", path, pod.to_string())
    };
    let (clients, count) = (b.flags.clients, b.flags.operations);
    Ok(vec![b.measure("update-pod", clients, count, &make)?])
}

/// Every lease once: a renewal names the version that its node has seen last.
fn renew_lease(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("leases")?;
    let path = "/apis/coordination.k8s.io/v1/namespaces/leases/leases";
    let (clients, count) = (b.flags.clients, b.flags.operations);
    b.prepare(count, &|number| {
        let lease = bodies::lease(&format!("node-{number}"), 0);
        Request::write("POST", path, lease.to_string())
    })?;
    let listed = b.ask(path)?;
    let leases: Vec<Value> = listed["items"].as_array().cloned().unwrap_or_default();
    let make = |number: usize| {
        let meta = &leases[number % leases.len()]["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        let mut lease = bodies::lease(name, 1 + number);
        lease["metadata"]["resourceVersion"] = meta["resourceVersion"].clone();
        Request::write("PUT", format!("{path}/{name}"), lease.to_string())
    };
    Ok(vec![b.measure(
        "renew-lease",
        clients,
        leases.len(),
        &make,
    )?])
}

/// Twenty times all pages, one after another.
fn list_paged(b: &mut Bench) -> Result<Vec<Measured>> {
    let pods = b.few_pods()?;
    let path = "/api/v1/namespaces/few/pods?limit=500";
    let mut pages = vec![path.to_owned()];
    while pages.len() < pods.div_ceil(500) {
        let Some(last) = pages.last() else { break };
        let page = b.ask(last)?;
        let Some(token) = page["metadata"]["continue"].as_str() else {
            break;
        };
        pages.push(format!("{path}&continue={token}"));
    }
    let make =
        |number: usize| Request::get(pages[number % pages.len()].as_str()).accepting(PROTOBUF);
    Ok(vec![b.measure("list-paged", 1, 20 * pages.len(), &make)?])
}

fn list_config_maps(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("kept")?;
    b.list_kept(
        "list-configmaps",
        "/api/v1/namespaces/kept/configmaps",
        bodies::config_map,
    )
}

fn list_custom(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("kept")?;
    b.define()?;
    let path = "/apis/bench.example.com/v1/namespaces/kept/settings";
    b.list_kept("list-custom", path, bodies::custom)
}

fn list_gigabyte(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("gigabyte")?;
    let path = "/api/v1/namespaces/gigabyte/configmaps";
    if b.made.insert("gigabyte".to_owned()) {
        let text = "0123456789abcdef".repeat(62_500);
        drive(&b.server.network, b.server.access(), 4, 1000, &|number| {
            let mut object = bodies::config_map(&format!("large-{number}"));
            object["data"]["another"] = text.as_str().into();
            Request::write("POST", path, object.to_string())
        })?;
    }
    // What writing has left is given back first, so that only the list's own memory raises the peak.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let mut measured = b.measure("gigabyte", 1, 2, &|_| Request::get(path))?;
    measured.each_kib = Some((measured.peak_mib - measured.before_mib) * 1024.0);
    Ok(vec![measured])
}
