//! Token cleaner: bootstrap tokens go when they expire.
//!
//! Invariant: a token whose expiration cannot be read counts as expired, as upstream has it; one without stays.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, resource};
use corten_api::core::v1::Secret;
use corten_core::Time;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "token-cleaner",
    service_account: "token-cleaner",
    primary: resource::<Secret>,
    wakes: &[],
    reconcile: plan,
};

/// Where bootstrap tokens are kept.
const NAMESPACE: &str = "kube-system";
/// The type of their secrets.
const TYPE: &str = "bootstrap.kubernetes.io/token";

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    if key.namespace != NAMESPACE {
        return None;
    }
    let secret = snapshot.get::<Secret>(NAMESPACE, &key.name)?;
    let expiration = secret.data.get("expiration")?;
    if secret.type_ != TYPE || expiration.is_empty() {
        return None;
    }
    let mut plan = Plan::default();
    let at = std::str::from_utf8(expiration)
        .ok()
        .and_then(|t| Time::parse(t).ok());
    match at.filter(|at| *at > context.now) {
        Some(at) => plan.wake_at(at),
        None => plan.write(Write::delete(secret, "the token has expired")),
    }
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use expect_test::expect;

    fn token(namespace: &str, kind: &str, expiration: &str) -> World {
        World::new(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: t, namespace: {namespace}}}\ntype: {kind}\ndata: {{expiration: {expiration}}}\n"
        ))
    }

    const TYPE: &str = "bootstrap.kubernetes.io/token";
    /// 2026-01-01T00:10:00Z
    const LATER: &str = "MjAyNi0wMS0wMVQwMDoxMDowMFo=";

    #[test]
    fn tokens_go_when_they_expire() {
        let mut world = token("kube-system", TYPE, LATER);
        expect!["wake at +600s"].assert_eq(&world.step(&CONTROLLER, "kube-system/t"));
        world.later(600);
        expect!["delete secrets kube-system/t"]
            .assert_eq(&world.step(&CONTROLLER, "kube-system/t"));
    }

    #[test]
    fn what_cannot_be_read_has_expired() {
        let mut world = token("kube-system", TYPE, "c29vbg==");
        expect!["delete secrets kube-system/t"]
            .assert_eq(&world.step(&CONTROLLER, "kube-system/t"));
    }

    #[test]
    fn other_secrets_stay() {
        for (namespace, kind, expiration) in [
            ("default", TYPE, "c29vbg=="),
            ("kube-system", "Opaque", "c29vbg=="),
            ("kube-system", TYPE, "''"),
        ] {
            let mut world = token(namespace, kind, expiration);
            expect![""].assert_eq(&world.step(&CONTROLLER, &format!("{namespace}/t")));
        }
    }
}
