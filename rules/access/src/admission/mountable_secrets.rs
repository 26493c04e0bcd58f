//! The ServiceAccount plugin's limit on secrets: with the annotation `kubernetes.io/enforce-mountable-secrets`, a pod
//! refers only to secrets that its account lists.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{EnvFromSource, EnvVar, Pod, ServiceAccount};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let create = review.is("", "pods") && review.operation == Operation::Create;
    let debug =
        review.is_part("", "pods", "ephemeralcontainers") && review.operation == Operation::Update;
    let Some(pod) = object.and_then(|o| o.downcast_ref::<Pod>()) else {
        return Ok(());
    };
    if !(create || debug) || (create && pod.metadata.annotations.contains_key(MIRROR)) {
        return Ok(());
    }
    let (namespace, name) = (review.namespace, pod.spec.service_account_name.as_str());
    if name.is_empty() {
        return Err(Denial::forbidden(format!(
            "no service account specified for pod {namespace}/{}",
            pod.metadata.name
        )));
    }
    let Some(account) = review.snapshot.get::<ServiceAccount>(namespace, name) else {
        return Err(Denial::forbidden(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        )));
    };
    let enforced = account.metadata.annotations.get(ENFORCE);
    // What Go reads as true.
    let yes = ["1", "t", "T", "TRUE", "true", "True"];
    if !enforced.is_some_and(|value| yes.contains(&value.as_str())) {
        return Ok(());
    }
    let found = match debug {
        true => ephemeral(pod, account),
        false => regular(pod, account),
    };
    found.map_or(Ok(()), |message| Err(Denial::forbidden(message)))
}

fn ephemeral(pod: &Pod, account: &ServiceAccount) -> Option<String> {
    pod.spec.ephemeral_containers.iter().find_map(|c| {
        let c = &c.ephemeral_container_common;
        environment(
            &format!("ephemeral container {}", c.name),
            &c.env,
            &c.env_from,
            account,
        )
    })
}

fn regular(pod: &Pod, account: &ServiceAccount) -> Option<String> {
    let lists = |secret: &str| account.secrets.iter().any(|s| s.name == secret);
    let account_name = &account.metadata.name;
    let volume = pod.spec.volumes.iter().find_map(|volume| {
        let secret = &volume.volume_source.secret.as_deref()?.secret_name;
        (!lists(secret)).then(|| {
            format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {account_name} does \
                 not reference that secret"
            )
        })
    });
    let init = || {
        pod.spec.init_containers.iter().find_map(|c| {
            environment(
                &format!("init container {}", c.name),
                &c.env,
                &c.env_from,
                account,
            )
        })
    };
    let containers = || {
        pod.spec.containers.iter().find_map(|c| {
            environment(
                &format!("container {}", c.name),
                &c.env,
                &c.env_from,
                account,
            )
        })
    };
    let pulls = || {
        let listed = |name: &str| account.image_pull_secrets.iter().any(|s| s.name == name);
        let mut pulls = pod.spec.image_pull_secrets.iter().enumerate();
        let (index, secret) = pulls.find(|(_, secret)| !listed(&secret.name))?;
        Some(format!(
            "imagePullSecrets[{index}].name=\"{}\" is not allowed because service account {account_name} does not \
             reference that imagePullSecret",
            secret.name
        ))
    };
    volume.or_else(init).or_else(containers).or_else(pulls)
}

fn environment(
    container: &str,
    env: &[EnvVar],
    env_from: &[EnvFromSource],
    account: &ServiceAccount,
) -> Option<String> {
    let lists = |secret: &str| account.secrets.iter().any(|s| s.name == secret);
    let refusal = |what: String, secret: &str| {
        format!(
            "{container} with {what} referencing secret.secretName=\"{secret}\" is not allowed because service account \
             {} does not reference that secret",
            account.metadata.name
        )
    };
    let variable = env.iter().find_map(|variable| {
        let key = variable.value_from.as_deref()?.secret_key_ref.as_deref()?;
        let secret = &key.local_object_reference.name;
        (!lists(secret)).then(|| refusal(format!("envVar {}", variable.name), secret))
    });
    variable.or_else(|| {
        env_from.iter().find_map(|source| {
            let secret = &source.secret_ref.as_deref()?.local_object_reference.name;
            (!lists(secret)).then(|| refusal("envFrom".to_owned(), secret))
        })
    })
}
