//! Keeping the node's disk in bounds: rotating logs, collecting images.
//!
//! Sizes and uses cannot be watched for, so they are looked at now and then, as upstream does.

use crate::execute::blocking;
use crate::pod::context::Context;
use corten_images::{CollectionPolicy, ImageId, InUse};
use corten_runtime::{ContainerState, ContainerStatus};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const LOOK: Duration = Duration::from_secs(10);
/// Images are looked at every so many looks: 5 minutes.
const IMAGE_LOOKS: u32 = 30;
const LOG_BYTES_MAX: u64 = 10 << 20;
const LOG_FILES_MAX: usize = 5;

/// Works until its task is ended.
pub(crate) async fn keep_clean(context: Arc<Context>) {
    let mut looks: u32 = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        looks = looks.wrapping_add(1);
        let containers = context
            .engines
            .runtime
            .list_containers()
            .await
            .unwrap_or_default();
        for container in containers
            .iter()
            .filter(|c| c.state == ContainerState::Running)
        {
            rotate(&context, container).await;
        }
        if looks.is_multiple_of(IMAGE_LOOKS) {
            images(&context, &containers).await;
        }
    }
}

async fn rotate(context: &Context, container: &ContainerStatus) {
    let Some(log) = container.log_path.clone() else {
        return;
    };
    let full = tokio::fs::metadata(&log)
        .await
        .is_ok_and(|meta| meta.len() > LOG_BYTES_MAX);
    if !full {
        return;
    }
    let moved = blocking(move || {
        let stamp = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let to = PathBuf::from(format!("{}.{stamp}", log.display()));
        std::fs::rename(&log, &to).map_err(|e| format!("rename {}: {e}", log.display()))?;
        remove_oldest(&log).map_err(|e| format!("remove old logs of {}: {e}", log.display()))
    })
    .await;
    let reopened = match moved {
        Ok(()) => context
            .engines
            .runtime
            .reopen_log(&container.id)
            .await
            .map_err(|e| e.to_string()),
        Err(error) => Err(error),
    };
    if let Err(error) = reopened {
        tracing::warn!(container = %container.id, %error, "a log could not be rotated");
    }
}

/// The rotated files of a log, the oldest first.
pub(crate) fn rotated(log: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (log.parent(), log.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with(&prefix))
        })
        .collect();
    files.sort();
    Ok(files)
}

fn remove_oldest(log: &Path) -> std::io::Result<()> {
    let files = rotated(log)?;
    let surplus = files.len().saturating_sub(LOG_FILES_MAX - 1);
    files
        .iter()
        .take(surplus)
        .try_for_each(std::fs::remove_file)
}

async fn images(context: &Context, containers: &[ContainerStatus]) {
    let store = &context.engines.images;
    let references = containers
        .iter()
        .flat_map(|c| [c.image_ref.as_str(), c.image.as_str()]);
    let used: HashSet<ImageId> = references
        .filter_map(|name| store.resolve(name).ok().flatten())
        .map(|image| image.id)
        .collect();
    let in_use: InUse = Arc::new(move |id| used.contains(id));
    let now = SystemTime::now();
    if let Err(error) = store.observe_use(now, &in_use) {
        tracing::warn!(%error, "the use of images could not be noted");
    }
    if let Err(error) = store
        .collect(CollectionPolicy::default(), now, in_use)
        .await
    {
        tracing::warn!(%error, "images could not be collected");
    }
}
