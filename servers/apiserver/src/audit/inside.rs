//! Trails of requests that come from this process: controllers and the scheduler ask without HTTP and are audited as if
//! they came by it. Invariant: the same policy, stages and backends as for any other request; where nothing is audited,
//! nothing is made.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::HeaderMap;

use corten_access::UserInfo;
use corten_access::audit::Stage;
use corten_api::Object;
use corten_client::{Status, WatchStream};

use super::trail::{End, Trail};
use super::{Beginning, follow, received};
use crate::info::RequestInfo;
use crate::server::Server;

const AGENT: &str = concat!("corten/v", env!("CARGO_PKG_VERSION"), " (in process)");

/// Path and query under which a request would have come.
pub(crate) fn uri(info: &RequestInfo, query: &[(&str, &str)]) -> String {
    let mut uri = match info.group.as_str() {
        "" => format!("/api/{}", info.version),
        group => format!("/apis/{group}/{}", info.version),
    };
    // A namespace lies in itself, but its path does not say so.
    if !info.namespace.is_empty() && info.resource != "namespaces" {
        uri.push_str("/namespaces/");
        uri.push_str(&info.namespace);
    }
    for part in [&info.resource, &info.name, &info.subresource] {
        if !part.is_empty() {
            uri.push('/');
            uri.push_str(part);
        }
    }
    let mut mark = '?';
    for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        uri.push(mark);
        mark = '&';
        uri.push_str(&format!("{key}={}", escaped(value)));
    }
    uri
}

/// A value of a query as clients escape it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn begin(server: &Server, info: &RequestInfo, uri: &str) -> Option<Arc<Trail>> {
    let audit = server.access.audit.as_ref()?;
    let mut headers = HeaderMap::new();
    headers.insert(
        http::header::USER_AGENT,
        http::HeaderValue::from_static(AGENT),
    );
    let beginning = Beginning {
        id: &server.uid(),
        uri,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        headers: &headers,
        info,
    };
    Some(Arc::new(Trail::new(audit.clone(), &beginning)))
}

/// The request's outcome, with what is written down before it and what it adds to the trail.
async fn followed<T>(
    trail: &Arc<Trail>,
    user: &UserInfo,
    info: &RequestInfo,
    request: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    follow(Some(trail.clone()), async {
        received(user, info).await?;
        request.await
    })
    .await
}

/// Runs a request with a trail of its own; `code` is that of success.
pub(crate) async fn inside(
    server: &Server,
    user: &UserInfo,
    info: &RequestInfo,
    (uri, code): (&str, u16),
    request: impl Future<Output = Result<Arc<Object>, Status>>,
) -> Result<Arc<Object>, Status> {
    let Some(trail) = begin(server, info, uri) else {
        return request.await;
    };
    let outcome = followed(&trail, user, info, request).await;
    match &outcome {
        Ok(object) => trail.complete_with(code, Some(object)).await,
        Err(status) => {
            trail.answered(status);
            trail.complete_with(status.code, None).await;
        }
    }
    outcome
}

/// The same for a list, whose items are not written down.
pub(crate) async fn inside_list<T>(
    server: &Server,
    user: &UserInfo,
    info: &RequestInfo,
    uri: &str,
    request: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(trail) = begin(server, info, uri) else {
        return request.await;
    };
    let outcome = followed(&trail, user, info, request).await;
    let code = outcome.as_ref().err().map_or(200, |status| status.code);
    if let Err(status) = &outcome {
        trail.answered(status);
    }
    trail.complete_with(code, None).await;
    outcome
}

/// The same for a watch, which ends when its stream is let go.
pub(crate) async fn inside_watch(
    server: &Server,
    user: &UserInfo,
    info: &RequestInfo,
    uri: &str,
    request: impl Future<Output = Result<WatchStream, Status>>,
) -> Result<WatchStream, Status> {
    let Some(trail) = begin(server, info, uri) else {
        return request.await;
    };
    let outcome = followed(&trail, user, info, request).await;
    match outcome {
        Ok(stream) => {
            trail.set_code(200);
            trail.reach(Stage::ResponseStarted).await;
            let end = End::of(trail);
            let ending = futures_util::StreamExt::map(stream, move |event| {
                let _ = &end;
                event
            });
            Ok(Box::pin(ending))
        }
        Err(status) => {
            trail.answered(&status);
            trail.complete_with(status.code, None).await;
            Err(status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_paths_of_clients() {
        let mut info = RequestInfo {
            group: "apps".into(),
            version: "v1".into(),
            namespace: "web".into(),
            resource: "deployments".into(),
            name: "a".into(),
            subresource: "status".into(),
            ..RequestInfo::default()
        };
        assert_eq!(
            uri(&info, &[]),
            "/apis/apps/v1/namespaces/web/deployments/a/status"
        );
        info.group.clear();
        info.resource = "namespaces".into();
        info.name = "web".into();
        info.subresource.clear();
        let query = [("labelSelector", "a=b,c"), ("x", ""), ("watch", "true")];
        assert_eq!(
            uri(&info, &query),
            "/api/v1/namespaces/web?labelSelector=a%3Db%2Cc&watch=true"
        );
    }
}
