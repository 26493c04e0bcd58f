//! One kind in every verb: what a file of the corpus with `object` becomes. Invariant: every request but the first create,
//! the updates, the status patches and the last delete is a dry run or changes nothing.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::corpus::{Request, Step};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const YAML: &str = "application/yaml";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// One kind's description.
pub(super) struct Expansion<'a> {
    path: &'a str,
    object: &'a Value,
    name: &'a str,
    variants: Vec<(String, &'a Value)>,
    updates: Vec<(String, &'a Value)>,
    status: Vec<(String, &'a Value)>,
    others: Vec<&'a str>,
    steps: Vec<Step>,
}

impl<'a> Expansion<'a> {
    /// Of a document with `object`.
    pub(super) fn of(document: &'a Value) -> Result<Expansion<'a>> {
        let named = |key: &str| {
            // Maps lose their order on the way; a list of maps with one member each keeps it.
            let listed = document[key].as_array().into_iter().flatten();
            let maps = document[key].as_object().into_iter();
            let members = listed.filter_map(Value::as_object).chain(maps).flatten();
            members.map(|(k, v)| (k.clone(), v)).collect::<Vec<_>>()
        };
        let others = document["others"].as_array().into_iter().flatten();
        Ok(Expansion {
            path: document["path"].as_str().context("no path")?,
            object: &document["object"],
            name: document["object"]["metadata"]["name"]
                .as_str()
                .context("no name")?,
            variants: named("variants"),
            updates: named("updates"),
            status: named("status"),
            others: others.filter_map(Value::as_str).collect(),
            steps: Vec::new(),
        })
    }

    fn push(&mut self, name: impl Into<String>, request: Request) {
        self.steps.push(Step {
            name: name.into(),
            request,
            save: Vec::new(),
            until: Vec::new(),
        });
    }

    fn get(&mut self, name: &str, path: String, accept: &str) {
        let mut request = Request::get(&path);
        request.headers.push(("Accept".into(), accept.into()));
        self.push(name, request);
    }

    fn item(&self) -> String {
        format!("{}/{}", self.path, self.name)
    }

    /// Every request that it becomes.
    pub(super) fn steps(mut self) -> Vec<Step> {
        self.create();
        self.create_oddly();
        self.read();
        self.list();
        self.change();
        self.patch();
        self.patch_oddly();
        self.part();
        self.delete();
        self.steps
    }

    fn create(&mut self) {
        let (path, object) = (self.path, self.object);
        let post = |query: &str, object: &Value| {
            Request::with_body("POST", &format!("{path}{query}"), JSON, object)
        };
        self.push("create dry", post("?dryRun=All", object));
        self.push("create", post("", object));
        self.push("create again", post("", object));
        let nameless = merged(object, &json!({"metadata": {"name": null}}));
        self.push("create nameless", post("?dryRun=All", &nameless));
        let generated = merged(
            object,
            &json!({"metadata": {"name": null, "generateName": "a-generated-"}}),
        );
        self.push("create generated", post("?dryRun=All", &generated));
        let misnamed = merged(object, &json!({"metadata": {"name": "Not_A/Name"}}));
        self.push("create misnamed", post("?dryRun=All", &misnamed));
        let unknown = merged(object, &json!({"bogus": 1, "spec": {"bogus": [1]}}));
        for validation in ["Strict", "Warn", "Ignore", "Bogus"] {
            let query = format!("?dryRun=All&fieldValidation={validation}");
            self.push(
                format!("create unknown field {validation}"),
                post(&query, &unknown),
            );
        }
        let meta = json!({"metadata": {
            "name": "other", "labels": {"bad key!": "x"}, "annotations": {"UPPER/": "x"},
            "finalizers": ["nodomain"], "ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "", "uid": ""}]}});
        self.push(
            "create bad metadata",
            post("?dryRun=All", &merged(object, &meta)),
        );
        for (name, patch) in std::mem::take(&mut self.variants) {
            let other = merged(
                object,
                &json!({"metadata": {"name": format!("v-{}", self.name)}}),
            );
            self.push(
                format!("variant {name}"),
                post("?dryRun=All", &merged(&other, patch)),
            );
        }
    }

    fn read(&mut self) {
        let (item, path) = (self.item(), self.path.to_owned());
        self.get("get", item.clone(), JSON);
        self.get("get missing", format!("{path}/missing"), JSON);
        self.get("get table", item.clone(), TABLE);
        self.get("get partial", item.clone(), PARTIAL);
        self.get(
            "list named",
            format!("{path}?fieldSelector=metadata.name={}", self.name),
            JSON,
        );
        self.get(
            "list table",
            format!(
                "{path}?fieldSelector=metadata.name={}&includeObject=Object",
                self.name
            ),
            TABLE,
        );
        self.get(
            "list partial",
            format!("{path}?fieldSelector=metadata.name={}", self.name),
            PARTIAL_LIST,
        );
        self.get(
            "list by bogus field",
            format!("{path}?fieldSelector=bogus=1"),
            JSON,
        );
        self.get(
            "list by bogus label",
            format!("{path}?labelSelector=a%20b"),
            JSON,
        );
        self.get(
            "list by no label",
            format!("{path}?labelSelector=no=such"),
            JSON,
        );
        for other in std::mem::take(&mut self.others) {
            self.get(
                &format!("get as {other}"),
                format!("{other}/{}", self.name),
                JSON,
            );
        }
    }

    fn change(&mut self) {
        let item = self.item();
        for (name, patch) in std::mem::take(&mut self.updates) {
            self.push(
                format!("update {name}"),
                Request::with_body("PATCH", &item, MERGE, patch),
            );
        }
        let put = |path: &str, object: &Value| Request::with_body("PUT", path, JSON, object);
        self.push(
            "put unconditionally",
            put(&format!("{item}?dryRun=All"), self.object),
        );
        let stale = merged(self.object, &json!({"metadata": {"resourceVersion": "1"}}));
        self.push("put stale", put(&format!("{item}?dryRun=All"), &stale));
        let other = merged(self.object, &json!({"metadata": {"name": "missing"}}));
        self.push(
            "put another name",
            put(&format!("{item}?dryRun=All"), &other),
        );
        self.push(
            "put missing",
            put(&format!("{}/missing?dryRun=All", self.path), &other),
        );
        let foreign = merged(
            self.object,
            &json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}}),
        );
        self.push(
            "put another uid",
            put(&format!("{item}?dryRun=All"), &foreign),
        );
    }

    fn patch(&mut self) {
        let item = self.item();
        let dry = format!("{item}?dryRun=All");
        let label = json!({"metadata": {"labels": {"patched": "yes"}}});
        self.push(
            "patch strategic",
            Request::with_body("PATCH", &dry, STRATEGIC, &label),
        );
        let ops = json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]);
        self.push(
            "patch json",
            Request::with_body("PATCH", &dry, JSON_PATCH, &ops),
        );
        let test = json!([{"op": "test", "path": "/metadata/name", "value": "no"}]);
        self.push(
            "patch json test",
            Request::with_body("PATCH", &dry, JSON_PATCH, &test),
        );
        let applied = format!("{item}?dryRun=All&fieldManager=applier");
        self.push(
            "apply",
            Request::with_body("PATCH", &applied, APPLY, self.object),
        );
        let forced = format!("{applied}&force=true");
        self.push(
            "apply by force",
            Request::with_body("PATCH", &forced, APPLY, self.object),
        );
        self.push(
            "apply by nobody",
            Request::with_body("PATCH", &dry, APPLY, self.object),
        );
        let new = merged(self.object, &json!({"metadata": {"name": "applied"}}));
        let path = format!("{}/applied?dryRun=All&fieldManager=applier", self.path);
        self.push("apply new", Request::with_body("PATCH", &path, APPLY, &new));
        self.push(
            "patch missing",
            Request::with_body("PATCH", &format!("{}/missing", self.path), MERGE, &label),
        );
    }

    /// Creates that name another kind or place than the path does, and bodies in other formats.
    fn create_oddly(&mut self) {
        let (path, object) = (self.path, self.object);
        let post = |object: &Value| {
            Request::with_body("POST", &format!("{path}?dryRun=All"), JSON, object)
        };
        let other = merged(object, &json!({"metadata": {"name": "odd-one"}}));
        for (name, patch) in [
            ("kind", json!({"kind": "Odd"})),
            ("no kind", json!({"kind": null})),
            ("group", json!({"apiVersion": "odd.example.com/v1"})),
            ("no version", json!({"apiVersion": null})),
            ("namespace", json!({"metadata": {"namespace": "elsewhere"}})),
            ("revision", json!({"metadata": {"resourceVersion": "7"}})),
            ("labels list", json!({"metadata": {"labels": ["a"]}})),
            ("labels number", json!({"metadata": {"labels": {"a": 1}}})),
            ("metadata text", json!({"metadata": "x"})),
            (
                "finalizer",
                json!({"metadata": {"finalizers": ["a.example.com/b", "orphan"]}}),
            ),
            (
                "deletion",
                json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z", "generation": 7, "uid": "x"}}),
            ),
        ] {
            self.push(format!("create odd {name}"), post(&merged(&other, &patch)));
        }
        let mut yaml = post(&other);
        yaml.headers = vec![("Content-Type".into(), YAML.into())];
        yaml.headers.push(("Accept".into(), YAML.into()));
        self.push("create from yaml", yaml);
        let mut table = post(&other);
        table.headers.push(("Accept".into(), TABLE.into()));
        self.push("create as table", table);
    }

    /// Lists in pieces, everywhere, and in every shape; single objects in other formats.
    fn list(&mut self) {
        let (item, path) = (self.item(), self.path.to_owned());
        let named = format!("fieldSelector=metadata.name={}", self.name);
        for (name, query, accept) in [
            ("limited", format!("{named}&limit=1"), JSON),
            ("at zero", format!("{named}&resourceVersion=0"), JSON),
            (
                "exact unheard of",
                format!("{named}&resourceVersion=999999999&resourceVersionMatch=Exact"),
                JSON,
            ),
            (
                "not named",
                format!("{named},metadata.name!={}", self.name),
                JSON,
            ),
            ("table bare", format!("{named}&includeObject=None"), TABLE),
            (
                "table odd include",
                format!("{named}&includeObject=Odd"),
                TABLE,
            ),
            ("as no list", named.clone(), PARTIAL),
            ("yaml", "labelSelector=no=such".to_owned(), YAML),
            (
                "watch bad",
                "watch=1&timeoutSeconds=1&resourceVersion=x".to_owned(),
                JSON,
            ),
        ] {
            self.get(&format!("list {name}"), format!("{path}?{query}"), accept);
        }
        if let Some((head, rest)) = path.split_once("/namespaces/")
            && let Some((_, resource)) = rest.split_once('/')
        {
            self.get(
                "list everywhere",
                format!("{head}/{resource}?{named}"),
                JSON,
            );
            let missing = format!("{head}/namespaces/missing/{resource}");
            self.get("list nowhere", missing, JSON);
        }
        self.get("get as list", item.clone(), PARTIAL_LIST);
        self.get("get pretty", format!("{item}?pretty=true"), JSON);
        self.get(
            "get far revision",
            format!("{item}?resourceVersion=x"),
            JSON,
        );
        for method in ["HEAD", "OPTIONS", "POST"] {
            let mut request = Request::get(&item);
            request.method = method.into();
            self.push(format!("{method} one"), request);
        }
    }

    /// Patches with unknown fields, of metadata that stays, and of other types.
    fn patch_oddly(&mut self) {
        let dry = format!("{}?dryRun=All", self.item());
        let unknown = json!({"bogus": 1, "metadata": {"bogus": 2}});
        for validation in ["Strict", "Warn", "Ignore"] {
            let path = format!("{dry}&fieldValidation={validation}");
            for (name, of) in [("merge", MERGE), ("strategic", STRATEGIC)] {
                self.push(
                    format!("patch {name} unknown {validation}"),
                    Request::with_body("PATCH", &path, of, &unknown),
                );
            }
            let object = merged(self.object, &unknown);
            self.push(
                format!("put unknown {validation}"),
                Request::with_body("PUT", &path, JSON, &object),
            );
            let ops = json!([{"op": "add", "path": "/bogus", "value": 1}]);
            self.push(
                format!("patch json unknown {validation}"),
                Request::with_body("PATCH", &path, JSON_PATCH, &ops),
            );
        }
        for (name, patch) in [
            (
                "uid",
                json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}}),
            ),
            ("name", json!({"metadata": {"name": "renamed"}})),
            ("namespace", json!({"metadata": {"namespace": "elsewhere"}})),
            (
                "created",
                json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
            ),
            ("generation", json!({"metadata": {"generation": 99}})),
            (
                "deletion",
                json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}),
            ),
            ("revision", json!({"metadata": {"resourceVersion": "1"}})),
            (
                "bad label",
                json!({"metadata": {"labels": {"a": "not ok!"}}}),
            ),
            (
                "bad owner",
                json!({"metadata": {"ownerReferences": [{"kind": "A"}]}}),
            ),
            ("managers", json!({"metadata": {"managedFields": [{}]}})),
            ("other kind", json!({"kind": "Odd"})),
            ("text", json!("x")),
        ] {
            self.push(
                format!("patch {name}"),
                Request::with_body("PATCH", &dry, MERGE, &patch),
            );
        }
        let none = json!({"apiVersion": self.object["apiVersion"], "kind": self.object["kind"]});
        let applied = format!("{dry}&fieldManager=applier&force=true");
        for (name, of) in [("yaml", APPLY), ("odd type", "application/odd")] {
            self.push(
                format!("apply nothing as {name}"),
                Request::with_body("PATCH", &applied, of, &none),
            );
        }
    }

    fn part(&mut self) {
        let status = format!("{}/status", self.item());
        self.get("get status", status.clone(), JSON);
        for (name, patch) in std::mem::take(&mut self.status) {
            self.push(
                format!("status {name}"),
                Request::with_body("PATCH", &status, MERGE, patch),
            );
        }
        self.push(
            "put status",
            Request::with_body("PUT", &format!("{status}?dryRun=All"), JSON, self.object),
        );
        self.get("get table after", self.item(), TABLE);
    }

    fn delete(&mut self) {
        let item = self.item();
        let delete = |path: &str, body: &Value| Request::with_body("DELETE", path, JSON, body);
        let uid = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
        self.push("delete another uid", delete(&item, &uid));
        self.push(
            "delete dry",
            delete(&format!("{item}?dryRun=All"), &json!({"dryRun": ["All"]})),
        );
        for (name, options) in [
            (
                "another revision",
                json!({"preconditions": {"resourceVersion": "1"}}),
            ),
            ("odd policy", json!({"propagationPolicy": "Odd"})),
            (
                "two policies",
                json!({"propagationPolicy": "Orphan", "orphanDependents": false}),
            ),
            (
                "negative grace",
                json!({"gracePeriodSeconds": -1, "dryRun": ["All"]}),
            ),
            ("odd dry", json!({"dryRun": ["Some"]})),
            ("odd field", json!({"bogus": 1, "dryRun": ["All"]})),
            (
                "foreground dry",
                json!({"propagationPolicy": "Foreground", "dryRun": ["All"]}),
            ),
        ] {
            self.push(format!("delete {name}"), delete(&item, &options));
        }
        let collection = format!("{}?dryRun=All", self.path);
        for (name, query) in [
            (
                "named",
                format!("&fieldSelector=metadata.name={}", self.name),
            ),
            ("no such", "&labelSelector=no=such".to_owned()),
            ("bad selector", "&labelSelector=a%20b".to_owned()),
            ("bad limit", "&limit=x".to_owned()),
        ] {
            let mut request = Request::get(&format!("{collection}{query}"));
            request.method = "DELETE".into();
            self.push(format!("delete all {name}"), request);
        }
        let mut plain = Request::get(&item);
        plain.method = "DELETE".into();
        self.push("delete", plain);
        self.get("get deleted", item, JSON);
    }
}

/// `patch` on `object` as a merge patch, or `{set: {path: value}}` where a path goes into lists by index.
fn merged(object: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    if let (Some(Value::Object(set)), 1) = (changes.get("set"), changes.len()) {
        let mut out = object.clone();
        for (path, value) in set {
            *path.split('/').fold(&mut out, place) = value.clone();
        }
        return out;
    }
    let mut out = object.as_object().cloned().unwrap_or_default();
    for (key, change) in changes {
        match change {
            Value::Null => {
                out.remove(key);
            }
            change => {
                let old = out.get(key).cloned().unwrap_or_default();
                out.insert(key.clone(), merged(&old, change));
            }
        }
    }
    Value::Object(out)
}

/// Where one step of a path leads; lists grow to hold it.
fn place<'a>(at: &'a mut Value, step: &str) -> &'a mut Value {
    match (step.parse::<usize>(), at.is_array()) {
        (Ok(index), true) => {
            if let Value::Array(list) = at
                && list.len() <= index
            {
                list.resize(index + 1, Value::Null);
            }
            &mut at[index]
        }
        _ => {
            if !at.is_object() {
                *at = json!({});
            }
            &mut at[step]
        }
    }
}
