//! `WWW-Authenticate` challenges: parsing, and the requests for tokens that answer them. Pure.
//! Leaves out Digest and Negotiate, which no registry asks for.

use base64::Engine as _;
use serde::Deserialize;

use super::secrets::Credentials;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        /// The token service.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
        /// Why an earlier token was refused.
        error: Option<String>,
    },
}

/// A request to a token service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    pub(crate) url: String,
    /// Sent as a form with POST when there is one.
    pub(crate) form: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The strongest challenge among the values of `WWW-Authenticate`.
pub(crate) fn parse<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut found = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let parameters = parameters(rest);
            let get = |name: &str| {
                parameters
                    .iter()
                    .find(|(key, _)| key == name)
                    .map(|(_, value)| value.clone())
            };
            if let Some(realm) = get("realm") {
                let (service, scope, error) = (get("service"), get("scope"), get("error"));
                return Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                    error,
                });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            found = Some(Challenge::Basic);
        }
    }
    found
}

/// `key="value", key=value`; quoted values may hold commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((key, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => after
                .split_once(',')
                .map_or((after.trim().to_owned(), ""), |(v, l)| {
                    (v.trim().to_owned(), l)
                }),
        };
        out.push((key.trim().to_ascii_lowercase(), value));
        rest = left.trim_start_matches([' ', ',']);
    }
    out
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// The `Authorization` value for basic authentication.
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
    )
}

/// The request that gets a token for `scope` from a bearer challenge's service.
pub(crate) fn token_request(
    realm: &str,
    service: Option<&str>,
    scope: &str,
    credentials: Option<&Credentials>,
) -> TokenRequest {
    if let Some(Credentials::Identity(token)) = credentials {
        let mut form = format!(
            "grant_type=refresh_token&client_id=corten&scope={}",
            encode(scope)
        );
        if let Some(service) = service {
            form.push_str(&format!("&service={}", encode(service)));
        }
        form.push_str(&format!("&refresh_token={}", encode(token)));
        return TokenRequest {
            url: realm.to_owned(),
            form: Some(form),
            authorization: None,
        };
    }
    let separator = if realm.contains('?') { '&' } else { '?' };
    let mut url = format!("{realm}{separator}scope={}", encode(scope));
    if let Some(service) = service {
        url.push_str(&format!("&service={}", encode(service)));
    }
    let authorization = match credentials {
        Some(Credentials::Basic { username, password }) => Some(basic(username, password)),
        _ => None,
    };
    TokenRequest {
        url,
        form: None,
        authorization,
    }
}

/// The token in a token service's answer.
pub(crate) fn token(body: &[u8]) -> Option<String> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    [answer.token, answer.access_token]
        .into_iter()
        .find(|token| !token.is_empty())
}

/// Percent-encodes everything but unreserved characters.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges() {
        let header = r#"Bearer realm="https://auth.example/token",service="reg, istry",scope="repository:a/b:pull,push""#;
        assert_eq!(
            parse(["Basic realm=\"x\"", header].into_iter()),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("reg, istry".into()),
                scope: Some("repository:a/b:pull,push".into()),
                error: None,
            })
        );
        assert_eq!(parse(["basic realm=x"].into_iter()), Some(Challenge::Basic));
        assert_eq!(parse(["Negotiate"].into_iter()), None);
        assert_eq!(parse(["Bearer"].into_iter()), None);
    }

    #[test]
    fn asks_for_tokens() {
        let scope = "repository:a/b:pull";
        let plain = token_request("https://a/t", Some("s"), scope, None);
        assert_eq!(
            plain.url,
            "https://a/t?scope=repository%3Aa%2Fb%3Apull&service=s"
        );
        let identity = token_request(
            "https://a/t",
            None,
            scope,
            Some(&Credentials::Identity("r+t".into())),
        );
        assert!(identity.form.unwrap().ends_with("&refresh_token=r%2Bt"));
        assert_eq!(token(br#"{"access_token":"x"}"#).as_deref(), Some("x"));
        assert_eq!(
            token(br#"{"token":"y","access_token":"x"}"#).as_deref(),
            Some("y")
        );
        assert_eq!(token(b"{}"), None);
    }
}
