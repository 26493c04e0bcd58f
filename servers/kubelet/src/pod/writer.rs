//! Writes a pod's status: the newest one only, urgent changes at once, progress shortly afterwards in one write.
//!
//! Invariant: a status goes out as a patch of what changed, bound to the pod's UID; the deletion of the object comes
//! after its last status.

use crate::pod::context::{Context, Message};
use corten_api::core::v1::{Pod, PodStatus};
use corten_client::{Error, Options, PatchKind, Preconditions};
use corten_core::{Value, ValueMap, to_value};
use corten_podplan::{Input, Plan};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long progress that nobody waits for is gathered into one write.
const GATHER: Duration = Duration::from_millis(250);
/// Waits between attempts to reach the server, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What the supervisor wants of the API.
#[derive(Clone, Debug, Default)]
struct Wish {
    status: Option<PodStatus>,
    delete: bool,
    /// How often the deletion was asked for.
    deletions: u32,
}

/// The writer of one pod; dropping it ends its task.
pub(crate) struct Writer {
    wishes: watch::Sender<Wish>,
}

impl Writer {
    pub(crate) fn start(
        context: Arc<Context>,
        pod: Arc<Pod>,
        inbox: mpsc::UnboundedSender<Message>,
    ) -> Writer {
        let (wishes, receiver) = watch::channel(Wish::default());
        let task = Task {
            context,
            pod: pod.clone(),
            inbox,
            written: pod.status.clone(),
        };
        tokio::spawn(task.run(receiver));
        Writer { wishes }
    }

    /// The status shall read so.
    pub(crate) fn report(&self, plan: &Plan) {
        self.wishes.send_if_modified(|wish| {
            let changed = wish.status.as_ref() != Some(&plan.report);
            if changed {
                wish.status = Some(plan.report.clone());
            }
            changed
        });
    }

    /// The object shall go, after its last status.
    pub(crate) fn delete(&self) {
        self.wishes.send_modify(|wish| {
            wish.delete = true;
            wish.deletions += 1;
        });
    }
}

struct Task {
    context: Arc<Context>,
    pod: Arc<Pod>,
    inbox: mpsc::UnboundedSender<Message>,
    written: PodStatus,
}

/// Whether there is no such object any more.
fn is_gone(error: &Error) -> bool {
    error.is_not_found() || error.is_conflict()
}

/// Whether somebody waits for the change from `old` to `new`.
fn urgent(old: &PodStatus, new: &PodStatus) -> bool {
    let ready = |s: &PodStatus| {
        s.conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let restarts = |s: &PodStatus| {
        s.container_statuses
            .iter()
            .map(|c| c.restart_count)
            .sum::<i32>()
    };
    ready(old) != ready(new)
        || (old.phase != new.phase && !matches!(new.phase.as_str(), "Pending" | "Running"))
        || restarts(old) != restarts(new)
}

impl Task {
    async fn run(mut self, mut wishes: watch::Receiver<Wish>) {
        let mut wait = RETRY.0;
        let mut asked = 0;
        loop {
            let wish = wishes.borrow_and_update().clone();
            let target = wish.status.clone().filter(|status| *status != self.written);
            let Some(target) = target else {
                if wish.delete && asked != wish.deletions {
                    asked = wish.deletions;
                    self.delete().await;
                }
                if wishes.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if !wish.delete && !urgent(&self.written, &target) {
                let gathered = async {
                    loop {
                        if wishes.changed().await.is_err() {
                            return;
                        }
                        let now = wishes.borrow_and_update().clone();
                        if now.delete
                            || now
                                .status
                                .as_ref()
                                .is_some_and(|s| urgent(&self.written, s))
                        {
                            return;
                        }
                    }
                };
                let _ = tokio::time::timeout(GATHER, gathered).await;
            }
            let target = wishes.borrow_and_update().status.clone().unwrap_or(target);
            match self.write(&target).await {
                Ok(()) => wait = RETRY.0,
                // The mirror of a static pod may be still to come.
                Err(error) if is_gone(&error) && !crate::manifests::is_static(&self.pod) => {
                    self.written = target;
                }
                Err(error) => {
                    tracing::warn!(pod = %self.pod.metadata.full_name(), %error, "a pod's status could not be written");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn write(&mut self, target: &PodStatus) -> Result<(), Error> {
        let patch = patch(&self.pod, &self.written, target)?;
        let meta = &self.pod.metadata;
        let patch = corten_codec::json::encode_value(&patch);
        let client = &self.context.client;
        client
            .patch::<Pod>(
                &meta.namespace,
                &meta.name,
                "status",
                PatchKind::Strategic,
                patch,
            )
            .await?;
        self.written = target.clone();
        Ok(())
    }

    async fn delete(&self) {
        let meta = &self.pod.metadata;
        let options = Options {
            grace_period_seconds: Some(0),
            preconditions: Preconditions {
                uid: Some(meta.uid.to_string()),
                ..Preconditions::default()
            },
            ..Options::default()
        };
        let result = self
            .context
            .client
            .delete::<Pod>(&meta.namespace, &meta.name, options)
            .await;
        let result = match result {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.to_string()),
            _ => Ok(()),
        };
        let _ = self.inbox.send(Message::Input(Input::Deleted(result)));
    }
}

/// The fields of the status that differ, as a strategic merge patch.
fn patch(pod: &Pod, old: &PodStatus, new: &PodStatus) -> Result<Value, Error> {
    let value = |status: &PodStatus| to_value(status).map_err(|e| Error::Connection(e.to_string()));
    let (old, new) = (value(old)?, value(new)?);
    let empty = ValueMap::new();
    let (old, new) = (
        old.as_map().unwrap_or(&empty),
        new.as_map().unwrap_or(&empty),
    );
    let mut status = ValueMap::new();
    for (key, value) in new.iter() {
        if old.get(key) == Some(value) {
            continue;
        }
        let value = match key.as_str() {
            "conditions" => changed_conditions(old.get(key), value),
            "resources" | "allocatedResources" => changed_map(old.get(key), value),
            "podIPs" | "hostIPs" => replaced(value),
            _ => value.clone(),
        };
        status.insert(key.clone(), value);
    }
    for (key, _) in old.iter().filter(|(key, _)| new.get(key).is_none()) {
        status.insert(key.clone(), Value::Null);
    }
    let mut patch = Value::map();
    // A static pod's mirror has a UID of its own.
    if !crate::manifests::is_static(pod) {
        patch.set(&["metadata", "uid"], pod.metadata.uid.clone());
    }
    patch.set(&["status"], status);
    Ok(patch)
}

fn changed_conditions(old: Option<&Value>, new: &Value) -> Value {
    let old = old.and_then(Value::as_list).unwrap_or_default();
    let new = new.as_list().unwrap_or_default();
    let mut list: Vec<Value> = new.iter().filter(|c| !old.contains(c)).cloned().collect();
    let named = |c: &Value, name: &Value| c.get("type") == Some(name);
    for name in old.iter().filter_map(|c| c.get("type")) {
        if !new.iter().any(|c| named(c, name)) {
            let mut gone = Value::map();
            gone.set(&["$patch"], "delete");
            gone.set(&["type"], name.clone());
            list.push(gone);
        }
    }
    Value::List(list)
}

/// A map with null for what the old one had beside it, at every depth.
fn changed_map(old: Option<&Value>, new: &Value) -> Value {
    let (Some(old), Some(own)) = (old.and_then(Value::as_map), new.as_map()) else {
        return new.clone();
    };
    let mut map = ValueMap::new();
    for (key, value) in own.iter() {
        map.insert(key.clone(), changed_map(old.get(key), value));
    }
    for (key, _) in old.iter().filter(|(key, _)| own.get(key).is_none()) {
        map.insert(key.clone(), Value::Null);
    }
    Value::Map(map)
}

/// A list that takes the place of the old one instead of being merged with it.
fn replaced(value: &Value) -> Value {
    let mut list = value.as_list().unwrap_or_default().to_vec();
    let mut directive = Value::map();
    directive.set(&["$patch"], "replace");
    list.push(directive);
    Value::List(list)
}
