//! URLs as Go reads them: absolute ones and absolute paths.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::val::{Key, MapVal, Text, Val};

/// A parsed URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// Parses what a request line may hold.
///
/// # Errors
/// Why Go does not take it.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let fail = |why: &str| Err(format!("parse {text:?}: {why}"));
    if text.is_empty() {
        return fail("empty url");
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return fail("net/url: invalid control character in URL");
    }
    if text == "*" {
        return Ok(Url {
            path: "*".into(),
            ..Url::default()
        });
    }
    let (scheme, rest) = match scheme(text) {
        Ok(found) => found,
        Err(why) => return fail(why),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            // An opaque part is fine.
            return Ok(Url {
                scheme,
                query: query.into(),
                ..Url::default()
            });
        }
        return fail("invalid URI for request");
    }
    let (mut host, mut path) = (String::new(), rest);
    if let Some(after) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        let end = after.find('/').unwrap_or(after.len());
        let authority = &after[..end];
        host = authority.rsplit('@').next().unwrap_or("").to_owned();
        path = &after[end..];
        if let Err(why) = check_host(&host) {
            return fail(&why);
        }
    }
    if let Some(at) = bad_escape(path) {
        return fail(&format!("invalid URL escape {at:?}"));
    }
    Ok(Url {
        scheme,
        host,
        path: path.split('#').next().unwrap_or("").to_owned(),
        query: query.split('#').next().unwrap_or("").to_owned(),
    })
}

fn scheme(text: &str) -> Result<(String, &str), &'static str> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            '0'..='9' | '+' | '-' | '.' => return Ok((String::new(), text)),
            ':' if i == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((text[..i].to_lowercase(), &text[i + 1..])),
            _ => return Ok((String::new(), text)),
        }
    }
    Ok((String::new(), text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if let Some(end) = host.rfind(']') {
        &host[end + 1..]
    } else {
        host.find(':').map_or("", |i| &host[i..])
    };
    if host.starts_with('[') && !host.contains(']') {
        return Err("missing ']' in host".into());
    }
    if !port.is_empty()
        && (!port.starts_with(':') || !port[1..].bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(c) = host
        .chars()
        .find(|c| matches!(c, ' ' | '\\' | '^' | '`' | '{' | '}' | '|'))
    {
        return Err(format!(
            "invalid character {:?} in host name",
            c.to_string()
        ));
    }
    Ok(())
}

fn bad_escape(text: &str) -> Option<&str> {
    let mut at = 0;
    while let Some(i) = text[at..].find('%') {
        let start = at + i;
        let fine = text
            .get(start + 1..start + 3)
            .is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        if !fine {
            let end = (start + 3).min(text.len());
            return text.get(start..end).or(Some("%"));
        }
        at = start + 3;
    }
    None
}

impl Url {
    fn split_host(&self) -> (&str, &str) {
        if let Some(end) = self.host.rfind(']') {
            let port = self.host[end + 1..].trim_start_matches(':');
            return (self.host[..end].trim_start_matches('['), port);
        }
        self.host.rsplit_once(':').unwrap_or((&self.host, ""))
    }

    /// Calls a member function.
    pub(crate) fn member<'a>(&self, function: &str) -> Option<Val<'a>> {
        let (name, port) = self.split_host();
        Some(Val::text(match function {
            "getScheme" => self.scheme.as_str(),
            "getHost" => &self.host,
            "getHostname" => name,
            "getPort" => port,
            "getEscapedPath" => &self.path,
            "getQuery" => return Some(self.query()),
            _ => return None,
        }))
    }

    fn query<'a>(&self) -> Val<'a> {
        let mut all: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
        for pair in self
            .query
            .split('&')
            .filter(|p| !p.is_empty() && !p.contains(';'))
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
                all.entry(key).or_default().push(Val::text(value));
            }
        }
        let map = all
            .into_iter()
            .map(|(k, v)| (Key::Str(Text::Own(k.into())), Val::list(v)));
        Val::Map(MapVal::Own(Rc::new(map.collect())))
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let high = (bytes.next()? as char).to_digit(16)?;
                let low = (bytes.next()? as char).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b => b,
        });
    }
    String::from_utf8(out).ok()
}
