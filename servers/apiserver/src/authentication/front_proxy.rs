//! A front proxy says for whom it speaks in headers; it is believed when its certificate comes from the front proxies'
//! authority and bears an allowed name. Invariant: these headers never reach anything behind authentication.

use http::HeaderMap;

use corten_access::UserInfo;

use super::{Authentication, Peer};

/// Which headers front proxies use, and which proxies are believed.
#[derive(Clone, Debug)]
pub(crate) struct RequestHeaders {
    /// Common names of proxies; any when empty.
    pub allowed_names: Vec<String>,
    /// Headers that hold the user's name.
    pub user: Vec<String>,
    /// Headers that hold the user's uid.
    pub uid: Vec<String>,
    /// Headers that hold groups.
    pub groups: Vec<String>,
    /// Prefixes of headers that hold extra facts.
    pub extra_prefixes: Vec<String>,
}

const STANDARD: [&str; 3] = ["x-remote-user", "x-remote-uid", "x-remote-group"];
const STANDARD_EXTRA: &str = "x-remote-extra-";

impl RequestHeaders {
    /// Removes every header of a front proxy, the standard ones always.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        for name in STANDARD {
            headers.remove(name);
        }
        for name in self.user.iter().chain(&self.uid).chain(&self.groups) {
            headers.remove(name.as_str());
        }
        let is_extra = |name: &str| {
            let prefixes = self.extra_prefixes.iter().map(String::as_str);
            prefixes
                .chain([STANDARD_EXTRA])
                .any(|prefix| has_prefix(name, prefix))
        };
        let extra: Vec<_> = headers
            .keys()
            .filter(|k| is_extra(k.as_str()))
            .cloned()
            .collect();
        for name in extra {
            headers.remove(name);
        }
    }

    fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let name = first(headers, &self.user)?;
        let mut user = UserInfo {
            name,
            uid: first(headers, &self.uid).unwrap_or_default(),
            ..UserInfo::default()
        };
        for header in &self.groups {
            user.groups.extend(
                headers
                    .get_all(header.as_str())
                    .iter()
                    .map(text)
                    .filter(|g| !g.is_empty()),
            );
        }
        for prefix in &self.extra_prefixes {
            for (header, value) in headers {
                if !has_prefix(header.as_str(), prefix) {
                    continue;
                }
                let key = unescape(&header.as_str()[prefix.len()..]);
                user.extra.entry(key).or_default().push(text(value));
            }
        }
        Some(user)
    }
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names
        .iter()
        .filter_map(|n| headers.get(n.as_str()))
        .map(text)
        .find(|v| !v.is_empty())
}

/// `%xx` decoded; as it is when that cannot be done.
pub(super) fn unescape(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            out.push(*byte);
            rest = after;
            continue;
        }
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let Some(value) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) else {
            return key.to_owned();
        };
        out.push(value);
        rest = &after[2..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The user a believed front proxy speaks for; nothing when it names none.
pub(super) fn user(
    authentication: &Authentication,
    peer: &Peer,
    headers: &HeaderMap,
    now: i64,
) -> Result<Option<UserInfo>, String> {
    let authorities = authentication.proxy_authorities.load();
    let Some(holder) = peer.proxy(&authorities, now)? else {
        return Ok(None);
    };
    let settings = &authentication.request_headers;
    if !settings.allowed_names.is_empty() && !settings.allowed_names.contains(&holder.common_name) {
        return Err(format!(
            "x509: subject with cn={} is not in the allowed list",
            holder.common_name
        ));
    }
    Ok(settings.user(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RequestHeaders {
        let one = |text: &str| vec![text.to_owned()];
        RequestHeaders {
            allowed_names: Vec::new(),
            user: one("X-Remote-User"),
            uid: one("X-Remote-Uid"),
            groups: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }

    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in text.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_a_user() {
        let given = headers(
            "X-Remote-User: jane\nX-Remote-Uid: 7\nX-Remote-Group: a\nX-Remote-Group: b\n\
             X-Remote-Extra-Acme.com%2fproject: x\nX-Remote-Extra-Scopes: y",
        );
        let user = settings().user(&given).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        let extra: Vec<_> = user
            .extra
            .iter()
            .map(|(k, v)| (k.as_str(), v.len()))
            .collect();
        assert_eq!(extra, [("acme.com/project", 1), ("scopes", 1)]);
        assert!(settings().user(&headers("X-Remote-Group: a")).is_none());
    }

    #[test]
    fn nothing_of_it_is_left() {
        let mut given = headers(
            "X-Remote-User: jane\nX-Remote-Extra-A: x\nX-Proxy-Name: y\nAccept: z\nX-Remote-Uid: 1",
        );
        let mut settings = settings();
        settings.user.push("X-Proxy-Name".into());
        settings.strip(&mut given);
        assert_eq!(
            given.keys().map(|k| k.as_str()).collect::<Vec<_>>(),
            ["accept"]
        );
    }

    #[test]
    fn keys_that_cannot_be_decoded_stay() {
        assert_eq!(unescape("a%2Fb"), "a/b");
        assert_eq!(unescape("a%zz"), "a%zz");
        assert_eq!(unescape("a%2"), "a%2");
    }
}
