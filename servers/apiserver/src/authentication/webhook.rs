//! Tokens that another server knows: it is asked with a TokenReview and its answers are kept for a while.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use corten_access::UserInfo;

use super::tokens::Token;
use crate::remote::{Kept, Remote};
use crate::server::Server;

/// A server that knows tokens.
pub(crate) struct TokenWebhook {
    pub remote: Remote,
    /// `v1` or `v1beta1`.
    pub version: String,
    /// How long answers are kept, good and bad.
    pub time: Duration,
    pub kept: Kept<Option<Token>>,
}

const TIME_MAX: Duration = Duration::from_secs(30);

impl TokenWebhook {
    /// Whom a token stands for; nobody when the server does not know it.
    pub(super) async fn user(
        &self,
        server: &Server,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Token>, String> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let key = format!("{:?} {audiences:?}", digest.as_ref());
        if let Some(found) = self.kept.get(&key) {
            return Ok(found);
        }
        let body = json!({
            "kind": "TokenReview",
            "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": audiences},
            "status": {"user": {}},
        });
        let body = Bytes::from(body.to_string());
        let answer = self
            .remote
            .post(&server.outbound, body, TIME_MAX, false)
            .await?;
        let found = read(&answer["status"], &server.config.audiences, audiences)?;
        self.kept.keep(key, found.clone(), self.time);
        Ok(found)
    }
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn read(status: &Value, own: &[String], wanted: &[String]) -> Result<Option<Token>, String> {
    let mut given = texts(&status["audiences"]);
    if given.is_empty() {
        given = own.to_vec();
    }
    let matching: Vec<String> = wanted
        .iter()
        .filter(|a| given.contains(a))
        .cloned()
        .collect();
    if matching.is_empty() {
        return Ok(None);
    }
    if status["authenticated"] != json!(true) {
        return match status["error"].as_str().unwrap_or_default() {
            "" => Ok(None),
            error => Err(error.to_owned()),
        };
    }
    let user = &status["user"];
    let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
    let extra = user["extra"].as_object().into_iter().flatten();
    Ok(Some(Token {
        user: UserInfo {
            name: text("username"),
            uid: text("uid"),
            groups: texts(&user["groups"]),
            extra: extra.map(|(k, v)| (k.clone(), texts(v))).collect(),
        },
        audiences: matching,
        warnings: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let own = ["api".to_owned()];
        let read = |status: Value| read(&status, &own, &own);
        let user = json!({"username": "jane", "uid": "7", "groups": ["a"], "extra": {"k": ["v"]}});
        let found = read(json!({"authenticated": true, "user": user}))
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.user.name.as_str(), found.audiences),
            ("jane", own.to_vec())
        );
        assert_eq!(found.user.extra["k"], ["v"]);
        assert!(
            read(json!({"authenticated": true, "audiences": ["other"], "user": user}))
                .unwrap()
                .is_none()
        );
        assert!(read(json!({"authenticated": false})).unwrap().is_none());
        assert_eq!(
            read(json!({"authenticated": false, "error": "x"})).unwrap_err(),
            "x"
        );
    }
}
