//! Bootstrap signer: the kubeconfig in `kube-public/cluster-info` is signed with every bootstrap token that may sign, so
//! that whoever joins with a token can trust it.
//!
//! Invariant: exactly the signatures of the present tokens stand beside the kubeconfig.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{ConfigMap, Secret};
use corten_core::{Str, Time};
use corten_meta::{ObjectKey, Snapshot};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "bootstrap-signer",
    service_account: "bootstrap-signer",
    primary: resource::<ConfigMap>,
    wakes: &[Wake {
        on: Watched::One(resource::<Secret>),
        keys: signed_by,
    }],
    reconcile: plan,
};

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
const TOKENS: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const SIGNATURE: &str = "jws-kubeconfig-";

fn signed_by(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let ours = object
        .downcast_ref::<Secret>()
        .is_some_and(|secret| secret.type_ == TYPE && secret.metadata.namespace == TOKENS);
    if ours {
        vec![ObjectKey::new(NAMESPACE, NAME)]
    } else {
        Vec::new()
    }
}

/// Identity and secret of a token that may sign.
fn token(secret: &Secret, now: Time) -> Option<(Str, Str)> {
    let text = |key: &str| {
        let bytes = secret.data.get(key)?;
        std::str::from_utf8(bytes).ok().map(Str::from)
    };
    let id = text("token-id").filter(|id| !id.is_empty())?;
    let named = secret.metadata.name.strip_prefix("bootstrap-token-") == Some(id.as_str());
    let over = text("expiration")
        .filter(|at| !at.is_empty())
        .is_some_and(|at| Time::parse(&at).map_or(true, |at| at <= now));
    let signs = text("usage-bootstrap-signing").is_some_and(|t| t == "true");
    let own = text("token-secret").filter(|s| !s.is_empty())?;
    (secret.type_ == TYPE && named && !over && signs).then_some((id, own))
}

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    if key.namespace != NAMESPACE || key.name != NAME {
        return None;
    }
    let map = snapshot.get::<ConfigMap>(NAMESPACE, NAME)?;
    let content = map.data.get("kubeconfig")?;
    let secrets = snapshot.list_in::<Secret>(TOKENS);
    let tokens: BTreeMap<Str, Str> = secrets.filter_map(|s| token(s, context.now)).collect();
    let mut new = map.clone();
    new.data.retain(|name, _| !name.starts_with(SIGNATURE));
    for (id, secret) in &tokens {
        let signature = signature(content, id, secret);
        new.data.insert(format!("{SIGNATURE}{id}"), signature);
    }
    let mut plan = Plan::default();
    let write = Write::patch(map, &new, "its tokens or its kubeconfig changed");
    plan.write_if(write.map(|w| w.only_if_unchanged(map)));
    Some(plan)
}

/// A detached JSON web signature with HS256.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = base64(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#).as_bytes());
    let signed = format!("{header}.{}", base64(content.as_bytes()));
    format!(
        "{header}..{}",
        base64(&hmac(secret.as_bytes(), signed.as_bytes()))
    )
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut padded = [0_u8; BLOCK];
    match key.len() > BLOCK {
        true => padded[..32].copy_from_slice(&Sha256::digest(key)),
        false => padded[..key.len()].copy_from_slice(key),
    }
    let with = |byte: u8| padded.map(|b| b ^ byte);
    let inner = Sha256::new()
        .chain_update(with(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(with(0x5c))
        .chain_update(inner)
        .finalize();
    outer.to_vec()
}

/// Base 64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0_u8; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for place in 0..=chunk.len() {
            let digit = (word >> (18 - 6 * place)) & 63;
            out.push(char::from(DIGITS[digit as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{CONTROLLER, base64, hmac, signature};
    use crate::testing::World;
    use expect_test::expect;

    #[test]
    fn vectors() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let found = hex(hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(
            found,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            (base64(b"a"), base64(b"ab?"), base64(b"\xff\xef")),
            ("YQ".into(), "YWI_".into(), "_-8".into())
        );
        let wanted =
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk";
        assert_eq!(signature("", "joshua", "my voice is my passcode"), wanted);
    }

    #[test]
    fn the_signatures_are_those_of_the_tokens() {
        let mut world = World::new(
            "
apiVersion: v1
kind: ConfigMap
metadata: {name: cluster-info, namespace: kube-public}
data: {kubeconfig: x, jws-kubeconfig-gone00: old}
---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
data: {token-id: YWJjZGVm, token-secret: c2VjcmV0, usage-bootstrap-signing: dHJ1ZQ==}
---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-nosign, namespace: kube-system}
type: bootstrap.kubernetes.io/token
data: {token-id: bm9zaWdu, token-secret: c2VjcmV0}
",
        );
        let step = world.step(&CONTROLLER, "kube-public/cluster-info");
        let signed = signature("x", "abcdef", "secret");
        let wanted = format!(
            r#"patch configmaps kube-public/cluster-info {{"data":{{"jws-kubeconfig-abcdef":"{signed}","jws-kubeconfig-gone00":null}}}}"#
        );
        assert_eq!(step, wanted);
        expect![""].assert_eq(&world.step(&CONTROLLER, "kube-public/cluster-info"));
    }
}
