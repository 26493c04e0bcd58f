//! `nodes/proxy`, `pods/proxy` and `services/proxy`: any request to a port behind the API, with paths, queries, bodies,
//! upgrades and redirects as upstream passes them. Invariant: only addresses of nodes, and of pods that exist, are
//! reached, never loopback or link-local ones. Left out: rewriting of links within HTML pages.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use corten_api::core::v1::{Pod, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_client::{Status, Target};

use crate::body::Answer;
use crate::catalog::Served;
use crate::connect::{self, Encryption, Place};
use crate::http::Call;
use crate::pods::kubelet;
use crate::server::Server;

pub(crate) async fn serve(
    server: &Arc<Server>,
    served: &Served,
    call: &Call,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let Some(asked) = Asked::parse(&call.info.name) else {
        let kind = served.singular.as_str();
        return Err(Status::bad_request(format!(
            "invalid {kind} request {:?}",
            call.info.name
        )));
    };
    let namespace = call.info.namespace.as_str();
    let place = match served.plural.as_str() {
        "nodes" => node_place(server, &asked)?,
        "pods" => pod_place(server, namespace, &asked)?,
        _ => service_place(server, namespace, &asked, &call.info.name)?,
    };
    let whole = request.uri().path().to_owned();
    let (prefix, path) = split_path(&whole, &call.info.rest);
    let query = request.uri().query().map(|q| format!("?{q}"));
    let query = query.unwrap_or_default();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    if path.is_empty() && reads && !upgrades {
        return Ok(redirect(&format!("{whole}/{query}")));
    }
    let path = match path.as_str() {
        "" => "/",
        path => path,
    };
    let own_host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .or(request.uri().authority().map(|a| a.as_str()))
        .unwrap_or_default()
        .to_owned();
    if let Ok(value) = HeaderValue::from_str(&whole) {
        request.headers_mut().insert("x-forwarded-uri", value);
    }
    let mut answer = connect::forward(
        &server.connector,
        &place,
        &format!("{path}{query}"),
        request,
    )
    .await?;
    let hosts = [place.authority(), own_host];
    if let Some(target) = answer.headers().get(header::LOCATION)
        && let Some(new) = target
            .to_str()
            .ok()
            .and_then(|t| through(t, &prefix, &hosts))
        && let Ok(new) = HeaderValue::from_str(&new)
    {
        answer.headers_mut().insert(header::LOCATION, new);
    }
    Ok(answer)
}

/// `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    encryption: Encryption,
    name: &'a str,
    port: &'a str,
}

impl Asked<'_> {
    fn parse(text: &str) -> Option<Asked<'_>> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let encryption = match scheme {
            "" | "http" => Encryption::Plain,
            "https" => Encryption::Tls,
            _ => return None,
        };
        (!name.is_empty()).then_some(Asked {
            encryption,
            name,
            port,
        })
    }
}

/// The path up to `/proxy`, and what follows it as it was sent.
fn split_path(whole: &str, rest: &str) -> (String, String) {
    const MARK: &str = "/proxy";
    // The first one after namespace and name: neither holds a slash.
    let segments = if whole.starts_with("/api/v1/namespaces/") {
        6
    } else {
        4
    };
    let start: usize = whole
        .split('/')
        .skip(1)
        .take(segments)
        .map(|s| s.len() + 1)
        .sum();
    match whole.get(start..).and_then(|r| r.strip_prefix(MARK)) {
        Some(after) => (whole[..start + MARK.len()].to_owned(), after.to_owned()),
        None => (whole.to_owned(), format!("/{rest}")),
    }
}

fn redirect(place: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// A redirect that stays with the same server leads through the proxy again; others are left as they are.
fn through(target: &str, prefix: &str, hosts: &[String]) -> Option<String> {
    let path = match target.split_once("://") {
        Some((_, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !hosts.iter().any(|h| h == host) {
                return None;
            }
            path
        }
        None if target.starts_with("//") => return None,
        None => target,
    };
    if !path.starts_with('/') || path.starts_with(prefix) {
        return None;
    }
    Some(format!("{prefix}{path}"))
}

/// Whether an address may be proxied to: what Go calls a global unicast address.
fn is_proxyable(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_link_local()
                || ip.is_broadcast())
        }
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || ip.is_unicast_link_local())
        }
        Err(_) => false,
    }
}

fn not_allowed() -> Status {
    Status::bad_request("address not allowed")
}

fn node_place(server: &Server, asked: &Asked<'_>) -> Result<Place, Status> {
    let place = kubelet(server, asked.name)?;
    let Place::Kubelet { host, port, .. } = &place else {
        return Ok(place);
    };
    // The kubelet of a node in this process may be known by its name alone.
    if host.parse::<IpAddr>().is_ok() && !is_proxyable(host) {
        return Err(not_allowed());
    }
    if asked.port.is_empty() || asked.port == port.to_string() {
        return Ok(place);
    }
    Ok(Place::Address {
        host: host.clone(),
        port: number(asked.port)?,
        tls: asked.encryption,
    })
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| {
        Status::unavailable(format!(
            "error trying to reach service: dial tcp: lookup tcp/{port}: unknown port"
        ))
    })
}

fn missing(resource: &str, name: &str) -> Status {
    Status::not_found(Target {
        group: "",
        resource,
        name,
    })
}

fn pod_place(server: &Server, namespace: &str, asked: &Asked<'_>) -> Result<Place, Status> {
    let view = server.typed.view();
    let pod = view
        .snapshot
        .find::<Pod>(namespace, asked.name)
        .ok_or_else(|| missing("pods", asked.name))?;
    let mut ports = pod.spec.containers.iter().flat_map(|c| c.ports.iter());
    let port = if asked.port.is_empty() {
        let first = pod.spec.containers.iter().find_map(|c| c.ports.first());
        first.and_then(|p| u16::try_from(p.container_port).ok())
    } else {
        let named = ports.find(|p| p.name == asked.port);
        match named {
            Some(port) => u16::try_from(port.container_port).ok(),
            None => Some(number(asked.port)?),
        }
    };
    let host = pod.status.pod_ip.as_str();
    if !is_proxyable(host) {
        return Err(not_allowed());
    }
    let usual = match asked.encryption {
        Encryption::Plain => 80,
        Encryption::Tls => 443,
    };
    Ok(Place::Address {
        host: host.to_owned(),
        port: port.unwrap_or(usual),
        tls: asked.encryption,
    })
}

fn service_place(
    server: &Server,
    namespace: &str,
    asked: &Asked<'_>,
    whole: &str,
) -> Result<Place, Status> {
    let view = server.typed.view();
    let snapshot = &view.snapshot;
    let service = snapshot
        .get::<Service>(namespace, asked.name)
        .ok_or_else(|| missing("services", asked.name))?;
    // Endpoints know ports by name only.
    let port_name = match asked.port.parse::<i32>() {
        Err(_) => asked.port.to_owned(),
        Ok(number) => match service.spec.ports.iter().find(|p| p.port == number) {
            Some(port) => port.name.to_string(),
            None => {
                return Err(Status::unavailable(format!(
                    "no service port {number} found for service {:?}",
                    asked.name
                )));
            }
        },
    };
    let mut places = Vec::new();
    for slice in snapshot.list_in::<EndpointSlice>(namespace) {
        if slice.metadata.label("kubernetes.io/service-name") != asked.name {
            continue;
        }
        let port = slice
            .ports
            .iter()
            .find(|p| p.name.as_deref().unwrap_or_default() == port_name)
            .and_then(|p| u16::try_from(p.port?).ok());
        let Some(port) = port else { continue };
        for endpoint in slice.endpoints.iter() {
            // Only addresses that are a pod's: anyone may write a slice.
            let pod = endpoint
                .target_ref
                .as_ref()
                .filter(|r| r.namespace == namespace || r.namespace.is_empty())
                .and_then(|r| snapshot.find::<Pod>(namespace, &r.name));
            let ready = endpoint.conditions.ready != Some(false);
            let (Some(pod), Some(address), true) = (pod, endpoint.addresses.first(), ready) else {
                continue;
            };
            if pod.status.pod_ips.iter().any(|ip| ip.ip == *address) {
                places.push((address.to_string(), port));
            }
        }
    }
    if places.is_empty() {
        let text = format!("no endpoints available for service {whole:?}");
        return Err(Status::unavailable(text));
    }
    let index = (server.random() % places.len() as u64) as usize;
    let (host, port) = places.swap_remove(index);
    Ok(Place::Address {
        host,
        port,
        tls: asked.encryption,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let asked = |text| Asked::parse(text).map(|a| (a.encryption, a.name, a.port));
        assert_eq!(asked("a"), Some((Encryption::Plain, "a", "")));
        assert_eq!(asked("a:web"), Some((Encryption::Plain, "a", "web")));
        assert_eq!(asked("https:a:"), Some((Encryption::Tls, "a", "")));
        assert_eq!(asked("ftp:a:1"), None);
        assert_eq!(asked(":1"), None);
    }

    #[test]
    fn paths_are_passed_as_they_were_sent() {
        let split = |path| split_path(path, "x");
        let (prefix, rest) = split("/api/v1/namespaces/proxy/pods/proxy/proxy/a%2Fb/");
        assert_eq!(prefix, "/api/v1/namespaces/proxy/pods/proxy/proxy");
        assert_eq!(rest, "/a%2Fb/");
        assert_eq!(split("/api/v1/nodes/n:1/proxy").1, "");
    }

    #[test]
    fn redirects_lead_back_through_the_proxy() {
        let hosts = ["10.0.0.1:80".to_owned(), "api:6443".to_owned()];
        let to = |target| through(target, "/p/proxy", &hosts);
        assert_eq!(to("/login").as_deref(), Some("/p/proxy/login"));
        assert_eq!(to("http://10.0.0.1:80/x").as_deref(), Some("/p/proxy/x"));
        assert_eq!(to("https://elsewhere/x"), None);
        assert_eq!(to("//elsewhere/x"), None);
        assert_eq!(to("next"), None);
        assert_eq!(to("/p/proxy/x"), None);
    }

    #[test]
    fn addresses() {
        for bad in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "",
            "name",
        ] {
            assert!(!is_proxyable(bad), "{bad}");
        }
        assert!(is_proxyable("10.1.2.3") && is_proxyable("fd00::1"));
    }
}
