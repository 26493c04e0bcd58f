//! How webhooks are reached: validation of URLs and service references, shared by every kind that has them.

use crate::checks::Errors;
use crate::error::FieldError;
use crate::names;
use corten_core::Path;

const FORM: &str = "; desired format: https://host[/path]";

/// A webhook's URL.
pub(crate) fn validate_url(errors: &mut Errors, path: &Path, url: &str) {
    let (scheme, rest) = match url.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), url),
    };
    if let Some(why) = unparsable(url) {
        let text = format!("url must be a valid URL: parse {url:?}: {why}{FORM}");
        errors.push(FieldError::required(path, text));
        return;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest
        .strip_prefix("//")
        .and_then(|r| r.split('/').next())
        .unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let mut say = |value: &str, text: String| errors.push(FieldError::invalid(path, value, text));
    if scheme != "https" {
        let text = format!("'https' is the only allowed URL scheme{FORM}");
        say(&scheme, text);
    }
    if host.is_empty() {
        say(host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        let text = "user information is not permitted in the URL";
        say(user, text.into());
    }
    if !fragment.is_empty() {
        say(fragment, "fragments are not permitted in the URL".into());
    }
    if !query.is_empty() {
        say(
            query,
            "query parameters are not permitted in the URL".into(),
        );
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// What Go's parser says of a URL that it does not read.
fn unparsable(url: &str) -> Option<String> {
    if url.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Some("net/url: invalid control character in URL".into());
    }
    if url.starts_with(':') {
        return Some("missing protocol scheme".into());
    }
    let first = url.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((scheme, _)) = first.split_once(':')
        && !is_scheme(scheme)
    {
        return Some("first path segment in URL cannot contain colon".into());
    }
    let bytes = url.as_bytes();
    let broken = |i: &usize| {
        let digits = bytes.get(i + 1..i + 3).unwrap_or_default();
        bytes[*i] == b'%' && !(digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit))
    };
    (0..bytes.len()).find(broken).map(|i| {
        let end = bytes.len().min(i + 3);
        let escape = String::from_utf8_lossy(&bytes[i..end]);
        format!("invalid URL escape {escape:?}")
    })
}

/// A reference to a service: name, namespace, path and port.
pub(crate) fn validate_service(
    errors: &mut Errors,
    at: &Path,
    (namespace, name): (&str, &str),
    path: Option<&str>,
    port: i32,
) {
    if name.is_empty() {
        errors.push(FieldError::required(at.f("name"), ""));
    }
    if namespace.is_empty() {
        errors.push(FieldError::required(at.f("namespace"), ""));
    }
    let found = names::port_number(i64::from(port));
    if !found.is_empty() {
        let text = format!("port is not valid: {}", found.join(", "));
        errors.push(FieldError::invalid(at.f("port"), port, text));
    }
    let at = at.f("path");
    let path = match path {
        None | Some("" | "/") => return,
        Some(path) => path,
    };
    let mut say = |text: String| errors.push(FieldError::invalid(&at, path, text));
    if path == "//" {
        say("segment[0] may not be empty".into());
        return;
    }
    if !path.starts_with('/') {
        say("must start with a '/'".into());
    }
    let mut start = path.chars();
    start.next();
    let checked = start.as_str();
    let checked = checked.strip_suffix('/').unwrap_or(checked);
    for (i, step) in checked.split('/').enumerate() {
        if step.is_empty() {
            say(format!("segment[{i}] may not be empty"));
        }
        if !step.is_empty() {
            for failure in names::dns_subdomain(step) {
                say(format!("segment[{i}]: {failure}"));
            }
        }
    }
}
