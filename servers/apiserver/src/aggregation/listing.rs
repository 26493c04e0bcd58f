//! Lists of what aggregated servers serve, for callers in this process.

use corten_access::UserInfo;
use corten_api::Object;
use corten_client::{ListAnswer, Status, WatchRequest};
use corten_meta::{GroupVersionResource, Revision};
use std::sync::Arc;

use super::front;
use super::remote::Remote;
use crate::server::Server;

/// The server of the resource's group version, if it is not this one.
pub(crate) fn remote_of(server: &Server, resource: &GroupVersionResource) -> Option<Arc<Remote>> {
    server.remotes().find(&resource.group, &resource.version)
}

fn path(request: &WatchRequest) -> String {
    let GroupVersionResource {
        group,
        version,
        resource,
    } = &request.resource;
    let mut path = format!("/apis/{group}/{version}");
    if !request.namespace.is_empty() {
        path.push_str(&format!("/namespaces/{}", request.namespace));
    }
    path.push_str(&format!("/{resource}"));
    let mut separator = '?';
    for (name, value) in [
        ("labelSelector", &request.label_selector),
        ("fieldSelector", &request.field_selector),
    ] {
        if !value.is_empty() {
            path.push_str(&format!("{separator}{name}={}", escaped(value)));
            separator = '&';
        }
    }
    path
}

fn escaped(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let one = |b: u8| match keep(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Every object of a resource, as an authorized user may see it there.
pub(crate) async fn list(
    server: &Server,
    remote: &Remote,
    user: &UserInfo,
    request: &WatchRequest,
) -> Result<ListAnswer, Status> {
    let away = || Status::unavailable("the server is currently unable to handle the request");
    if !remote.available {
        return Err(away());
    }
    let answer = front::get_as(server, remote, &path(request), user).await;
    let (code, body) = answer
        .map_err(|why| Status::unavailable(format!("error trying to reach service: {why}")))?;
    let value = corten_codec::json::decode_value(&body).map_err(|_| away())?;
    if !(200..300).contains(&code) {
        let message = value.get("message").and_then(|m| m.as_str());
        return Err(message.map_or_else(away, Status::unavailable));
    }
    let text = |keys: [&str; 2]| value.get(keys[0]).and_then(|m| m.get(keys[1])?.as_str());
    let kind = value
        .get("kind")
        .and_then(|k| k.as_str())
        .unwrap_or_default();
    let version = value
        .get("apiVersion")
        .and_then(|k| k.as_str())
        .unwrap_or_default();
    let mut items = Vec::new();
    for item in value
        .get("items")
        .and_then(|i| i.as_list())
        .unwrap_or_default()
    {
        let mut item = item.clone();
        if item.get("kind").is_none() {
            item.set(&["kind"], kind.trim_end_matches("List"));
            item.set(&["apiVersion"], version);
        }
        let object = Object::from_value(&item).map_err(|_| away())?;
        items.push(Arc::new(object));
    }
    let revision = text(["metadata", "resourceVersion"]).and_then(|r| r.parse().ok());
    Ok(ListAnswer {
        revision: Revision(revision.unwrap_or(0)),
        items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_escaped() {
        let request = WatchRequest {
            resource: GroupVersionResource {
                group: "metrics.k8s.io".into(),
                version: "v1beta1".into(),
                resource: "pods".into(),
            },
            namespace: "default".into(),
            label_selector: "app in (a, b)".into(),
            ..WatchRequest::default()
        };
        let wanted = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%20in%20%28a%2C%20b%29";
        assert_eq!(path(&request), wanted);
    }
}
