//! One task for each controller: changes come in, keys are queued, workers plan and execute.

use crate::execute::{Executed, execute};
use crate::queue::Queue;
use crate::recorder::Recorder;
use corten_api::Object;
use corten_client::{Changed, Client, Mirror, MirrorBuilder};
use corten_controllers::plan::Cluster;
use corten_controllers::registry::Watched;
use corten_controllers::{Context, Controller, Failure};
use corten_core::Time;
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey, Snapshot};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinSet;

/// Keys of one controller that are worked on at once, at most; upstream's default is 5 or more for most.
const WORKERS: usize = 8;
/// A write that the mirror does not show after so long is not waited for any longer: it may be outside its selection.
const OWN_WRITES_WAIT: Duration = Duration::from_secs(5);

/// What a driver needs beside controllers.
#[derive(Clone)]
pub struct Settings {
    /// A current snapshot of every kind that the controllers look at; see [`mirror_for`].
    pub mirror: Mirror,
    /// The client of a service account in kube-system.
    pub client_of: Arc<dyn Fn(&str) -> Client + Send + Sync>,
    /// What holds for the whole cluster.
    pub cluster: Cluster,
}

/// Running controllers; they stop when this is dropped.
#[derive(Debug)]
pub struct Driver {
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A mirror of all that `controllers` look at; `served` are all resources that the API server stores.
pub fn mirror_for(controllers: &[Controller], served: &[GroupVersionResource]) -> MirrorBuilder {
    let mut wanted = BTreeMap::new();
    let mut want = |resource: GroupVersionResource| {
        wanted.entry(resource.group_resource()).or_insert(resource);
    };
    for controller in controllers {
        want((controller.primary)());
        for wake in controller.wakes {
            match wake.on {
                Watched::One(resource) => want(resource()),
                Watched::Every => served.iter().cloned().for_each(&mut want),
            }
        }
    }
    wanted
        .into_values()
        .fold(Mirror::builder(), MirrorBuilder::dynamic)
}

impl Driver {
    /// Starts `controllers`. Must be called on a tokio runtime.
    pub fn start(settings: &Settings, controllers: &[Controller]) -> Driver {
        let tasks = controllers.iter().map(|controller| {
            let client = (settings.client_of)(controller.service_account);
            let task = Task {
                recorder: Recorder::start(client.clone(), controller.service_account, ""),
                controller: *controller,
                client,
                mirror: settings.mirror.clone(),
                cluster: settings.cluster.clone(),
                started: Instant::now(),
                queue: Queue::default(),
                failures: FxHashMap::default(),
            };
            tokio::spawn(task.run())
        });
        Driver {
            tasks: tasks.collect(),
        }
    }
}

struct Task {
    controller: Controller,
    client: Client,
    recorder: Recorder,
    mirror: Mirror,
    cluster: Cluster,
    started: Instant,
    queue: Queue<ObjectKey>,
    failures: FxHashMap<ObjectKey, Failure>,
}

/// How one reconcile ended.
struct Finished {
    key: ObjectKey,
    executed: Executed,
    wake_at: Option<Time>,
}

impl Task {
    async fn run(mut self) {
        self.mirror.wait_synced().await;
        let mut changes = self.mirror.changes();
        self.wake_everything();
        let mut workers: JoinSet<Finished> = JoinSet::new();
        loop {
            while workers.len() < WORKERS {
                let Some(key) = self.queue.take(self.millis()) else {
                    break;
                };
                self.begin(&mut workers, key);
            }
            let deadline = self
                .queue
                .next_deadline()
                .filter(|_| workers.len() < WORKERS);
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => self.take_changes(change, &mut changes),
                    Err(RecvError::Lagged(_)) => self.wake_everything(),
                    Err(RecvError::Closed) => return,
                },
                Some(finished) = workers.join_next(), if !workers.is_empty() => match finished {
                    Ok(finished) => self.finish(finished),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = sleep_until(self.started, deadline), if deadline.is_some() => {}
            }
        }
    }

    fn millis(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Queues what every object of the snapshot concerns: at the start, and after changes were missed.
    fn wake_everything(&mut self) {
        let snapshot = self.mirror.snapshot();
        for (resource, table) in snapshot.resources() {
            for (key, object) in table.iter() {
                self.route(&snapshot, resource, key, &[object]);
            }
        }
    }

    /// Queues what `change` and everything that has arrived behind it concern.
    fn take_changes(&mut self, change: Changed, changes: &mut broadcast::Receiver<Changed>) {
        let snapshot = self.mirror.snapshot();
        let mut next = change;
        loop {
            let objects: Vec<&Arc<Object>> = [&next.old, &next.new].into_iter().flatten().collect();
            self.route(
                &snapshot,
                &next.resource.group_resource(),
                &next.key,
                &objects,
            );
            next = match changes.try_recv() {
                Ok(change) => change,
                Err(TryRecvError::Lagged(_)) => return self.wake_everything(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            };
        }
    }

    fn route(
        &mut self,
        snapshot: &Snapshot,
        resource: &GroupResource,
        key: &ObjectKey,
        objects: &[&Arc<Object>],
    ) {
        if (self.controller.primary)().group_resource() == *resource {
            self.queue.wake(key.clone());
        }
        for wake in self.controller.wakes {
            let watched = match wake.on {
                Watched::One(one) => one().group_resource() == *resource,
                Watched::Every => true,
            };
            for object in objects.iter().filter(|_| watched) {
                (wake.keys)(snapshot, object)
                    .into_iter()
                    .for_each(|key| self.queue.wake(key));
            }
        }
    }

    fn begin(&self, workers: &mut JoinSet<Finished>, key: ObjectKey) {
        let now = now();
        let context = Context {
            now,
            started: now.plus_seconds(-(self.started.elapsed().as_secs() as i64)),
            failure: self.failures.get(&key).cloned(),
            cluster: self.cluster.clone(),
        };
        let snapshot = self.mirror.snapshot();
        let plan = (self.controller.reconcile)(&snapshot, &key, &context).unwrap_or_default();
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        let (mirror, name) = (self.mirror.clone(), self.controller.name);
        workers.spawn(async move {
            let wake_at = plan.wake_at;
            if plan.is_empty() {
                return Finished {
                    key,
                    executed: Executed::default(),
                    wake_at,
                };
            }
            tracing::debug!(controller = name, %key, steps = plan.steps.len(), "execute");
            let executed = execute(&client, &recorder, &mirror, plan).await;
            let caught_up = async {
                for (resource, revision) in &executed.written {
                    mirror.wait_until(resource, *revision).await;
                }
            };
            if tokio::time::timeout(OWN_WRITES_WAIT, caught_up)
                .await
                .is_err()
            {
                tracing::warn!(controller = name, %key, "own writes did not come back");
            }
            Finished {
                key,
                executed,
                wake_at,
            }
        });
    }

    fn finish(&mut self, finished: Finished) {
        let Finished {
            key,
            executed,
            wake_at,
        } = finished;
        self.queue.done(&key);
        match executed.failure {
            Some(failure) => {
                if !executed.stale {
                    self.failures.insert(key.clone(), failure);
                }
                let now = self.millis();
                self.queue.retry(key, now);
            }
            None => {
                self.queue.forget(&key);
                self.failures.remove(&key);
                if let Some(at) = wake_at {
                    let wait = at.seconds_since(now()).max(0) as u64 * 1000;
                    let due = self.millis() + wait.max(1);
                    self.queue.wake_at(key, due);
                }
            }
        }
    }
}

/// The wall clock, in the API's whole seconds.
fn now() -> Time {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_unix(since_epoch.as_secs() as i64)
}

async fn sleep_until(started: Instant, deadline: Option<u64>) {
    if let Some(millis) = deadline {
        tokio::time::sleep_until((started + Duration::from_millis(millis)).into()).await;
    }
}
