//! Getting a container's image onto the node, by its pull policy and with the pod's credentials.

use crate::pod::context::Work;
use corten_api::core::v1::{Pod, Secret};
use corten_core::Str;
use corten_images::{Error, Image, Keyring, PullOptions, Reference};
use corten_podplan::Note;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The credentials that a pod's pull secrets hold.
fn keyring<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Keyring {
    let mut keyring = Keyring::default();
    for secret in secrets {
        let added = if let Some(content) = secret.data.get(".dockerconfigjson") {
            keyring.add_dockerconfigjson(content)
        } else if let Some(content) = secret.data.get(".dockercfg") {
            keyring.add_dockercfg(content)
        } else {
            continue;
        };
        if let Err(error) = added {
            tracing::warn!(secret = %secret.metadata.full_name(), %error, "an image pull secret is not readable");
        }
    }
    keyring
}

/// Go's text of a duration in whole milliseconds.
fn text(duration: Duration) -> String {
    let millis = duration.as_millis() as i64;
    if millis == 0 {
        return "0s".to_owned();
    }
    corten_core::Duration::from_nanos(millis * 1_000_000).to_string()
}

/// Makes the container's image present; gives the waiting reason and message when that is impossible.
pub(crate) async fn ensure(work: &Work, name: &str) -> Result<(), (Str, String)> {
    let pod = work.pod();
    let Some(container) = corten_podplan::container_of(&pod.spec, name) else {
        return Ok(());
    };
    let image = container.image.as_str();
    let found = image_of(work, &pod, name, image, &container.image_pull_policy).await?;
    work.set_image(name, found);
    Ok(())
}

/// The image `image`, pulled if the policy asks for it. Events are about the container `name`.
pub(crate) async fn image_of(
    work: &Work,
    pod: &Pod,
    name: &str,
    image: &str,
    policy: &str,
) -> Result<Arc<Image>, (Str, String)> {
    let store = &work.context.engines.images;
    let reference = Reference::parse(image).map_err(|error| {
        let text = format!("Failed to apply default image tag {image:?}: {error}");
        work.tell(Note::warning(name, "InspectFailed", text.clone()));
        ("InvalidImageName".into(), text)
    })?;
    let policy = match policy {
        "" if image.ends_with(":latest")
            || (reference.tag() == Some("latest") && !image.contains('@')) =>
        {
            "Always"
        }
        "" => "IfNotPresent",
        other => other,
    };
    if policy != "Always" {
        let present = store.resolve(image).map_err(|error| {
            let text = format!("Failed to inspect image {image:?}: {error}");
            work.tell(Note::warning(name, "InspectFailed", text.clone()));
            (Str::from("ImageInspectError"), text)
        })?;
        match present {
            Some(found) => {
                let text = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                work.tell(Note::normal(name, "Pulled", text));
                return Ok(found);
            }
            None if policy == "Never" => {
                let text =
                    format!("Container image {image:?} is not present with pull policy of Never");
                work.tell(Note::warning(name, "ErrImageNeverPull", text.clone()));
                work.tell(Note::warning(name, "Failed", "Error: ErrImageNeverPull"));
                return Err(("ErrImageNeverPull".into(), text));
            }
            None => {}
        }
    }
    pull(work, pod, name, image, &reference).await
}

async fn pull(
    work: &Work,
    pod: &Pod,
    name: &str,
    image: &str,
    reference: &Reference,
) -> Result<Arc<Image>, (Str, String)> {
    let secrets = match pod.spec.image_pull_secrets.is_empty() {
        true => Default::default(),
        false => work
            .referenced()
            .await
            .map(|(_, secrets)| secrets)
            .unwrap_or_default(),
    };
    let wanted = pod.spec.image_pull_secrets.iter().map(|s| s.name.clone());
    let (found, lost): (Vec<Str>, Vec<Str>) =
        wanted.partition(|name| secrets.get(name).is_some_and(Option::is_some));
    if !lost.is_empty() {
        let names: Vec<&str> = lost.iter().map(|n| n.as_str()).collect();
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            names.join(", ")
        );
        work.tell(Note::warning("", "FailedToRetrieveImagePullSecret", text));
    }
    let keyring = keyring(found.iter().filter_map(|name| secrets.get(name)?.as_ref()));
    let options = PullOptions {
        credentials: keyring.lookup(reference),
        ..PullOptions::default()
    };
    work.tell(Note::normal(
        name,
        "Pulling",
        format!("Pulling image {image:?}"),
    ));
    let begun = Instant::now();
    match work.context.engines.images.pull(image, &options).await {
        Ok(found) => {
            let took = text(begun.elapsed());
            let told = format!(
                "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {} bytes.",
                found.size
            );
            work.tell(Note::normal(name, "Pulled", told));
            Ok(found)
        }
        Err(error) => {
            work.tell(Note::warning(
                name,
                "Failed",
                format!("Failed to pull image {image:?}: {error}"),
            ));
            work.tell(Note::warning(name, "Failed", "Error: ErrImagePull"));
            Err(refused(image, &error))
        }
    }
}

fn refused(image: &str, error: &Error) -> (Str, String) {
    let unavailable = error.is_registry_unavailable();
    match unavailable {
        true => (
            "RegistryUnavailable".into(),
            format!("image pull failed for {image} because the registry is unavailable: {error}"),
        ),
        false => ("ErrImagePull".into(), error.to_string()),
    }
}
