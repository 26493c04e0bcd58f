//! Bearer tokens: where a request carries one, and which kind of token it is. Kinds that are checked in process come
//! first; the first that knows the token decides.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, UPGRADE};

use corten_access::UserInfo;

use super::{aggregate, bootstrap_token, service_account};
use crate::server::Server;

const PROTOCOLS: &str = "sec-websocket-protocol";
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Whom a token stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Token {
    pub user: UserInfo,
    /// Those of the wanted audiences that the token is for.
    pub audiences: Vec<String>,
    /// For the client.
    pub warnings: Vec<String>,
}

/// The token of the Authorization header.
pub(super) fn bearer(headers: &HeaderMap, warnings: &mut Vec<String>) -> Option<String> {
    let value = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok())?;
    let mut parts = value.trim().splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next()?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    if token.is_empty() {
        if parts.next().is_some() {
            warnings.push("the provided Authorization header contains extra space before the bearer token, and is ignored".to_owned());
        }
        return None;
    }
    Some(token.to_owned())
}

/// The token that a browser puts among the WebSocket subprotocols, which is taken out of them.
pub(super) fn web_socket_bearer(headers: &mut HeaderMap) -> Result<Option<String>, &'static str> {
    let upgrades = headers
        .get(UPGRADE)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !upgrades {
        return Ok(None);
    }
    let mut token = None;
    let mut others = Vec::new();
    for value in headers.get_all(PROTOCOLS) {
        for protocol in value.to_str().unwrap_or_default().split(',') {
            let protocol = protocol.trim();
            let Some(encoded) = protocol.strip_prefix(PROTOCOL_PREFIX) else {
                others.push(protocol.to_owned());
                continue;
            };
            if token.is_some() {
                return Err("multiple base64.bearer.authorization tokens specified");
            }
            use base64::Engine as _;
            let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(encoded)
                .map_err(|_| "invalid base64.bearer.authorization token encoding")?;
            let decoded = String::from_utf8(decoded)
                .map_err(|_| "invalid base64.bearer.authorization token")?;
            token = Some(decoded);
        }
    }
    let Some(token) = token.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    if others.is_empty() {
        return Err("missing additional subprotocol");
    }
    if let Ok(value) = others.join(",").parse() {
        headers.insert(PROTOCOLS, value);
    }
    Ok(Some(token))
}

/// Whom a token stands for, for one of the wanted audiences. `Err` says why nobody.
pub(crate) async fn token_user(
    server: &Arc<Server>,
    token: &str,
    audiences: &[String],
) -> Result<Token, String> {
    let authentication = &server.access.authentication;
    if let Some(user) = authentication.static_tokens.user(token)
        && let Some(found) = own_audiences(server, user.clone(), audiences)
    {
        return Ok(found);
    }
    let mut errors = Vec::new();
    match service_account::user(server, token, audiences) {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => {}
        Err(why) => errors.push(why),
    }
    if let Some(user) = bootstrap_token::user(server, token)
        && let Some(found) = own_audiences(server, user, audiences)
    {
        return Ok(found);
    }
    let issuers = authentication.issuers.load_full();
    for issuer in issuers.iter() {
        match issuer.user(server, token, audiences).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(why) => errors.push(why),
        }
    }
    if let Some(webhook) = &authentication.webhook {
        match webhook.user(server, token, audiences).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(why) => errors.push(why),
        }
    }
    match errors.is_empty() {
        true => Err("invalid bearer token".to_owned()),
        false => Err(aggregate(errors)),
    }
}

/// A token that names no audience is for the API itself; nobody's when something else is wanted.
pub(super) fn own_audiences(
    server: &Server,
    user: UserInfo,
    audiences: &[String],
) -> Option<Token> {
    let own = &server.config.audiences;
    let matching: Vec<String> = own
        .iter()
        .filter(|a| audiences.contains(a))
        .cloned()
        .collect();
    (!matching.is_empty()).then_some(Token {
        user,
        audiences: matching,
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        let mut warnings = Vec::new();
        let mut check = |value: &str| bearer(&with("authorization", value), &mut warnings);
        assert_eq!(check("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(check("bEaReR abc more").as_deref(), Some("abc"));
        assert_eq!(check("Basic abc"), None);
        assert_eq!(check("Bearer"), None);
        assert_eq!(check("Bearer  abc"), None);
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn browsers_put_it_among_the_protocols() {
        let protocol = format!("{PROTOCOL_PREFIX}YWJj");
        let check = |protocols: &str| {
            let mut headers = with(PROTOCOLS, protocols);
            headers.insert(UPGRADE, "websocket".parse().unwrap());
            let token = web_socket_bearer(&mut headers);
            (token, headers[PROTOCOLS].to_str().unwrap().to_owned())
        };
        let (token, left) = check(&format!("{protocol}, v4.channel.k8s.io"));
        assert_eq!(token.unwrap().as_deref(), Some("abc"));
        assert_eq!(left, "v4.channel.k8s.io");
        assert_eq!(check(&protocol).0, Err("missing additional subprotocol"));
        assert!(check(&format!("{protocol},{protocol},x")).0.is_err());
        assert_eq!(check("v4.channel.k8s.io").0, Ok(None));
        assert_eq!(web_socket_bearer(&mut with(PROTOCOLS, &protocol)), Ok(None));
    }
}
