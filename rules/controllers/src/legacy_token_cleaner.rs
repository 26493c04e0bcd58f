//! Legacy service account tokens: those made for accounts in earlier versions are marked invalid when they were not used
//! for a year, and deleted a year after that.
//!
//! Invariant: only tokens that their account lists and that no pod of the namespace mounts are touched, and none before
//! the API server has watched their use for a year.

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, resource};
use corten_api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use corten_core::{Str, Time};
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "legacy-serviceaccount-token-cleaner",
    service_account: "legacy-service-account-token-cleaner",
    primary: resource::<Secret>,
    wakes: &[],
    reconcile: plan,
};

/// A token goes unused for so long, seconds: a year.
const UNUSED: i64 = 365 * DAY;
const DAY: i64 = 24 * 3600;
/// The type of their secrets.
const TYPE: &str = "kubernetes.io/service-account-token";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// Where the API server writes since when it watches.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// The start of a day such as `2026-01-31`.
fn day(text: &str) -> Option<Time> {
    let shape = text.len() == 10;
    Time::parse(&format!("{text}T00:00:00Z"))
        .ok()
        .filter(|_| shape)
}

/// The day of a moment, as labels have it.
fn day_of(time: Time) -> String {
    time.to_string().chars().take(10).collect()
}

/// The account that lists the token as its own.
fn account<'a>(snapshot: &'a Snapshot, secret: &Secret) -> Option<&'a ServiceAccount> {
    let meta = &secret.metadata;
    let account = snapshot.get::<ServiceAccount>(&meta.namespace, meta.annotation(ACCOUNT))?;
    let uid = meta.annotation(ACCOUNT_UID);
    let listed = account.secrets.iter().any(|s| s.name == meta.name);
    ((uid.is_empty() || account.metadata.uid == uid) && listed).then_some(account)
}

/// Whether a pod refers to the secret, in a volume, its environment or for its images.
fn is_mounted(snapshot: &Snapshot, secret: &Secret) -> bool {
    let name = &secret.metadata.name;
    let mut pods = snapshot.list_in::<Pod>(&secret.metadata.namespace);
    pods.any(|pod| secret_names(pod).any(|used| used == name))
}

fn secret_names(pod: &Pod) -> impl Iterator<Item = &Str> {
    let spec = &pod.spec;
    let pulls = spec.image_pull_secrets.iter().map(|s| &s.name);
    let volumes = spec.volumes.iter().flat_map(|v| {
        let plain = v.volume_source.secret.iter().map(|s| &s.secret_name);
        let projected = v
            .volume_source
            .projected
            .iter()
            .flat_map(|p| p.sources.iter());
        let named = projected.filter_map(|s| Some(&s.secret.as_ref()?.local_object_reference.name));
        plain.chain(named)
    });
    let containers = spec.init_containers.iter().chain(spec.containers.iter());
    let variables = containers.flat_map(|c| {
        let whole = c
            .env_from
            .iter()
            .filter_map(|e| Some(&e.secret_ref.as_ref()?.local_object_reference.name));
        let keys = c.env.iter().filter_map(|e| {
            let key = e.value_from.as_ref()?.secret_key_ref.as_ref()?;
            Some(&key.local_object_reference.name)
        });
        whole.chain(keys)
    });
    pulls.chain(volumes).chain(variables)
}

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let secret = snapshot.get::<Secret>(&key.namespace, &key.name)?;
    if secret.type_ != TYPE || secret.metadata.deleting() {
        return None;
    }
    let tracking = snapshot.get::<ConfigMap>("kube-system", TRACKING)?;
    let tracked = day(tracking.data.get("since")?)?.plus_seconds(DAY + UNUSED);
    let mut plan = Plan::default();
    let last_used = secret.metadata.labels.get(LAST_USED);
    let used = match last_used {
        Some(text) => day(text)?.plus_seconds(DAY),
        None => Time::from_unix(0),
    };
    let due = tracked
        .max(secret.metadata.creation_timestamp.plus_seconds(UNUSED + 1))
        .max(used.plus_seconds(UNUSED));
    if due > context.now {
        plan.wake_at(due);
        return Some(plan);
    }
    if account(snapshot, secret).is_none() || is_mounted(snapshot, secret) {
        plan.wake_at(context.now.plus_seconds(DAY));
        return Some(plan);
    }
    let Some(since) = secret
        .metadata
        .labels
        .get(INVALID_SINCE)
        .and_then(|t| day(t))
    else {
        let mut new = secret.clone();
        new.metadata
            .labels
            .insert(INVALID_SINCE, day_of(context.now));
        plan.write_if(Write::patch(
            secret,
            &new,
            "the token was not used for a year",
        ));
        return Some(plan);
    };
    let end = since.plus_seconds(DAY + UNUSED);
    match end > context.now {
        true => plan.wake_at(end),
        false => {
            let gone = Write::delete(secret, "the token has been invalid for a year");
            plan.write(gone.only_if_unchanged(secret));
        }
    }
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use expect_test::{Expect, expect};

    fn check(labels: &str, more: &str, since: &str, wanted: Expect) {
        let mut world = World::new(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kube-apiserver-legacy-service-account-token-tracking, namespace: kube-system}}\ndata: {{since: '{since}'}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: a, namespace: d}}\nsecrets: [{{name: t}}]\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: t, namespace: d, creationTimestamp: '2020-01-01T00:00:00Z', labels: {{{labels}}}, annotations: {{kubernetes.io/service-account.name: a}}}}\ntype: kubernetes.io/service-account-token\n---\n{more}"
        ));
        wanted.assert_eq(&world.step(&CONTROLLER, "d/t"));
    }

    #[test]
    fn unused_tokens_are_marked_and_later_deleted() {
        check(
            "",
            "",
            "2024-01-01",
            expect![[
                r#"patch secrets d/t {"metadata":{"labels":{"kubernetes.io/legacy-token-invalid-since":"2026-01-01"}}}"#
            ]],
        );
        check(
            "kubernetes.io/legacy-token-invalid-since: '2025-06-01'",
            "",
            "2024-01-01",
            expect!["wake at +13132800s"],
        );
        check(
            "kubernetes.io/legacy-token-invalid-since: '2024-12-30'",
            "",
            "2024-01-01",
            expect!["delete secrets d/t"],
        );
    }

    #[test]
    fn what_is_used_or_not_known_long_enough_stays() {
        check("", "", "2025-12-01", expect!["wake at +28944000s"]);
        check(
            "kubernetes.io/legacy-token-last-used: '2025-12-01'",
            "",
            "2024-01-01",
            expect!["wake at +28944000s"],
        );
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d}\nspec: {volumes: [{name: v, secret: {secretName: t}}], containers: [{name: c}]}\n";
        check("", pod, "2024-01-01", expect!["wake at +86400s"]);
    }
}
