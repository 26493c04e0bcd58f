//! What is served outside of resources: health, version, metrics, discovery, OpenAPI and the token issuer's documents.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use corten_client::Status;

use crate::body::Answer;
use crate::http::{Call, json, page_not_found, respond};
use crate::server::Server;
use crate::{discovery, openapi};

/// The API level served.
pub const VERSION: &str = "v1.36.3";

pub(crate) async fn serve(
    server: &Arc<Server>,
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let path = call.info.path.clone();
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        return if known(&path) {
            Err(Status::method_not_allowed())
        } else {
            Ok(page_not_found())
        };
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "/healthz" | "/livez" | "/readyz" => Ok(health(server, &call, trimmed)),
        "/version" => Ok(json(&version())),
        "/metrics" => Ok(metrics(server)),
        "" => Ok(json(&json!({"paths": root_paths(server)}))),
        "/openid/v1/jwks" => {
            let body = server.token_keys.key_set().to_string();
            Ok(respond(
                StatusCode::OK,
                "application/jwk-set+json",
                body.into(),
            ))
        }
        "/.well-known/openid-configuration" => Ok(json(&issuer(server))),
        _ if trimmed.starts_with("/openapi") => openapi::serve(server, &call),
        _ if trimmed == "/api" || trimmed.starts_with("/api/") || trimmed.starts_with("/apis") => {
            discovery::serve(server, &call)
        }
        _ => check(server, trimmed),
    }
}

fn known(path: &str) -> bool {
    [
        "/healthz", "/livez", "/readyz", "/version", "/metrics", "/api", "/openapi",
    ]
    .iter()
    .any(|p| path.starts_with(p))
}

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

/// The individual checks of a health endpoint and whether each is well.
fn checks(server: &Server, endpoint: &str) -> Vec<(&'static str, bool)> {
    let mut list = vec![
        ("ping", true),
        ("log", true),
        ("etcd", server.store_is_open()),
        (
            "poststarthook/rbac/bootstrap-roles",
            server.is_bootstrapped(),
        ),
        (
            "poststarthook/start-system-namespaces-controller",
            server.is_bootstrapped(),
        ),
    ];
    if endpoint == "/readyz" {
        list.push(("shutdown", !server.is_stopping()));
    }
    if endpoint == "/livez" {
        list.retain(|(name, _)| !name.starts_with("poststarthook/rbac"));
    }
    list
}

fn health(server: &Server, call: &Call, endpoint: &str) -> Response<Answer> {
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    let list = checks(server, endpoint);
    let name = endpoint.trim_start_matches('/');
    let mut text = String::new();
    let mut failed = Vec::new();
    for (check, well) in &list {
        if excluded.contains(check) {
            text.push_str(&format!("[+]{check} excluded: ok\n"));
        } else if *well {
            text.push_str(&format!("[+]{check} ok\n"));
        } else {
            text.push_str(&format!("[-]{check} failed: reason withheld\n"));
            failed.push(*check);
        }
    }
    const PLAIN: &str = "text/plain; charset=utf-8";
    if !failed.is_empty() {
        text.push_str(&format!("{name} check failed\n"));
        return respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, text.into());
    }
    if call.query.get("verbose").is_some() {
        text.push_str(&format!("{name} check passed\n"));
        return respond(StatusCode::OK, PLAIN, text.into());
    }
    respond(StatusCode::OK, PLAIN, "ok".to_owned().into())
}

/// `/livez/ping` and so on.
fn check(server: &Server, path: &str) -> Result<Response<Answer>, Status> {
    for endpoint in ["/healthz", "/livez", "/readyz"] {
        if let Some(name) = path
            .strip_prefix(endpoint)
            .and_then(|rest| rest.strip_prefix('/'))
            && let Some((_, well)) = checks(server, endpoint)
                .into_iter()
                .find(|(check, _)| *check == name)
        {
            const PLAIN: &str = "text/plain; charset=utf-8";
            return Ok(match well {
                true => respond(StatusCode::OK, PLAIN, "ok".to_owned().into()),
                false => {
                    let text = "internal server error: reason withheld\n".to_owned();
                    respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, text.into())
                }
            });
        }
    }
    Ok(page_not_found())
}

fn metrics(server: &Server) -> Response<Answer> {
    let text = server.metrics.text(&server.object_counts());
    respond(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into(),
    )
}

fn root_paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> = vec![
        "/.well-known/openid-configuration".into(),
        "/api".into(),
        "/api/v1".into(),
        "/apis".into(),
    ];
    for (group, versions) in server.catalog().group_versions() {
        if group.is_empty() {
            continue;
        }
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
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
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths.sort();
    paths
}
