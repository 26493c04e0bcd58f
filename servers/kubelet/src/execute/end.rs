//! Ending: stopping a container, giving the sandbox and volumes back, removing everything of a pod.

use crate::execute::{blocking, container, sandbox};
use crate::labels;
use crate::pod::context::Work;
use corten_core::Str;
use corten_podplan::Input;
use corten_runtime::ContainerId;
use std::time::Duration;

/// Stops a container: signal, wait, kill.
pub(crate) async fn stop(work: &Work, name: Str, id: &str, grace: i64) {
    let id = ContainerId::new(work.context.bare_id(id));
    let grace = Duration::from_millis(u64::try_from(grace).unwrap_or_default());
    let stopped = work
        .context
        .engines
        .runtime
        .stop_container(&id, grace, None)
        .await;
    container::observe(work, &id).await;
    if let Err(error) = stopped {
        tracing::warn!(container = %id, %error, "a container could not be stopped");
        work.send(Input::StopFailed(name));
    }
}

/// Stops the sandbox and unmounts the volumes; containers and their logs stay.
pub(crate) async fn release(work: &Work) -> Result<(), String> {
    if let Some(id) = work.sandbox() {
        sandbox::disconnect(work, &id).await?;
        work.context
            .engines
            .runtime
            .stop_pod_sandbox(&id)
            .await
            .map_err(|e| e.to_string())?;
    }
    let _alone = work.volumes_busy.lock().await;
    let (volumes, uid) = (
        work.context.engines.volumes.clone(),
        work.pod().metadata.uid.to_string(),
    );
    blocking(move || volumes.release_all(&uid).map_err(|e| e.to_string())).await
}

/// Removes everything of the pod: sandboxes, containers, volumes, logs, directories.
pub(crate) async fn clean(work: &Work) -> Result<(), String> {
    let pod = work.pod();
    let runtime = &work.context.engines.runtime;
    for status in runtime
        .list_pod_sandboxes()
        .await
        .map_err(|e| e.to_string())?
    {
        if status.labels.get(labels::POD_UID).map(String::as_str) == Some(pod.metadata.uid.as_str())
        {
            sandbox::disconnect(work, &status.id).await?;
            runtime
                .remove_pod_sandbox(&status.id)
                .await
                .map_err(|e| e.to_string())?;
        }
    }
    let _alone = work.volumes_busy.lock().await;
    let (volumes, uid) = (
        work.context.engines.volumes.clone(),
        pod.metadata.uid.to_string(),
    );
    let (logs, directory) = (
        work.context.log_directory(&pod),
        work.context.pod_directory(&uid),
    );
    blocking(move || {
        volumes.tear_down(&uid).map_err(|e| e.to_string())?;
        for path in [logs, directory] {
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("failed to remove {}: {error}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    })
    .await
}
