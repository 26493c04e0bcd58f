//! The operations on every path of a group version: their names, parameters, bodies and answers, in either dialect.
//! Invariant: names are upstream's, for generated clients are called after them. Leaves out what parameters mean.

use std::collections::BTreeMap;

use corten_api::Gvk;
use corten_api::meta::v1 as meta;
use serde_json::{Map, Value, json};

use super::naming::{capitalized, names, with_article};
use super::parameters::{
    ATTACH, DELETE, LIST, LOG, PRETTY, Parameter, VERSION, WRITE, in_path, query, written,
};
use super::schema::{Dialect, Schemas};
use crate::catalog::{Catalog, Served, ServedSubresource};

/// Kinds whose deletion answers with the object.
const GIVE_BACK: &[(&str, &str)] = &[
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "ResourceClaim"),
    ("resource.k8s.io", "ResourceClaimTemplate"),
    ("resource.k8s.io", "ResourceSlice"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("storage.k8s.io", "VolumeAttributesClass"),
];

/// What goes into an operation and comes out of it.
enum Body {
    None,
    Object(Value),
    Options(Value),
    Patch(Value),
}

struct Operation {
    id: String,
    description: String,
    action: &'static str,
    parameters: Vec<Parameter>,
    body: Body,
    /// Codes with which it succeeds.
    codes: &'static [&'static str],
    answer: Value,
    media: Media,
    kind: (String, String, String),
}

#[derive(Clone, Copy, PartialEq)]
enum Media {
    Whole,
    Streamed,
    Text,
    Any,
}

/// The paths of one or of all group versions.
pub(super) struct Paths<'a, 'p> {
    schemas: &'a mut Schemas<'p>,
    dialect: Dialect,
    tag: String,
    /// `PolicyV1`, which operations' names have in them.
    marked: String,
    custom: bool,
    made: BTreeMap<String, BTreeMap<&'static str, Operation>>,
    done: BTreeMap<String, Value>,
}

/// What is asked of one resource or subresource.
struct Of<'s> {
    served: &'s Served,
    base: String,
    /// `Namespaced` or nothing.
    scope: &'static str,
    parameters: Vec<Parameter>,
    object: Value,
    kind: (String, String, String),
}

impl<'a, 'p> Paths<'a, 'p> {
    pub(super) fn new(schemas: &'a mut Schemas<'p>, dialect: Dialect) -> Paths<'a, 'p> {
        Paths {
            schemas,
            dialect,
            tag: String::new(),
            marked: String::new(),
            custom: false,
            made: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// Adds what is served in a group version. Whether there is any.
    pub(super) fn add(&mut self, catalog: &Catalog, group: &str, version: &str) -> bool {
        let (tag, marked) = names(group);
        self.tag = format!("{tag}_{version}");
        self.marked = marked + &capitalized(version);
        let base = format!("/{}", super::prefix(group, version));
        let mut built_in = false;
        let mut any = false;
        for served in catalog.in_version(group, version) {
            any = true;
            self.custom = served.is_custom();
            built_in |= !self.custom;
            self.resource(served, &base);
        }
        if built_in {
            let of = "APIResources";
            let list = self.schemas.message::<meta::APIResourceList>();
            let id = format!("get{}{of}", self.marked);
            let text = "get available resources";
            let value = fixed(self.dialect, &self.tag, text, &id, Some(list), DISCOVERY);
            self.done.insert(format!("{base}/"), value);
        }
        self.render();
        any
    }

    /// All of them, in order.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        self.render();
        self.done.into_iter().collect()
    }

    fn resource(&mut self, served: &Served, base: &str) {
        let of = self.whole(served, base);
        let has = |verb: &str| served.verbs.iter().any(|v| v == verb);
        self.collection(&of, &has);
        self.item(&of, &has, "", &served.verbs);
        if has("watch") && !self.custom {
            self.watches(&of, base, has("get"));
        }
        for sub in &served.subresources {
            self.subresource(served, base, sub);
        }
    }

    fn whole<'s>(&mut self, served: &'s Served, base: &str) -> Of<'s> {
        let object = self.schemas.of(served);
        let (scope, within, parameters) = match served.namespaced {
            true => (
                "Namespaced",
                "/namespaces/{namespace}",
                vec![in_path("namespace")],
            ),
            false => ("", "", Vec::new()),
        };
        Of {
            served,
            base: format!("{base}{within}/{}", served.plural),
            scope,
            parameters,
            object,
            kind: (
                served.group.clone(),
                served.version.clone(),
                served.kind.clone(),
            ),
        }
    }

    fn collection(&mut self, of: &Of<'_>, has: &dyn Fn(&str) -> bool) {
        let kind = &of.served.kind;
        let mark = self.marked.clone();
        let scope = of.scope;
        if has("list") {
            let list = self.schemas.list_of(of.served);
            let text = match has("watch") && !self.custom {
                true => format!("list or watch objects of kind {kind}"),
                false => format!("list objects of kind {kind}"),
            };
            let mut operation = self.reading(of, "list", LIST, list);
            operation.media = Media::Streamed;
            operation.description.clone_from(&text);
            operation.id = format!("list{mark}{scope}{kind}");
            self.put(&of.base, "get", operation);
            if of.served.namespaced {
                let list = self.schemas.list_of(of.served);
                let mut everywhere = self.reading(of, "list", LIST, list);
                everywhere.media = Media::Streamed;
                everywhere.description = text;
                everywhere.id = format!("list{mark}{kind}ForAllNamespaces");
                everywhere.parameters.retain(|p| p.place != "path");
                let path = of.base.replace("/namespaces/{namespace}", "");
                self.put(&path, "get", everywhere);
            }
        }
        if has("create") {
            let mut operation = self.writing(of, "post", &["200", "201", "202"]);
            operation.id = format!("create{mark}{scope}{kind}");
            operation.description = format!("create {}", with_article(kind));
            self.put(&of.base, "post", operation);
        }
        if has("deletecollection") {
            let status = self.schemas.message::<meta::Status>();
            let mut operation = self.reading(of, "deletecollection", LIST, status);
            operation.id = format!("delete{mark}Collection{scope}{kind}");
            operation.description = format!("delete collection of {kind}");
            if !self.custom {
                let watching = ["watch", "allowWatchBookmarks"];
                operation.parameters.retain(|p| !watching.contains(&p.name));
                operation.parameters.extend(DELETE);
                operation.body = Body::Options(self.schemas.message::<meta::DeleteOptions>());
            }
            self.put(&of.base, "delete", operation);
        }
    }

    /// An item's or a subresource's operations; `sub` is empty for items.
    fn item(&mut self, of: &Of<'_>, has: &dyn Fn(&str) -> bool, sub: &str, verbs: &[String]) {
        let kind = &of.served.kind;
        let after = format!("{}{kind}{}", of.scope, capitalized(sub));
        let mark = self.marked.clone();
        let (path, what) = match sub.is_empty() {
            true => (format!("{}/{{name}}", of.base), "the specified".to_owned()),
            false => (
                format!("{}/{{name}}/{sub}", of.base),
                format!("{sub} of the specified"),
            ),
        };
        let named = |mut operation: Operation, verb: &str, text: String| {
            operation.parameters.push(in_path("name"));
            operation.id = format!("{verb}{mark}{after}");
            operation.description = text;
            operation
        };
        if !sub.is_empty() && has("create") {
            let operation = self.writing(of, "post", &["200", "201", "202"]);
            let text = format!("create {sub} of {}", with_article(kind));
            self.put(&path, "post", named(operation, "create", text));
        }
        if has("get") {
            let own: &[Parameter] = match (sub, self.custom) {
                ("log", _) => LOG,
                (_, true) => VERSION,
                _ => &[],
            };
            let answer = match sub {
                "log" => json!({"type": "string"}),
                _ => of.object.clone(),
            };
            let mut operation = self.reading(of, "get", own, answer);
            if sub == "log" {
                operation.media = Media::Text;
            }
            let text = format!("read {what} {kind}");
            self.put(&path, "get", named(operation, "read", text));
        }
        if has("update") {
            let operation = self.writing(of, "put", &["200", "201"]);
            let text = format!("replace {what} {kind}");
            self.put(&path, "put", named(operation, "replace", text));
        }
        if has("patch") {
            let codes: &[&str] = if self.custom {
                &["200"]
            } else {
                &["200", "201"]
            };
            let mut operation = self.writing(of, "patch", codes);
            operation.parameters.push(query("force", "boolean"));
            operation.body = Body::Patch(self.schemas.message::<meta::Patch>());
            let text = format!("partially update {what} {kind}");
            self.put(&path, "patch", named(operation, "patch", text));
        }
        if sub.is_empty() && verbs.iter().any(|v| v == "delete") {
            let answer = match GIVE_BACK.contains(&(of.kind.0.as_str(), kind.as_str())) {
                true => of.object.clone(),
                false => self.schemas.message::<meta::Status>(),
            };
            let mut operation = self.reading(of, "delete", DELETE, answer);
            operation.codes = &["200", "202"];
            operation.body = Body::Options(self.schemas.message::<meta::DeleteOptions>());
            let text = format!("delete {}", with_article(kind));
            self.put(&path, "delete", named(operation, "delete", text));
        }
    }

    fn watches(&mut self, of: &Of<'_>, base: &str, single: bool) {
        let kind = &of.served.kind;
        let (mark, scope) = (self.marked.clone(), of.scope);
        let instead = "deprecated: use the 'watch' parameter with a list operation instead";
        let many = format!("watch individual changes to a list of {kind}. {instead}.");
        let event = self.schemas.message::<meta::WatchEvent>();
        let path = of.base.replacen(base, &format!("{base}/watch"), 1);
        let mut add = |path: String, action: &'static str, id: String, text: String| {
            let mut operation = self.reading(of, action, LIST, event.clone());
            operation.media = Media::Streamed;
            operation.id = id;
            operation.description = text;
            if action == "watch" {
                operation.parameters.push(in_path("name"));
            }
            if !path.contains("{namespace}") {
                operation.parameters.retain(|p| p.name != "namespace");
            }
            self.put(&path, "get", operation);
        };
        let id = format!("watch{mark}{scope}{kind}List");
        add(path.clone(), "watchlist", id, many.clone());
        if single {
            let one = format!(
                "watch changes to an object of kind {kind}. {instead}, filtered to a single item with the \
                 'fieldSelector' parameter."
            );
            let id = format!("watch{mark}{scope}{kind}");
            add(format!("{path}/{{name}}"), "watch", id, one);
        }
        if of.served.namespaced {
            let id = format!("watch{mark}{kind}ListForAllNamespaces");
            let everywhere = path.replace("/namespaces/{namespace}", "");
            add(everywhere, "watchlist", id, many);
        }
    }

    fn subresource(&mut self, served: &Served, base: &str, sub: &ServedSubresource) {
        let mut of = self.whole(served, base);
        let gvk = Gvk {
            group: &sub.group,
            version: &sub.version,
            kind: &sub.kind,
        };
        let connects = ["attach", "exec", "portforward", "proxy"].contains(&sub.name.as_str());
        if sub.kind != served.kind || sub.group != served.group {
            if let (false, Some(info)) = (connects, corten_api::kind_info(gvk)) {
                of.object = self.schemas.reached(info.msg(), gvk);
            }
            if !self.custom {
                of.kind = (sub.group.clone(), sub.version.clone(), sub.kind.clone());
            }
        }
        match sub.name.as_str() {
            "attach" => self.connect(&of, sub, ATTACH, &["get", "post"]),
            "exec" => {
                let own = [ATTACH, &[query("command", "string")]].concat();
                self.connect(&of, sub, &own, &["get", "post"]);
            }
            "portforward" => {
                let own = [query("ports", "integer")];
                self.connect(&of, sub, &own, &["get", "post"]);
            }
            "proxy" => {
                let own = [query("path", "string")];
                let all = ["get", "put", "post", "delete", "options", "head", "patch"];
                self.connect(&of, sub, &own, &all);
            }
            _ => {
                let has = |verb: &str| sub.verbs.iter().any(|v| v == verb);
                self.item(&of, &has, &sub.name, &sub.verbs);
            }
        }
    }

    /// Operations that hand a connection on.
    fn connect(
        &mut self,
        of: &Of<'_>,
        sub: &ServedSubresource,
        own: &[Parameter],
        methods: &[&'static str],
    ) {
        let proxied: &[bool] = if sub.name == "proxy" {
            &[false, true]
        } else {
            &[false]
        };
        for with_path in proxied {
            for &method in methods {
                let answer = json!({"type": "string"});
                let mut operation = self.reading(of, "connect", own, answer);
                operation.parameters.retain(|p| *p != PRETTY);
                operation.parameters.push(in_path("name"));
                let mut path = format!("{}/{{name}}/{}", of.base, sub.name);
                let mut end = "";
                if *with_path {
                    path.push_str("/{path}");
                    end = "WithPath";
                    operation.parameters.push(in_path("path"));
                }
                let (mark, name) = (&self.marked, capitalized(&sub.name));
                let (verb, kind) = (capitalized(method), &of.served.kind);
                operation.id = format!("connect{mark}{verb}{}{kind}{name}{end}", of.scope);
                let verb = method.to_uppercase();
                operation.description =
                    format!("connect {verb} requests to {} of {kind}", sub.name);
                operation.media = Media::Any;
                self.put(&path, method, operation);
            }
        }
    }

    fn reading(
        &self,
        of: &Of<'_>,
        action: &'static str,
        own: &[Parameter],
        answer: Value,
    ) -> Operation {
        let mut parameters = of.parameters.clone();
        parameters.push(PRETTY);
        parameters.extend(own);
        Operation {
            id: String::new(),
            description: String::new(),
            action,
            parameters,
            body: Body::None,
            codes: &["200"],
            answer,
            media: Media::Whole,
            kind: of.kind.clone(),
        }
    }

    fn writing(
        &self,
        of: &Of<'_>,
        action: &'static str,
        codes: &'static [&'static str],
    ) -> Operation {
        let mut operation = self.reading(of, action, WRITE, of.object.clone());
        operation.body = Body::Object(of.object.clone());
        operation.codes = codes;
        operation
    }

    fn put(&mut self, path: &str, method: &'static str, mut operation: Operation) {
        operation.parameters.sort();
        let methods = self.made.entry(path.to_owned()).or_default();
        methods.insert(method, operation);
    }

    /// Turns what was collected into what the dialect says; common parameters stand beside the operations.
    fn render(&mut self) {
        for (path, methods) in std::mem::take(&mut self.made) {
            let mut sets = methods.values().map(|o| &o.parameters);
            let mut common = sets.next().cloned().unwrap_or_default();
            sets.for_each(|set| common.retain(|p| set.contains(p)));
            let mut item = Map::new();
            for (method, operation) in methods {
                item.insert(method.to_owned(), self.rendered(operation, &common));
            }
            if !common.is_empty() {
                let all = common.iter().map(|p| written(*p, self.dialect));
                item.insert("parameters".into(), all.collect());
            }
            self.done.insert(path, Value::Object(item));
        }
    }

    fn rendered(&self, operation: Operation, common: &[Parameter]) -> Value {
        let own = operation.parameters.iter().filter(|p| !common.contains(p));
        let mut parameters: Vec<Value> = own.map(|p| written(*p, self.dialect)).collect();
        let mut out = Map::new();
        out.insert("tags".into(), json!([self.tag]));
        out.insert("description".into(), operation.description.clone().into());
        out.insert("operationId".into(), operation.id.clone().into());
        let makes = self.makes(operation.media);
        let takes = self.takes(&operation.body);
        if self.dialect == Dialect::V2 {
            out.insert("consumes".into(), json!(takes));
            out.insert("produces".into(), json!(makes));
            out.insert("schemes".into(), json!(["https"]));
            if let Some((schema, required)) = needed(&operation.body) {
                let mut body = json!({"name": "body", "in": "body"});
                if required {
                    body["required"] = true.into();
                }
                body["schema"] = schema.clone();
                parameters.insert(0, body);
            }
        } else if let Some((schema, required)) = needed(&operation.body) {
            let content = takes
                .iter()
                .map(|t| ((*t).to_owned(), json!({"schema": schema})));
            let mut body = json!({"content": content.collect::<Map<_, _>>()});
            if required {
                body["required"] = true.into();
            }
            out.insert("requestBody".into(), body);
        }
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        let responses = responses(operation.codes, &operation.answer, &makes, self.dialect);
        out.insert("responses".into(), responses);
        out.insert("x-kubernetes-action".into(), operation.action.into());
        let (group, version, kind) = operation.kind;
        let gvk = json!({"group": group, "version": version, "kind": kind});
        out.insert("x-kubernetes-group-version-kind".into(), gvk);
        Value::Object(out)
    }

    fn makes(&self, media: Media) -> Vec<&'static str> {
        let whole: &[&'static str] = match (self.custom, media) {
            (_, Media::Any) => &["*/*"],
            (true, _) => &["application/json", "application/yaml"],
            (false, Media::Whole) => DISCOVERY,
            (false, Media::Text) => &[
                "text/plain",
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ],
            (false, Media::Streamed) => &[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ],
        };
        whole.to_vec()
    }

    fn takes(&self, body: &Body) -> Vec<&'static str> {
        let mut all = vec![
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ];
        match (body, self.custom) {
            (Body::Patch(_), custom) => {
                all.retain(|t| !custom || !t.contains("strategic"));
                all
            }
            (_, true) => vec!["application/json", "application/yaml"],
            (_, false) => vec!["*/*"],
        }
    }
}

/// The schema of a body, and whether there must be one.
fn needed(body: &Body) -> Option<(&Value, bool)> {
    match body {
        Body::None => None,
        Body::Object(schema) | Body::Patch(schema) => Some((schema, true)),
        Body::Options(schema) => Some((schema, false)),
    }
}

fn responses(codes: &[&str], answer: &Value, makes: &[&str], dialect: Dialect) -> Value {
    let mut all = Map::new();
    for code in codes {
        let mut one = json!({"description": match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        }});
        match dialect {
            Dialect::V2 => one["schema"] = answer.clone(),
            Dialect::V3 => {
                let content = makes
                    .iter()
                    .map(|t| ((*t).to_owned(), json!({"schema": answer})));
                one["content"] = content.collect::<Map<_, _>>().into();
            }
        }
        all.insert((*code).to_owned(), one);
    }
    all.insert("401".into(), json!({"description": "Unauthorized"}));
    all.into()
}

const DISCOVERY: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

const JSON_ONLY: &[&str] = &["application/json"];
const KEYS_ONLY: &[&str] = &["application/jwk-set+json"];

/// The one operation of a path that is no resource's.
fn fixed(
    dialect: Dialect,
    tag: &str,
    text: &str,
    id: &str,
    answer: Option<Value>,
    makes: &[&str],
) -> Value {
    let mut get = json!({"tags": [tag], "description": text, "operationId": id});
    if dialect == Dialect::V2 {
        if answer.is_some() {
            get["consumes"] = json!(makes);
        }
        get["produces"] = json!(makes);
        get["schemes"] = json!(["https"]);
    }
    let answer = answer.unwrap_or_else(|| json!({"type": "string"}));
    get["responses"] = responses(&["200"], &answer, makes, dialect);
    json!({"get": get})
}

/// The document of a path that belongs to no group version: `api`, `apis`, `apis/GROUP` and what is beside them.
pub(super) fn beside(
    catalog: &Catalog,
    path: &str,
    schemas: &mut Schemas<'_>,
    dialect: Dialect,
) -> Option<Value> {
    let versions = "get available API versions";
    let (tag, text, id, answer, makes): (String, &str, String, Option<Value>, &[&str]) = match path
    {
        "api" => {
            let of = schemas.message::<meta::APIVersions>();
            (
                "core".into(),
                versions,
                "getCoreAPIVersions".into(),
                Some(of),
                DISCOVERY,
            )
        }
        "apis" => {
            let of = schemas.message::<meta::APIGroupList>();
            (
                "apis".into(),
                versions,
                "getAPIVersions".into(),
                Some(of),
                DISCOVERY,
            )
        }
        "version" => {
            let of = schemas.version();
            let text = "get the version information for this server";
            (
                "version".into(),
                text,
                "getCodeVersion".into(),
                Some(of),
                JSON_ONLY,
            )
        }
        "openid/v1/jwks" => {
            let text = "get the public keys that service account tokens are verified with";
            let id = "getServiceAccountIssuerOpenIDKeyset".into();
            ("openid".into(), text, id, None, KEYS_ONLY)
        }
        ".well-known/openid-configuration" => {
            let text = "get the OpenID configuration of the issuer of service account tokens";
            let id = "getServiceAccountIssuerOpenIDConfiguration".into();
            ("WellKnown".into(), text, id, None, JSON_ONLY)
        }
        _ => {
            let group = path.strip_prefix("apis/")?;
            let mut of_group = catalog.all().iter().filter(|s| s.group == group);
            of_group.next().filter(|s| !s.is_custom())?;
            let of = schemas.message::<meta::APIGroup>();
            let (tag, marked) = names(group);
            let text = "get information of a group";
            (
                tag,
                text,
                format!("get{marked}APIGroup"),
                Some(of),
                DISCOVERY,
            )
        }
    };
    Some(fixed(dialect, &tag, text, &id, answer, makes))
}
