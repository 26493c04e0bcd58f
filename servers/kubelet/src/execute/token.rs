//! Service account tokens bound to a pod, asked of the API and kept until they are four fifths through.

use crate::pod::context::{Token, Work};
use corten_api::Object;
use corten_api::authentication::v1::{BoundObjectReference, TokenRequest};
use corten_api::core::v1::ServiceAccount;
use corten_core::Str;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A token is renewed after a day at the latest.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A token of the pod's service account for `audience` (empty: the API server's own).
pub(crate) async fn token(work: &Work, audience: &str, seconds: i64) -> Result<Token, String> {
    if let Some(token) = work.token(audience, seconds) {
        return Ok(token);
    }
    let pod = work.pod();
    let account = match pod.spec.service_account_name.as_str() {
        "" => "default",
        name => name,
    };
    let mut request = TokenRequest::default();
    request.spec.expiration_seconds = Some(seconds);
    if !audience.is_empty() {
        request.spec.audiences = [Str::from(audience)].into_iter().collect();
    }
    request.spec.bound_object_ref = Some(Box::new(BoundObjectReference {
        kind: "Pod".into(),
        api_version: "v1".into(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }));
    let namespace = &pod.metadata.namespace;
    let client = &work.context.client;
    let object = client
        .post::<ServiceAccount>(namespace, account, "token", Object::from(request))
        .await
        .map_err(|status| format!("failed to fetch token: {status}"))?;
    let given = object
        .downcast_ref::<TokenRequest>()
        .ok_or("failed to fetch token: the server answered with something else")?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let life = Duration::from_secs((given.status.expiration_timestamp.unix() - now).max(10) as u64);
    let refresh_at = Instant::now() + (life * 4 / 5).min(AGE_MAX);
    let token = Token {
        text: given.status.token.to_string(),
        refresh_at,
    };
    work.set_token(audience, seconds, token.clone());
    Ok(token)
}
