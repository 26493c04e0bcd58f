//! Bootstrap tokens: secrets `bootstrap-token-<id>` in kube-system with which nodes join.

use corten_access::UserInfo;
use corten_api::core::v1::Secret;

use crate::server::Server;

const GROUP: &str = "system:bootstrappers";

/// `[a-z0-9]{6}.[a-z0-9]{16}`.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// The user of a token that is one and usable; anything else is nobody's.
pub(super) fn user(server: &Server, token: &str) -> Option<UserInfo> {
    let (id, secret) = parts(token)?;
    let snapshot = server.typed.snapshot();
    let name = format!("bootstrap-token-{id}");
    let object = snapshot.find::<Secret>("kube-system", &name)?;
    match groups(server, &object, id, secret) {
        Ok(groups) => Some(UserInfo {
            name: format!("system:bootstrap:{id}"),
            groups,
            ..UserInfo::default()
        }),
        Err(why) => {
            tracing::debug!(name, why, "a bootstrap token that is not usable");
            None
        }
    }
}

fn groups(
    server: &Server,
    object: &Secret,
    id: &str,
    secret: &str,
) -> Result<Vec<String>, &'static str> {
    let text = |key: &str| {
        let value = object.data.get(key);
        value
            .and_then(|v| std::str::from_utf8(v).ok())
            .unwrap_or_default()
    };
    if object.metadata.deletion_timestamp.is_some() {
        return Err("is deleted and awaiting removal");
    }
    if object.type_ != "bootstrap.kubernetes.io/token" {
        return Err("has another type");
    }
    let kept = text("token-secret").as_bytes();
    if aws_lc_rs::constant_time::verify_slices_are_equal(kept, secret.as_bytes()).is_err() {
        return Err("has another secret");
    }
    if text("token-id") != id {
        return Err("has another id");
    }
    let expiration = text("expiration");
    if !expiration.is_empty() && server.is_past(expiration) {
        return Err("has expired");
    }
    if text("usage-bootstrap-authentication") != "true" {
        return Err("is not for authentication");
    }
    extra_groups(text("auth-extra-groups"))
}

/// All groups, sorted; a single one that may not be spoils the token.
fn extra_groups(text: &str) -> Result<Vec<String>, &'static str> {
    let mut groups = vec![GROUP.to_owned()];
    for group in text.split(',').filter(|_| !text.is_empty()) {
        if !is_bootstrap_group(group) {
            return Err("names a group that is not for bootstrapping");
        }
        groups.push(group.to_owned());
    }
    groups.sort();
    groups.dedup();
    Ok(groups)
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`.
fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|b| plain(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_two_parts() {
        assert!(parts("abcdef.0123456789abcdef").is_some());
        for wrong in [
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            "abcdef",
        ] {
            assert!(parts(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn only_groups_for_bootstrapping() {
        let all = "system:bootstrappers:z,system:bootstrappers:kubeadm:a";
        let expected = [
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:a",
            "system:bootstrappers:z",
        ];
        assert_eq!(extra_groups(all).unwrap(), expected);
        assert_eq!(extra_groups("").unwrap(), [GROUP]);
        for wrong in [
            "system:masters",
            "system:bootstrappers:",
            "system:bootstrappers:a-",
        ] {
            assert!(extra_groups(wrong).is_err(), "{wrong}");
        }
    }
}
