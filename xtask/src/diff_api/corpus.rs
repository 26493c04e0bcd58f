//! The corpus: YAML files under `tests/diff-api`. A file with `kind` describes one kind and becomes its requests in
//! every verb (`expand`); a file with `requests` lists them one by one. See `tests/diff-api/README.md` for the form.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use serde_json::{Value, json};

/// One file.
#[derive(Debug)]
pub struct File {
    /// Its name without ending.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// One request with a name, and what of its answer later ones use.
#[derive(Clone, Debug)]
pub struct Step {
    /// Unique within its file.
    pub name: String,
    /// What is sent.
    pub request: Request,
    /// Variable and path into the answer.
    pub save: Vec<(String, String)>,
    /// Path into the answer (or `code`) and text: it is asked again until they are so.
    pub until: Vec<(String, String)>,
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// With query.
    pub path: String,
    /// An empty value leaves a default header out.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
}

impl Request {
    /// A GET.
    pub fn get(path: &str) -> Request {
        Request {
            method: "GET".into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// As reports name it.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// With `${variable}` replaced.
    pub fn filled(&self, saved: &BTreeMap<String, String>) -> Request {
        let mut request = self.clone();
        for (name, value) in saved {
            let name = format!("${{{name}}}");
            request.path = request.path.replace(&name, value);
            if let Ok(text) = std::str::from_utf8(&request.body)
                && text.contains(&name)
            {
                request.body = text.replace(&name, value).into_bytes();
            }
        }
        request
    }

    fn with_body(method: &str, path: &str, content_type: &str, body: &Value) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            headers: vec![("Content-Type".into(), content_type.into())],
            body: body.to_string().into_bytes(),
        }
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// All files, or those whose name contains one of the texts. `setup` always comes first.
pub fn load(directory: &Path, only: &[String]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    for path in paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wanted =
            only.is_empty() || name.starts_with("0-") || only.iter().any(|o| name.contains(o));
        if !wanted {
            continue;
        }
        let text = std::fs::read(&path)?;
        for document in corten_codec::yaml::decode_documents(&text).with_context(|| name.clone())? {
            let bytes = corten_codec::json::encode_value(&document);
            let document: Value = serde_json::from_slice(&bytes)?;
            let steps = steps(&document).with_context(|| name.clone())?;
            files.push(File {
                name: name.clone(),
                steps,
            });
        }
    }
    Ok(files)
}

fn steps(document: &Value) -> Result<Vec<Step>> {
    let mut all = Vec::new();
    if document.get("object").is_some() {
        all.extend(Expansion::of(document)?.steps());
    }
    for request in document["requests"].as_array().into_iter().flatten() {
        all.push(listed(request)?);
    }
    if all.is_empty() {
        bail!("no requests");
    }
    Ok(all)
}

fn listed(given: &Value) -> Result<Step> {
    let line = given["do"]
        .as_str()
        .with_context(|| format!("no `do` in {given}"))?;
    let (method, path) = line
        .split_once(' ')
        .with_context(|| format!("no path in {line:?}"))?;
    let content_type = given["type"].as_str().unwrap_or(match method {
        "PATCH" => MERGE,
        _ => JSON,
    });
    let body = match (
        &given["body"],
        given["raw"].as_str(),
        given["base64"].as_str(),
    ) {
        (_, Some(raw), _) => raw.as_bytes().to_vec(),
        (_, _, Some(text)) => base64::engine::general_purpose::STANDARD.decode(text)?,
        (Value::Null, _, _) => Vec::new(),
        (body, _, _) => body.to_string().into_bytes(),
    };
    let mut headers: Vec<(String, String)> = texts(&given["headers"]);
    if !body.is_empty() {
        headers.push(("Content-Type".into(), content_type.into()));
    }
    Ok(Step {
        name: given["name"].as_str().unwrap_or(line).to_owned(),
        request: Request {
            method: method.into(),
            path: path.into(),
            headers,
            body,
        },
        save: texts(&given["save"]),
        until: texts(&given["until"]),
    })
}

fn texts(map: &Value) -> Vec<(String, String)> {
    let members = map.as_object().into_iter().flatten();
    members
        .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// One kind's description.
struct Expansion<'a> {
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
    fn of(document: &'a Value) -> Result<Expansion<'a>> {
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

    fn steps(mut self) -> Vec<Step> {
        self.create();
        self.read();
        self.change();
        self.patch();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_becomes_requests_in_every_verb() {
        let kind = json!({"path": "/api/v1/things", "object": {"metadata": {"name": "x"}, "a": 1},
            "variants": {"no a": {"a": null}}});
        let all = steps(&kind).unwrap();
        let of = |method: &str| all.iter().filter(|s| s.request.method == method).count();
        assert!(
            of("POST") > 5 && of("GET") > 5 && of("PUT") > 3 && of("PATCH") > 5 && of("DELETE") > 2
        );
        let variant = all.iter().find(|s| s.name == "variant no a").unwrap();
        assert_eq!(variant.request.body, br#"{"metadata":{"name":"v-x"}}"#);
    }

    #[test]
    fn saved_values_fill_later_requests() {
        let request = Request {
            path: "/a/${uid}".into(),
            body: b"{\"u\":\"${uid}\"}".to_vec(),
            ..Request::get("")
        };
        let saved = BTreeMap::from([("uid".to_owned(), "7".to_owned())]);
        let filled = request.filled(&saved);
        assert_eq!(
            (filled.path.as_str(), filled.body.as_slice()),
            ("/a/7", &b"{\"u\":\"7\"}"[..])
        );
    }
}
