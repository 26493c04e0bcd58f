//! Creating and starting a container: configuration from the spec, then the runtime, then the postStart hook.

use crate::container::{env, expand::expand, limits, mounts, security};
use crate::execute::{blocking, hooks};
use crate::labels;
use crate::pod::context::Work;
use crate::pod::instance::instance;
use corten_api::core::v1::{Container, Pod};
use corten_core::Str;
use corten_podplan::{Input, Note, resources};
use corten_runtime::{
    ContainerConfig, ContainerId, Error, ImageConfig, Mount, RootImage, StdinMode,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A waiting reason and its message.
pub(crate) type Refusal = (Str, String);

fn config_error(message: String) -> Refusal {
    ("CreateContainerConfigError".into(), message)
}

/// Creates and starts the container `name`.
pub(crate) async fn start(work: &Work, name: &str, attempt: u32) -> Result<(), Refusal> {
    let pod = work.pod();
    let container = corten_podplan::container_of(&pod.spec, name)
        .ok_or_else(|| config_error(format!("container {name} is not in the spec")))?
        .into_owned();
    let sandbox = work
        .sandbox()
        .ok_or_else(|| config_error("the pod has no sandbox".to_owned()))?;
    let image = work
        .image(name)
        .ok_or_else(|| config_error("the image is not resolved".to_owned()))?;
    security::check_non_root(&pod, &container, &image.config.user).map_err(config_error)?;
    let config = config(work, &pod, &container, &image, attempt).await?;
    let runtime = &work.context.engines.runtime;
    remove_old(work, name, attempt).await;
    let lease = work.context.engines.images.lease(&image);
    let id = match runtime.create_container(&sandbox, config).await {
        Ok(id) => id,
        Err(error @ Error::Invalid { .. }) => return Err(config_error(error.to_string())),
        Err(error) => return Err(("CreateContainerError".into(), error.to_string())),
    };
    drop(lease);
    work.tell(Note::normal(name, "Created", "Container created"));
    if let Err(error) = runtime.start_container(&id).await {
        observe(work, &id).await;
        return Err(("RunContainerError".into(), error.to_string()));
    }
    work.tell(Note::normal(name, "Started", "Container started"));
    observe(work, &id).await;
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|l| l.post_start.as_deref());
    if let Some(hook) = hook
        && let Err(message) = hooks::run(work, &pod, &container, &id, hook).await
    {
        work.tell(Note::warning(
            name,
            "FailedPostStartHook",
            "PostStartHook failed",
        ));
        work.tell(Note::normal(name, "Killing", "FailedPostStartHook"));
        let grace = pod
            .spec
            .termination_grace_period_seconds
            .unwrap_or(30)
            .max(2);
        let grace = std::time::Duration::from_secs(grace as u64);
        if let Err(error) = runtime.stop_container(&id, grace, None).await {
            tracing::warn!(container = %id, %error, "a container whose postStart hook failed could not be stopped");
        }
        observe(work, &id).await;
        return Err(("PostStartHookError".into(), message));
    }
    Ok(())
}

/// Tells the supervisor how the container is now.
pub(crate) async fn observe(work: &Work, id: &ContainerId) {
    if let Ok(status) = work.context.engines.runtime.container_status(id).await
        && let Some((name, instance)) = instance(&work.context, &status)
    {
        work.send(Input::Instance(name, instance));
    }
}

/// Removes all instances but the newest one, which `kubectl logs --previous` reads.
async fn remove_old(work: &Work, name: &str, attempt: u32) {
    if attempt < 2 {
        return;
    }
    let runtime = &work.context.engines.runtime;
    let uid = work.pod().metadata.uid.clone();
    for status in runtime.list_containers().await.unwrap_or_default() {
        let label = |key: &str| status.labels.get(key).map(String::as_str);
        let ours = label(labels::POD_UID) == Some(uid.as_str())
            && label(labels::CONTAINER_NAME) == Some(name);
        if ours && status.attempt + 1 < attempt {
            if let Err(error) = runtime.remove_container(&status.id).await {
                tracing::warn!(container = %status.id, %error, "an old container could not be removed");
            }
            if let Some(log) = &status.log_path {
                let _ = tokio::fs::remove_file(log).await;
            }
        }
    }
}

async fn config(
    work: &Work,
    pod: &Pod,
    container: &Container,
    image: &corten_images::Image,
    attempt: u32,
) -> Result<ContainerConfig, Refusal> {
    let context = &work.context;
    let (config_maps, secrets) = work.referenced().await.map_err(config_error)?;
    let ips = work.ips();
    let sources = env::Sources {
        pod,
        facts: &context.facts,
        pod_ips: &ips,
        config_maps: &config_maps,
        secrets: &secrets,
        services: &context.mirror.snapshot(),
    };
    let env = env::environment(container, &sources).map_err(config_error)?;
    let (mounts, termination) = mounts_of(work, pod, container, &env, attempt).await?;
    let value = |name: &str| {
        env.iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
    };
    let expanded = |list: &corten_core::List<Str>| list.iter().map(|t| expand(t, value)).collect();
    let log = context
        .log_directory(pod)
        .join(container.name.as_str())
        .join(format!("{attempt}.log"));
    let label = |key: &str, value: &Str| (key.to_owned(), value.to_string());
    Ok(ContainerConfig {
        name: container.name.to_string(),
        attempt,
        labels: labels_of(pod, container),
        annotations: [
            (
                labels::TERMINATION_FILE.to_owned(),
                termination.display().to_string(),
            ),
            label(
                labels::TERMINATION_POLICY,
                &container.termination_message_policy,
            ),
        ]
        .into(),
        image: root_image(context, image, container),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.to_string(),
        security: security::security(pod, container, &context.options.root.join("seccomp")),
        resources: limits::container_limits(&pod.spec, container),
        oom_score_adj: Some(resources::oom_score_adj(
            &pod.spec,
            container,
            context.facts.memory,
        )),
        mounts,
        log_path: Some(log),
        stdin: stdin(container),
        tty: container.tty,
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|l| l.stop_signal.as_deref().map(str::to_owned)),
        env,
        ..ContainerConfig::default()
    })
}

fn stdin(container: &Container) -> StdinMode {
    match (container.stdin, container.stdin_once) {
        (false, _) => StdinMode::Closed,
        (true, false) => StdinMode::Open,
        (true, true) => StdinMode::Once,
    }
}

fn labels_of(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let label = |key: &str, value: &Str| (key.to_owned(), value.to_string());
    [
        label(labels::POD_NAME, &pod.metadata.name),
        label(labels::POD_NAMESPACE, &pod.metadata.namespace),
        label(labels::POD_UID, &pod.metadata.uid),
        label(labels::CONTAINER_NAME, &container.name),
    ]
    .into()
}

/// An image as the runtime needs it.
fn root_image(
    context: &crate::pod::context::Context,
    image: &corten_images::Image,
    container: &Container,
) -> RootImage {
    let mut layers = context.engines.images.lower_directories(image);
    layers.reverse();
    let run = &image.config;
    // The name by which the image was asked for, in full.
    let name = corten_images::Reference::parse(&container.image).map_or_else(
        |_| container.image.to_string(),
        |reference| reference.to_string(),
    );
    RootImage {
        layers,
        config: ImageConfig {
            env: run.env.clone(),
            entrypoint: run.entrypoint.clone(),
            cmd: run.cmd.clone(),
            working_dir: run.working_dir.clone(),
            user: run.user.clone(),
            stop_signal: Some(run.stop_signal.clone()).filter(|s| !s.is_empty()),
        },
        reference: image.image_ref(),
        name,
    }
}

/// The mounts of a container, and where its termination message will be.
async fn mounts_of(
    work: &Work,
    pod: &Pod,
    container: &Container,
    env: &[(String, String)],
    attempt: u32,
) -> Result<(Vec<Mount>, PathBuf), Refusal> {
    let directory = work.context.pod_directory(&pod.metadata.uid);
    let own = directory.join("containers").join(container.name.as_str());
    let termination = own.join(format!("termination-{attempt}"));
    let (engine, uid) = (
        work.context.engines.volumes.clone(),
        pod.metadata.uid.to_string(),
    );
    let (container, env, ready) = (container.clone(), env.to_vec(), work.ready());
    let file = termination.clone();
    let made = blocking(move || {
        let mut mounts = mounts::volumes(&engine, &uid, &container, &env, &ready)?;
        let failed = |e: std::io::Error| format!("failed to make {}: {e}", file.display());
        std::fs::create_dir_all(&own).map_err(failed)?;
        std::fs::write(&file, b"").map_err(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&file, mode).map_err(failed)?;
        let target = match container.termination_message_path.as_str() {
            "" => "/dev/termination-log",
            path => path,
        };
        mounts::file(
            &container,
            directory.join("etc-hosts"),
            "/etc/hosts",
            &mut mounts,
        );
        mounts::file(
            &container,
            directory.join("etc-hostname"),
            "/etc/hostname",
            &mut mounts,
        );
        mounts::file(
            &container,
            directory.join("etc-resolv.conf"),
            "/etc/resolv.conf",
            &mut mounts,
        );
        mounts::file(&container, file.clone(), target, &mut mounts);
        Ok(mounts)
    })
    .await;
    made.map(|mounts| (mounts, termination))
        .map_err(config_error)
}
