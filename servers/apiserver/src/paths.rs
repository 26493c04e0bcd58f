//! What is served outside of resources: health, version, metrics, discovery, OpenAPI and the token issuer's documents.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use serde_json::json;

use corten_client::Status;

use crate::body::Answer;
use crate::http::{self, Call, json, page_not_found, plain, respond};
use crate::server::Server;
use crate::{discovery, flow, openapi};

/// The API level served.
pub const VERSION: &str = "v1.36.3";

pub(crate) async fn serve(
    server: &Arc<Server>,
    call: Call,
    _request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let path = call.info.path.as_str();
    let reads = call.info.verb == "get";
    match path {
        "/healthz" | "/livez" | "/readyz" => Ok(health(server, &call, path)),
        "/version" | "/version/" => {
            if !reads {
                return Err(Status::method_not_allowed());
            }
            http::routed(&call.headers, &["application/json"])?;
            Ok(json(&version()))
        }
        "/metrics" => Ok(metrics(server)),
        "/metrics/slis" => Ok(indicators(server)),
        "/flagz" => Ok(flagz(server)),
        "/statusz" => Ok(statusz(server)),
        "/" | "" | "/index.html" => Ok(json(&json!({"paths": root_paths(server)}))),
        "/openid/v1/jwks" => {
            let body = server.token_keys.key_set().to_string();
            Ok(cached(respond(
                StatusCode::OK,
                "application/jwk-set+json",
                body.into(),
            )))
        }
        "/.well-known/openid-configuration" => {
            let body = issuer(server).to_string();
            Ok(cached(respond(
                StatusCode::OK,
                "application/json",
                body.into(),
            )))
        }
        "/openapi/v2" | "/openapi/v3" => openapi::serve(server, &call),
        _ if path.starts_with("/openapi/v3/") => openapi::serve(server, &call),
        "/api" | "/apis" => discovery::serve(server, &call),
        _ if path.starts_with("/api/") || path.starts_with("/apis/") => {
            discovery::serve(server, &call)
        }
        _ => Ok(debug(server, &call).unwrap_or_else(|| check(server, path))),
    }
}

/// Flow control's tables.
fn debug(server: &Server, call: &Call) -> Option<Response<Answer>> {
    let table = call
        .info
        .path
        .strip_prefix("/debug/api_priority_and_fairness/")?;
    let text = flow::dump(&server.flow, table, &call.query, server.since_epoch())?;
    Some(respond(StatusCode::OK, PLAIN, text.into()))
}

/// The documents of the token issuer may be kept for an hour.
fn cached(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("public, max-age=3600"),
    );
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";

const FOR_PEOPLE: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting \
                          compatibility guarantees and is for debugging purposes only.";

/// What runs here and since when, for people.
fn statusz(server: &Server) -> Response<Answer> {
    let up = server.started.elapsed().as_secs();
    let text = format!(
        "\napiserver statusz\n{FOR_PEOPLE}\n\nStarted:  {}\nUp:  {} hr {:02} min {:02} sec\n\
         Binary version:  {}\nEmulation version:  1.36\nPaths:  /flagz /healthz /livez /metrics /readyz /statusz /version\n",
        corten_core::Time::from_unix(server.unix_seconds() - up as i64),
        up / 3600,
        up / 60 % 60,
        up % 60,
        VERSION.trim_start_matches('v'),
    );
    respond(StatusCode::OK, PLAIN, text.into())
}

/// The flags with which the server runs, for people.
fn flagz(server: &Server) -> Response<Answer> {
    let mut text = format!("\napiserver flagz\n{FOR_PEOPLE}\n");
    for (name, value) in &server.config.flags {
        text.push_str(&format!("{name} {value}\n"));
    }
    respond(StatusCode::OK, PLAIN, text.into())
}

/// The checks of health as service level indicators.
fn indicators(server: &Server) -> Response<Answer> {
    let text = crate::metrics::health_text("readyz", &checks(server, "/readyz"));
    respond(StatusCode::OK, METRICS, text.into())
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": "36",
        "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other }),
    })
}

fn issuer(server: &Server) -> serde_json::Value {
    let issuer = &server.config.issuer;
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/openid/v1/jwks", server.config.external_url),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

/// Start-up work that upstream names in its health checks, in its order.
const HOOKS: [&str; 30] = [
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "start-system-namespaces-controller",
    "peer-endpoint-reconciler-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "storage-readiness",
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
    "autoregister-completion",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
];

/// The individual checks of a health endpoint and whether each is well.
fn checks(server: &Server, endpoint: &str) -> Vec<(String, bool)> {
    let store = server.store_is_open();
    let mut list = vec![("ping".to_owned(), true), ("log".to_owned(), true)];
    if endpoint != "/readyz" {
        list.push(("loopback-serving-certificate".into(), true));
    }
    list.push(("etcd".into(), store));
    if endpoint == "/readyz" {
        list.push(("etcd-readiness".into(), store));
        list.push(("informer-sync".into(), true));
    }
    let begun = server.is_bootstrapped();
    for hook in &HOOKS {
        // These write the cluster's first objects; the rest is ready when requests are served at all.
        let writes = matches!(
            *hook,
            "rbac/bootstrap-roles"
                | "start-system-namespaces-controller"
                | "scheduling/bootstrap-system-priority-classes"
                | "bootstrap-controller"
                | "priority-and-fairness-config-producer"
        );
        let name = match *hook {
            "autoregister-completion" => (*hook).to_owned(),
            hook => format!("poststarthook/{hook}"),
        };
        let counts = endpoint != "/livez" || !hook.starts_with("rbac/");
        list.push((name, !writes || begun || !counts));
    }
    if endpoint == "/readyz" {
        list.push(("shutdown".into(), !server.is_stopping()));
    }
    list
}

fn health(server: &Server, call: &Call, endpoint: &str) -> Response<Answer> {
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    let list = checks(server, endpoint);
    let name = endpoint.trim_start_matches('/');
    let mut text = String::new();
    let mut failed = false;
    for (check, well) in &list {
        if excluded.contains(&check.as_str()) {
            text.push_str(&format!("[+]{check} excluded: ok\n"));
        } else if *well {
            text.push_str(&format!("[+]{check} ok\n"));
        } else {
            text.push_str(&format!("[-]{check} failed: reason withheld\n"));
            failed = true;
        }
    }
    for unknown in excluded
        .iter()
        .filter(|e| !list.iter().any(|(name, _)| name == *e))
    {
        text.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {unknown:?}\n"
        ));
    }
    if failed {
        text.push_str(&format!("{name} check failed\n"));
        return plain(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    if call.query.get("verbose").is_some() {
        text.push_str(&format!("{name} check passed\n"));
        return plain(StatusCode::OK, text);
    }
    plain(StatusCode::OK, "ok")
}

/// `/livez/ping` and so on.
fn check(server: &Server, path: &str) -> Response<Answer> {
    for endpoint in ["/healthz", "/livez", "/readyz"] {
        if let Some(name) = path
            .strip_prefix(endpoint)
            .and_then(|rest| rest.strip_prefix('/'))
            && let Some((_, well)) = checks(server, endpoint)
                .into_iter()
                .find(|(check, _)| *check == name)
        {
            return match well {
                true => plain(StatusCode::OK, "ok"),
                false => plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal server error: reason withheld\n",
                ),
            };
        }
    }
    page_not_found()
}

fn metrics(server: &Server) -> Response<Answer> {
    let mut text = server.metrics.text(&server.object_counts());
    text.push_str(&flow::metrics(&server.flow));
    respond(StatusCode::OK, METRICS, text.into())
}

fn root_paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = vec![
        "/.well-known/openid-configuration".into(),
        "/api".into(),
        "/api/v1".into(),
        "/apis".into(),
        "/apis/".into(),
    ];
    let catalog = server.catalog();
    for group in discovery::groups(server, &catalog) {
        let name = &group.name;
        if name.is_empty() {
            continue;
        }
        paths.push(format!("/apis/{name}"));
        paths.extend(group.versions.iter().map(|v| format!("/apis/{name}/{v}")));
    }
    for endpoint in ["/healthz", "/livez", "/readyz"] {
        paths.push(endpoint.into());
        paths.extend(
            checks(server, endpoint)
                .iter()
                .map(|(name, _)| format!("{endpoint}/{name}")),
        );
    }
    paths.extend(
        [
            "/flagz",
            "/metrics",
            "/metrics/slis",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/statusz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths.sort();
    paths
}
