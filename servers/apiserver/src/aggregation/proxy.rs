//! Passing a request on to the server of its group version.

use std::sync::Arc;

use corten_access::UserInfo;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::front;
use super::remote::Remote;
use crate::body::Answer;
use crate::connect;
use crate::http::plain;
use crate::info::RequestInfo;
use crate::server::Server;

/// Who else serves what a request asks for; none when it is served here.
pub(crate) fn remote_for(server: &Server, info: &RequestInfo) -> Option<Arc<Remote>> {
    let remotes = server.remotes();
    if info.is_resource {
        return remotes.find(&info.group, &info.version);
    }
    let mut parts = info.path.trim_matches('/').split('/');
    match (parts.next()?, parts.next()?, parts.next()?) {
        ("apis", group, version) => remotes.find(group, version),
        _ => None,
    }
}

/// The other server's answer to a request of an authorized user.
pub(crate) async fn proxy(
    server: &Server,
    remote: &Remote,
    user: &UserInfo,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let away = || plain(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n");
    if !remote.available {
        return away();
    }
    let unreachable = |why: String| {
        let text = format!("error trying to reach service: {why}\n");
        plain(StatusCode::SERVICE_UNAVAILABLE, text)
    };
    if let Err(why) = server.outbound.address(&remote.endpoint) {
        tracing::debug!(%why, name = remote.name, "an aggregated server is nowhere");
        return away();
    }
    let headers = request.headers_mut();
    let claimed: Vec<_> = headers
        .keys()
        .filter(|n| front::is_identity(n))
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
    headers.extend(front::user_headers(user));
    if let Some(trace) = crate::spans::traceparent() {
        headers.insert("traceparent", trace);
    }
    let uri = request.uri().clone();
    let forwarded = [
        ("x-forwarded-uri", uri.path()),
        ("x-forwarded-proto", "https"),
    ];
    for (name, value) in forwarded {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, value);
        }
    }
    match connect::to_endpoint(&server.outbound, &remote.endpoint, request).await {
        Ok(answer)
            if answer.status().is_redirection() && answer.headers().contains_key(LOCATION) =>
        {
            let text = "the backend attempted to redirect this request, which is not permitted";
            plain(StatusCode::BAD_GATEWAY, text)
        }
        Ok(answer) => answer,
        Err(why) => unreachable(why),
    }
}
