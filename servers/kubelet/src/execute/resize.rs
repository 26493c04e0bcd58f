//! Writing the limits of a pod's resize, in the order of the plan, until one of them fails.

use crate::container::limits;
use crate::pod::context::Work;
use corten_podplan::{Change, Resized, Target};
use corten_runtime::ContainerId;

/// Writes `changes`, unless a memory limit among `lowered` would be below what is used.
pub(crate) async fn resize(
    work: &Work,
    changes: Vec<Change>,
    lowered: &[(Target, i64)],
) -> Resized {
    let mut result = Resized::default();
    if let Err(error) = check_usage(work, lowered).await {
        result.error = Some(error);
        return result;
    }
    for change in changes {
        if let Err(error) = write(work, &change).await {
            result.error = Some(error);
            return result;
        }
        result.done.push(change);
    }
    result
}

async fn write(work: &Work, change: &Change) -> Result<(), String> {
    let runtime = &work.context.engines.runtime;
    let resources = limits::part(&change.sizes, change.knob);
    let written = match &change.target {
        Target::Pod => {
            let sandbox = work.sandbox().ok_or("the pod has no sandbox")?;
            runtime.update_sandbox_resources(&sandbox, &resources).await
        }
        Target::Container(_, id) => {
            let id = ContainerId::new(work.context.bare_id(id));
            runtime.update_resources(&id, &resources).await
        }
    };
    written.map_err(|error| error.to_string())
}

/// The memory that a pod or a container uses, in bytes.
async fn usage(work: &Work, target: &Target) -> Option<u64> {
    let runtime = &work.context.engines.runtime;
    let stats = match target {
        Target::Pod => runtime.sandbox_stats(&work.sandbox()?).await,
        Target::Container(_, id) => {
            let id = ContainerId::new(work.context.bare_id(id));
            runtime.container_stats(&id).await
        }
    };
    stats.ok().map(|stats| stats.memory.usage)
}

async fn check_usage(work: &Work, lowered: &[(Target, i64)]) -> Result<(), String> {
    let mut errors = Vec::new();
    for (target, limit) in lowered {
        let what = match target {
            Target::Pod => "pod".to_owned(),
            Target::Container(name, _) => format!("container {:?}", name.as_str()),
        };
        match usage(work, target).await {
            None => errors.push(format!("missing {what} memory usage")),
            Some(used) if used >= u64::try_from(*limit).unwrap_or(0) => errors.push(format!(
                "attempting to set {what} memory limit ({limit}) below current usage ({used})"
            )),
            Some(_) => {}
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("cannot decrease memory limits: {one}")),
        many => Err(format!(
            "cannot decrease memory limits: [{}]",
            many.join(", ")
        )),
    }
}
