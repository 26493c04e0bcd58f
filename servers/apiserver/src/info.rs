//! What a request asks for: verb, group, version, resource, subresource, namespace and name, read off method and path.
//! Invariant: the same (method, path, query) gives the same attributes as upstream's RequestInfoFactory, since
//! authorization rests on them.

/// The attributes of one request. For non-resource requests only `verb` (the lower-case method) and `path` are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a lower-case method.
    pub verb: String,
    /// The path as sent, without the query.
    pub path: String,
    /// Whether it is about a resource of the API.
    pub is_resource: bool,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Object name, empty for none.
    pub name: String,
    /// What follows the subresource (`proxy/a/b` -> `a/b`).
    pub rest: String,
}

/// The decoded query parameters in the order sent.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part after `?`.
    pub fn parse(text: Option<&str>) -> Query {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty());
        Query(
            pairs
                .map(|p| {
                    let (k, v) = p.split_once('=').unwrap_or((p, ""));
                    (decode(k, Plus::Space), decode(v, Plus::Space))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// A parameter as Go's ParseBool reads it; none when it is absent or empty.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        let value = self.get(name).filter(|v| !v.is_empty())?;
        Some(matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// A boolean as Go's conversion reads it: present and neither `false` nor `0`.
    pub fn truthy(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Space,
    Literal,
}

fn decode(text: &str, plus: Plus) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        match bytes[i] {
            b'+' if plus == Plus::Space => out.push(b' '),
            b'%' if i + 2 < bytes.len() => match (hex(bytes[i + 1]), hex(bytes[i + 2])) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Subresources of namespaces that are not resources inside the namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request's attributes.
    pub fn new(method: &http::Method, path: &str, query: &Query) -> RequestInfo {
        let mut info = RequestInfo {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            ..RequestInfo::default()
        };
        // Decoded first, as Go's servers do: an escaped slash divides like any other.
        let whole = decode(path, Plus::Literal);
        let decoded: Vec<String> = whole
            .trim_matches('/')
            .split('/')
            .map(str::to_owned)
            .collect();
        let mut parts: &[String] = &decoded;
        match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => parts = &parts[1..],
            Some("apis") if parts.len() >= 4 => {
                info.group.clone_from(&parts[1]);
                parts = &parts[2..];
            }
            _ => return info,
        }
        info.is_resource = true;
        info.version.clone_from(&parts[0]);
        parts = &parts[1..];
        info.verb = verb_of(method).to_owned();
        if matches!(parts[0].as_str(), "proxy" | "watch") && parts.len() > 1 {
            info.verb.clone_from(&parts[0]);
            parts = &parts[1..];
        }
        info.take_parts(parts);
        info.settle_verb(query);
        info
    }

    fn take_parts(&mut self, mut parts: &[String]) {
        if parts[0] == "namespaces" {
            if parts.len() > 1 {
                self.namespace.clone_from(&parts[1]);
                if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
                    parts = &parts[2..];
                }
            }
        } else {
            self.namespace.clear();
        }
        self.resource.clone_from(&parts[0]);
        if let Some(name) = parts.get(1) {
            self.name.clone_from(name);
        }
        if let Some(sub) = parts.get(2) {
            self.subresource.clone_from(sub);
            self.rest = parts[3..].join("/");
        }
    }

    /// A get without a name is a list or a watch; a delete without one is of the collection.
    fn settle_verb(&mut self, query: &Query) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = if query.truthy("watch") {
                "watch"
            } else {
                "list"
            }
            .into();
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".into();
        }
        let collection = matches!(self.verb.as_str(), "list" | "watch" | "deletecollection");
        if collection
            && self.name.is_empty()
            && let Some(name) = query.get("fieldSelector").and_then(name_in_selector)
        {
            self.name = name;
        }
    }
}

fn verb_of(method: &http::Method) -> &'static str {
    match *method {
        http::Method::POST => "create",
        http::Method::GET | http::Method::HEAD => "get",
        http::Method::PUT => "update",
        http::Method::PATCH => "patch",
        http::Method::DELETE => "delete",
        _ => "",
    }
}

/// The name that a field selector pins (`metadata.name=x`), which then counts for authorization.
fn name_in_selector(selector: &str) -> Option<String> {
    let selector = corten_meta::FieldSelector::parse(selector).ok()?;
    let name = selector.required("metadata.name")?;
    let segment = !matches!(name, "" | "." | "..") && !name.contains(['/', '%']);
    segment.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, expected: &str) {
        let (path, query) = uri
            .split_once('?')
            .map_or((uri, None), |(p, q)| (p, Some(q)));
        let i = RequestInfo::new(&method.parse().unwrap(), path, &Query::parse(query));
        let got = format!(
            "{} {} {}/{} ns={} {}/{} {}",
            i.verb,
            i.is_resource,
            i.group,
            i.version,
            i.namespace,
            i.resource,
            i.subresource,
            i.name
        );
        assert_eq!(got, expected, "{method} {uri}");
    }

    #[test]
    fn resources() {
        check(
            "GET",
            "/api/v1/namespaces",
            "list true /v1 ns= namespaces/ ",
        );
        check(
            "GET",
            "/api/v1/namespaces/a",
            "get true /v1 ns=a namespaces/ a",
        );
        check(
            "PUT",
            "/api/v1/namespaces/a/finalize",
            "update true /v1 ns=a namespaces/finalize a",
        );
        check(
            "GET",
            "/api/v1/namespaces/a/pods",
            "list true /v1 ns=a pods/ ",
        );
        check(
            "GET",
            "/api/v1/namespaces/a/pods/b",
            "get true /v1 ns=a pods/ b",
        );
        check(
            "GET",
            "/api/v1/namespaces/a/pods/b/log",
            "get true /v1 ns=a pods/log b",
        );
        check(
            "GET",
            "/api/v1/pods?watch=true",
            "watch true /v1 ns= pods/ ",
        );
        check("GET", "/api/v1/watch/pods", "watch true /v1 ns= pods/ ");
        check(
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            "deletecollection true apps/v1 ns=a deployments/ ",
        );
        check(
            "POST",
            "/apis/apps/v1/namespaces/a/deployments",
            "create true apps/v1 ns=a deployments/ ",
        );
        check(
            "GET",
            "/api/v1/nodes?fieldSelector=metadata.name%3Dx",
            "list true /v1 ns= nodes/ x",
        );
    }

    #[test]
    fn paths() {
        check("GET", "/", "get false / ns= / ");
        check("GET", "/api/v1", "get false / ns= / ");
        check("GET", "/apis/apps/v1", "get false / ns= / ");
        check("POST", "/healthz", "post false / ns= / ");
        check(
            "GET",
            "/api/v1/namespaces/a/configmaps/b%2Fc",
            "get true /v1 ns=a configmaps/c b",
        );
    }
}
