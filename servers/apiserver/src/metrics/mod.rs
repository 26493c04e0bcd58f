//! Metrics under upstream's names, in the Prometheus text format. A server's metrics hang off the server: no registry
//! of the process. Invariant: label sets are bounded by resources, verbs and codes, never by what clients make up.

mod admission;
mod families;
mod text;

pub(crate) use admission::{Called, Step};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;

use crate::info::RequestInfo;
use families::Kind;
use text::Labels;

#[derive(Clone, Debug)]
struct Histogram {
    /// One per bucket, and one for what is above them all.
    counts: Vec<u64>,
    sum: f64,
}

#[derive(Default)]
struct State {
    numbers: BTreeMap<(&'static str, String), f64>,
    histograms: BTreeMap<(&'static str, String), Histogram>,
}

/// The metrics of one API server.
#[derive(Default)]
pub(crate) struct Metrics {
    state: Mutex<State>,
}

/// What a request counts as.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    labels: String,
    with_dry_run: String,
    /// `mutating` or `readOnly`; none for requests that go on for as long as the client likes.
    kind: Option<&'static str>,
}

impl Request {
    /// `known` tells whether the resource is served: what is not gets no labels of its own.
    pub(crate) fn new(info: &RequestInfo, method: &Method, is_apply: bool, known: bool) -> Request {
        let scope = match (
            info.name.is_empty() && info.verb != "create",
            info.namespace.is_empty(),
        ) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) if info.is_resource => "cluster",
            _ => "",
        };
        let verb = verb(info, method, is_apply);
        let known = known && info.is_resource;
        let of = |text: &'_ str| {
            if known {
                text.to_owned()
            } else {
                String::new()
            }
        };
        let mut labels = Labels::default();
        labels.add("component", "apiserver");
        let mut with_dry_run = labels.clone();
        with_dry_run.add("dry_run", "");
        for labels in [&mut labels, &mut with_dry_run] {
            labels.add("group", &of(&info.group));
            labels.add("resource", &of(&info.resource));
            labels.add("scope", if known { scope } else { "" });
            labels.add("subresource", &of(&info.subresource));
            labels.add("verb", verb);
            labels.add("version", &of(&info.version));
        }
        let mutating = !matches!(info.verb.as_str(), "get" | "list" | "watch" | "head");
        let long = matches!(verb, "WATCH" | "CONNECT");
        Request {
            labels: labels.finish(),
            with_dry_run: with_dry_run.finish(),
            kind: (!long).then_some(if mutating { "mutating" } else { "readOnly" }),
        }
    }
}

/// A request's verb as upstream's metrics name it.
fn verb(info: &RequestInfo, method: &Method, is_apply: bool) -> &'static str {
    let streams = ["attach", "exec", "portforward", "proxy"];
    match (info.is_resource, info.verb.as_str()) {
        (true, "watch") => "WATCH",
        (true, "list") => "LIST",
        (true, "deletecollection") => "DELETECOLLECTION",
        (true, "patch") if is_apply => "APPLY",
        (true, _) if streams.contains(&info.subresource.as_str()) => "CONNECT",
        _ => match *method {
            Method::GET | Method::HEAD => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        },
    }
}

/// Takes back what it counted when it is dropped.
pub(crate) struct Counted {
    metrics: Arc<Metrics>,
    name: &'static str,
    labels: String,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.change(self.name, self.labels.clone(), -1.0);
    }
}

impl Metrics {
    fn change(&self, name: &'static str, labels: String, by: f64) {
        *self.state.lock().numbers.entry((name, labels)).or_default() += by;
    }

    fn count(&self, name: &'static str, labels: &[(&str, &str)]) {
        self.change(name, Labels::of(labels), 1.0);
    }

    fn observe(&self, name: &'static str, labels: String, value: f64) {
        let family = families::find(name);
        let buckets = family.buckets();
        let mut state = self.state.lock();
        let histogram = state
            .histograms
            .entry((name, labels))
            .or_insert_with(|| Histogram {
                counts: vec![0; buckets.len() + 1],
                sum: 0.0,
            });
        let bucket = buckets
            .iter()
            .position(|b| value <= *b)
            .unwrap_or(buckets.len());
        histogram.counts[bucket] += 1;
        histogram.sum += value;
    }

    /// Counts a request for as long as it is being executed.
    pub(crate) fn running(self: &Arc<Metrics>, request: &Request) -> Option<Counted> {
        let kind = request.kind?;
        Some(self.held(
            "apiserver_current_inflight_requests",
            Labels::of(&[("request_kind", kind)]),
        ))
    }

    /// Counts a request that goes on for as long as the client likes.
    pub(crate) fn long_running(self: &Arc<Metrics>, request: &Request) -> Counted {
        self.held("apiserver_longrunning_requests", request.labels.clone())
    }

    fn held(self: &Arc<Metrics>, name: &'static str, labels: String) -> Counted {
        self.change(name, labels.clone(), 1.0);
        Counted {
            metrics: self.clone(),
            name,
            labels,
        }
    }

    /// Counts a finished request; `size` is that of an answer known as a whole.
    pub(crate) fn finished(&self, request: &Request, code: u16, took: Duration, size: Option<u64>) {
        let code = Labels::of(&[("code", &code.to_string())]);
        let labels = format!("{code},{}", request.with_dry_run);
        self.change("apiserver_request_total", labels, 1.0);
        if request.kind.is_none() {
            return;
        }
        let seconds = took.as_secs_f64();
        self.observe(
            "apiserver_request_duration_seconds",
            request.with_dry_run.clone(),
            seconds,
        );
        self.observe(
            "apiserver_request_sli_duration_seconds",
            request.labels.clone(),
            seconds,
        );
        if let Some(size) = size {
            self.observe(
                "apiserver_response_sizes",
                request.labels.clone(),
                size as f64,
            );
        }
    }

    /// Counts a request whose user was found out, or was not because its proofs were not good.
    pub(crate) fn authenticated(&self, user: Option<&str>, took: Duration) {
        let result = match user {
            Some(user) => {
                let labels = [("username", short_name(user))];
                self.count("authenticated_user_requests", &labels);
                "success"
            }
            None => "error",
        };
        self.count("authentication_attempts", &[("result", result)]);
        let labels = Labels::of(&[("result", result)]);
        self.observe(
            "authentication_duration_seconds",
            labels,
            took.as_secs_f64(),
        );
    }

    /// Counts an authorization: `allowed`, `denied`, `no-opinion` or `error`.
    pub(crate) fn authorized(&self, result: &'static str, took: Duration) {
        self.count("authorization_attempts_total", &[("result", result)]);
        let labels = Labels::of(&[("result", result)]);
        self.observe("authorization_duration_seconds", labels, took.as_secs_f64());
    }

    /// Counts a decision of an authorizer.
    pub(crate) fn decided(&self, kind: &str, name: &str, decision: &str) {
        let labels = [("decision", decision), ("name", name), ("type", kind)];
        self.count("apiserver_authorization_decisions_total", &labels);
    }

    /// Counts an attempt to act as somebody else.
    pub(crate) fn impersonation(&self, mode: &'static str, decision: &'static str) {
        let labels = [("decision", decision), ("mode", mode)];
        self.count("apiserver_impersonation_attempts_total", &labels);
    }

    /// Counts a use of a service account token of the API's, stale or not.
    pub(crate) fn service_account_token(&self, stale: bool) {
        let name = match stale {
            true => "serviceaccount_stale_tokens_total",
            false => "serviceaccount_valid_tokens_total",
        };
        self.count(name, &[]);
    }

    /// Counts a use of a token kept in a secret: of any, one made by hand, one made of itself, one marked invalid.
    pub(crate) fn legacy_token(&self, name: &'static str) {
        self.count(name, &[]);
    }

    /// Notes that a deprecated API was asked for; no release drops those that there are.
    pub(crate) fn deprecated(&self, info: &RequestInfo) {
        let labels = Labels::of(&[
            ("group", &info.group),
            ("removed_release", ""),
            ("resource", &info.resource),
            ("subresource", &info.subresource),
            ("version", &info.version),
        ]);
        let name = "apiserver_requested_deprecated_apis";
        self.state.lock().numbers.insert((name, labels), 1.0);
    }

    /// Counts an audit event.
    pub(crate) fn audited(&self) {
        self.count("apiserver_audit_event_total", &[]);
    }

    /// Counts what the audit policy decided for a request.
    pub(crate) fn audit_level(&self, level: &str) {
        self.count("apiserver_audit_level_total", &[("level", level)]);
    }

    /// Counts audit events that a backend lost.
    pub(crate) fn audit_failed(&self, plugin: &'static str, events: usize) {
        let labels = Labels::of(&[("plugin", plugin)]);
        self.change("apiserver_audit_error_total", labels, events as f64);
    }

    /// Counts a request refused because its audit event could not be kept.
    pub(crate) fn audit_rejected(&self) {
        self.count("apiserver_audit_requests_rejected_total", &[]);
    }

    /// The text exposition; `objects` is (group, resource, count).
    pub(crate) fn text(&self, objects: &[(String, String, usize)]) -> String {
        let mut numbers = self.state.lock().numbers.clone();
        for (group, resource, count) in objects {
            let labels = Labels::of(&[("group", group), ("resource", resource)]);
            numbers.insert(("apiserver_resource_objects", labels), *count as f64);
            let full = match group.is_empty() {
                true => resource.clone(),
                false => format!("{resource}.{group}"),
            };
            let labels = Labels::of(&[("resource", &full)]);
            numbers.insert(("apiserver_storage_objects", labels), *count as f64);
        }
        for kind in ["mutating", "readOnly"] {
            let labels = Labels::of(&[("request_kind", kind)]);
            numbers
                .entry(("apiserver_current_inflight_requests", labels))
                .or_default();
        }
        let build = [
            ("git_version", crate::paths::VERSION),
            ("major", "1"),
            ("minor", "36"),
        ];
        numbers.insert(("kubernetes_build_info", Labels::of(&build)), 1.0);
        let histograms = self.state.lock().histograms.clone();
        let mut out = String::with_capacity(64 * 1024);
        for family in families::ALL {
            match family.kind {
                Kind::Histogram(_) => text::histograms(&mut out, family, &histograms),
                _ => text::numbers(&mut out, family, &numbers),
            }
        }
        text::process(&mut out);
        out
    }
}

/// Checks of health as service level indicators show them: (name, whether it is well).
pub(crate) fn health_text(kind: &str, checks: &[(String, bool)]) -> String {
    let name = "kubernetes_healthcheck";
    let mut out =
        format!("# HELP {name} The result of each check of health.\n# TYPE {name} gauge\n");
    for (check, well) in checks {
        let labels = Labels::of(&[("name", check), ("type", kind)]);
        out.push_str(&format!("{name}{{{labels}}} {}\n", u8::from(*well)));
    }
    out
}

/// User names as metrics bear them: the few that every cluster has, and what kind of name it is otherwise.
fn short_name(user: &str) -> &str {
    match user {
        "admin"
        | "client"
        | "kube_proxy"
        | "kubelet"
        | "system:serviceaccount:kube-system:default" => user,
        _ if user.contains('@') => "email_id",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::Query;

    fn request(method: Method, uri: &str) -> Request {
        let (path, query) = uri
            .split_once('?')
            .map_or((uri, None), |(p, q)| (p, Some(q)));
        let info = RequestInfo::new(&method, path, &Query::parse(query));
        Request::new(&info, &method, false, true)
    }

    #[test]
    fn requests_are_counted_by_upstreams_labels() {
        let metrics = Arc::new(Metrics::default());
        let list = request(Method::GET, "/api/v1/namespaces/a/pods");
        let running = metrics.running(&list);
        assert!(
            metrics
                .text(&[])
                .contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n")
        );
        drop(running);
        metrics.finished(&list, 200, Duration::from_millis(30), Some(10));
        let path = "/api/v1/namespaces/a/endpoints";
        metrics.deprecated(&RequestInfo::new(&Method::GET, path, &Query::parse(None)));
        let text = metrics.text(&[("apps".into(), "deployments".into(), 3)]);
        for line in [
            "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1",
            "apiserver_request_duration_seconds_bucket{component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\",le=\"0.05\"} 1",
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0",
            "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"} 3",
            "apiserver_storage_objects{resource=\"deployments.apps\"} 3",
            "# TYPE apiserver_request_duration_seconds histogram",
            "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",version=\"v1\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn verbs() {
        let verb_of = |method: Method, uri: &str| {
            let labels = request(method, uri).labels;
            let (_, after) = labels.split_once("verb=\"").unwrap();
            after.split('"').next().unwrap().to_owned()
        };
        assert_eq!(verb_of(Method::GET, "/api/v1/pods?watch=1"), "WATCH");
        assert_eq!(verb_of(Method::POST, "/api/v1/namespaces/a/pods"), "POST");
        assert_eq!(
            verb_of(Method::POST, "/api/v1/namespaces/a/pods/b/exec"),
            "CONNECT"
        );
        assert_eq!(
            verb_of(Method::DELETE, "/api/v1/namespaces/a/pods"),
            "DELETECOLLECTION"
        );
        assert_eq!(verb_of("PROPFIND".parse().unwrap(), "/x"), "other");
    }

    #[test]
    fn unknown_resources_get_no_labels() {
        let info = RequestInfo::new(&Method::GET, "/apis/a/v1/made-up", &Query::parse(None));
        let request = Request::new(&info, &Method::GET, false, false);
        assert!(!request.labels.contains("made-up"), "{}", request.labels);
    }
}
