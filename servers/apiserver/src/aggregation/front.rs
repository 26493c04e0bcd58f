//! Who asks, in the headers that the front proxy's certificate vouches for, and small requests of our own. Invariant: what
//! a client says of itself in such headers is never passed on.

use std::time::Duration;

use bytes::Bytes;
use corten_access::UserInfo;
use http::request::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::remote::Remote;
use crate::outbound::{
    ClientIdentity, Endpoint, Failure, Limits, Place, Protocols, Trust, Verification,
};
use crate::server::Server;

/// What an answer to a request of our own may cost.
const LIMITS: Limits = Limits {
    time_max: Duration::from_secs(5),
    answer_max: 16 * 1024 * 1024,
};

/// Where a service's API server is, and the certificate that vouches for the user headers.
pub(super) fn endpoint(
    server: &Server,
    place: Place,
    bundle: &[u8],
    verification: Verification,
) -> Endpoint {
    let pair = &server.config.front_proxy;
    Endpoint {
        place,
        trust: Trust {
            ca_bundle: Bytes::copy_from_slice(bundle),
            verification,
            identity: Some(ClientIdentity {
                certificate: pair.certificate.clone().into(),
                key: pair.key.clone().into(),
            }),
            protocols: Protocols::Http2OrHttp1,
            ..Trust::default()
        },
    }
}

/// The headers that say who asks, for the front proxy's certificate to vouch for.
pub(super) fn user_headers(user: &UserInfo) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("X-Remote-User", &user.name);
    if !user.uid.is_empty() {
        add("X-Remote-Uid", &user.uid);
    }
    for group in &user.groups {
        add("X-Remote-Group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("X-Remote-Extra-{}", escaped(key));
        for value in values {
            add(&name, value);
        }
    }
    headers
}

/// A key of extra information as part of a header's name.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        let token = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        match token {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whether a header says who somebody is, and so is never passed on from a client.
pub(super) fn is_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "x-remote-user" | "x-remote-uid" | "x-remote-group")
        || name.starts_with("x-remote-extra-")
}

/// A GET of our own, as the aggregator: code and body.
pub(super) async fn get(
    server: &Server,
    remote: &Remote,
    path: &str,
) -> Result<(u16, Bytes), Failure> {
    get_as(server, remote, path, &aggregator()).await
}

fn aggregator() -> UserInfo {
    UserInfo {
        name: "system:kube-aggregator".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    }
}

/// A GET on behalf of a user.
pub(super) async fn get_as(
    server: &Server,
    remote: &Remote,
    path: &str,
    user: &UserInfo,
) -> Result<(u16, Bytes), Failure> {
    let request = Request::get(path).header("accept", "application/json");
    let answer = call(server, remote, request, user).await?;
    Ok((answer.status().as_u16(), answer.into_body()))
}

async fn call(
    server: &Server,
    remote: &Remote,
    request: Builder,
    user: &UserInfo,
) -> Result<Response<Bytes>, Failure> {
    let mut request = request
        .body(Bytes::new())
        .map_err(|e| Failure::Broken(e.to_string()))?;
    request.headers_mut().extend(user_headers(user));
    server
        .outbound
        .call(&remote.endpoint, request, LIMITS)
        .await
}

/// The server's aggregated discovery document, if it is another than the one with the tag.
pub(super) async fn discovery(
    server: &Server,
    remote: &Remote,
    tag: Option<&str>,
) -> Result<Response<Bytes>, Failure> {
    let document = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let older = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let mut request = Request::get("/apis").header("accept", format!("{document},{older}"));
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    call(server, remote, request, &aggregator()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_keys_become_header_names() {
        let mut user = UserInfo {
            name: "jane".into(),
            groups: vec!["a".into(), "b".into()],
            ..UserInfo::default()
        };
        user.extra
            .insert("example.com/scope".into(), vec!["x".into()]);
        let headers = user_headers(&user);
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers["x-remote-extra-example.com%2fscope"], "x");
        assert!(headers.keys().all(is_identity));
    }
}
