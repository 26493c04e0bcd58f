//! Lifecycle hooks: commands, HTTP requests, sleeps.

use crate::clock;
use crate::execute::probe;
use crate::pod::context::Work;
use corten_api::core::v1::{Container, LifecycleHandler, Pod};
use corten_podplan::{Moment, Note};
use corten_runtime::ContainerId;
use std::time::Duration;

/// How long a hook's HTTP request may take.
const HTTP_TIME: Duration = Duration::from_secs(30);

/// Runs a hook to its end; the error is what upstream shows as the waiting message.
pub(crate) async fn run(
    work: &Work,
    pod: &Pod,
    container: &Container,
    id: &ContainerId,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command: Vec<String> = exec.command.iter().map(ToString::to_string).collect();
        let shown = go_list(&command);
        let runtime = &work.context.engines.runtime;
        let output = runtime.exec_sync(id, command, Duration::ZERO).await;
        let failed = |error: String, message: &str| {
            format!(
                "Exec lifecycle hook ({shown}) for Container {:?} in Pod {:?} failed - error: {error}, message: {message:?}",
                container.name.as_str(),
                corten_podplan::pod_name_and_uid(pod),
            )
        };
        return match output {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => {
                let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&output.stderr));
                let error = format!("command '{shown}' exited with {}: {text}", output.exit_code);
                Err(failed(error, &text))
            }
            Err(error) => Err(failed(error.to_string(), "")),
        };
    }
    if let Some(get) = &hook.http_get {
        let ips = work.ips();
        let ip = ips.first().map(String::as_str).unwrap_or_default();
        return probe::http_get(get, container, ip, HTTP_TIME, "kube-lifecycle")
            .await
            .map(drop);
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0) as u64)).await;
    }
    Ok(())
}

fn go_list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// Runs a container's preStop hook, until it ends or the deadline comes.
pub(crate) async fn pre_stop(work: &Work, name: &str, id: &str, deadline: Moment) {
    let pod = work.pod();
    let Some(container) = corten_podplan::container_of(&pod.spec, name) else {
        return;
    };
    let Some(hook) = container
        .lifecycle
        .as_ref()
        .and_then(|l| l.pre_stop.as_deref())
    else {
        return;
    };
    let id = ContainerId::new(work.context.bare_id(id));
    let ended = run(work, &pod, &container, &id, hook);
    if let Ok(Err(error)) = tokio::time::timeout(clock::until(deadline), ended).await {
        tracing::info!(pod = %pod.metadata.full_name(), container = name, %error, "a preStop hook failed");
        work.tell(Note::warning(
            name,
            "FailedPreStopHook",
            "PreStopHook failed",
        ));
    }
}
