//! Carrying out what a plan says, one action per task; what comes of it goes to the pod's supervisor.

pub(crate) mod container;
pub(crate) mod credentials;
pub(crate) mod end;
pub(crate) mod hooks;
pub(crate) mod image;
pub(crate) mod probe;
pub(crate) mod resize;
pub(crate) mod sandbox;
pub(crate) mod token;
pub(crate) mod volumes;

use crate::pod::context::Work;
use corten_podplan::{Action, Input};
use std::sync::Arc;

/// Carries out `action` and tells the supervisor what came of it.
pub(crate) async fn carry_out(work: Arc<Work>, action: Action) {
    match action {
        Action::MountVolumes => {
            let result = volumes::mount(&work).await;
            work.send(Input::Volumes(result));
        }
        Action::CreateSandbox { attempt } => {
            let result = sandbox::create(&work, attempt).await;
            work.send(Input::Sandbox(result));
        }
        Action::Pull { container } => {
            let result = image::ensure(&work, &container).await;
            work.send(Input::Image(container, result));
        }
        Action::Start { container, attempt } => {
            let result = container::start(&work, &container, attempt).await;
            work.send(Input::Started(container, result));
        }
        Action::PreStop {
            container,
            id,
            deadline,
            ..
        } => {
            hooks::pre_stop(&work, &container, &id, deadline).await;
            work.send(Input::HookDone(container));
        }
        Action::Stop {
            container,
            id,
            grace,
            ..
        } => end::stop(&work, container, &id, grace).await,
        Action::Probe {
            container,
            id,
            kind,
        } => {
            let result = probe::run(&work, &container, &id, kind).await;
            work.send(Input::Probed(container, id, kind, result));
        }
        Action::Resize { changes, lowered } => {
            let result = resize::resize(&work, changes, &lowered).await;
            work.send(Input::Resized(result));
        }
        Action::Release => work.send(Input::Released(end::release(&work).await)),
        Action::Clean => work.send(Input::Cleaned(end::clean(&work).await)),
        // The supervisor itself records events and has the object deleted by the status writer.
        Action::Tell { .. }
        | Action::Restart { .. }
        | Action::FinishResize { .. }
        | Action::Delete => {}
    }
}

/// Runs blocking work of an engine.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the work was cancelled: {error}")),
    }
}
