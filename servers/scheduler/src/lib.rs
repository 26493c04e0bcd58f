//! Feeds the scheduling rules with snapshots and carries out what they decide.
//!
//! Invariant: a pod that was given a node counts there from that moment, whether or not its binding has been seen, so
//! that no room is given twice; a binding that is refused takes the count back. Nothing is polled.

mod state;
mod write;

use corten_api::core::v1::{Node, Pod};
use corten_api::policy::v1::PodDisruptionBudget;
use corten_client::{Client, Mirror};
use corten_driver::Recorder;
use corten_meta::ObjectKey;
use corten_scheduling::{Budgets, Decision, PodView, Unschedulable, schedule};
use state::State;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinSet;

/// The name by which pods choose a scheduler.
const NAME: &str = "default-scheduler";

/// A running scheduler; it stops when this is dropped.
#[derive(Debug)]
pub struct Scheduler {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scheduler {
    /// Starts scheduling through `client`, which acts as `system:kube-scheduler`. Must be called on a tokio runtime.
    pub fn start(client: Client) -> Scheduler {
        let mirror = Mirror::builder()
            .resource::<Pod>()
            .resource::<Node>()
            .resource::<PodDisruptionBudget>()
            .start(client.transport().clone());
        Scheduler::start_beside(client, mirror)
    }

    /// As [`Scheduler::start`], but reading what another role of the process mirrors: pods, nodes and disruption budgets
    /// must be among it.
    pub fn start_beside(client: Client, mirror: Mirror) -> Scheduler {
        let recorder = Recorder::start(client.clone(), NAME, "");
        let worker = Worker {
            client,
            mirror,
            recorder,
            state: State::default(),
            started: Instant::now(),
        };
        Scheduler {
            task: tokio::spawn(worker.run()),
        }
    }
}

/// A binding that has ended: the pod and, when it was refused, why.
struct Bound {
    key: ObjectKey,
    error: Option<String>,
}

struct Worker {
    client: Client,
    mirror: Mirror,
    recorder: Recorder,
    state: State,
    started: Instant,
}

impl Worker {
    async fn run(mut self) {
        self.mirror.wait_synced().await;
        let mut changes = self.mirror.changes();
        let mut bindings: JoinSet<Bound> = JoinSet::new();
        self.state.read(&self.mirror.snapshot(), self.millis());
        loop {
            self.place_all(&mut bindings);
            let deadline = self.state.queue.next_deadline();
            tokio::select! {
                change = changes.recv() => {
                    let mut next = match change {
                        Ok(change) => Some(change),
                        Err(RecvError::Lagged(_)) => {
                            self.state.read(&self.mirror.snapshot(), self.millis());
                            None
                        }
                        Err(RecvError::Closed) => return,
                    };
                    while let Some(change) = next {
                        let now = self.millis();
                        self.state.apply(&change, now);
                        next = match changes.try_recv() {
                            Ok(change) => Some(change),
                            Err(TryRecvError::Lagged(_)) => {
                                self.state.read(&self.mirror.snapshot(), now);
                                None
                            }
                            Err(_) => None,
                        };
                    }
                }
                Some(bound) = bindings.join_next(), if !bindings.is_empty() => match bound {
                    Ok(bound) => self.bound(bound),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = sleep_until(self.started, deadline), if deadline.is_some() => {}
            }
        }
    }

    fn millis(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Decides for every pod that is ready to be placed.
    fn place_all(&mut self, bindings: &mut JoinSet<Bound>) {
        while let Some(key) = self.state.queue.take(self.millis()) {
            self.place(key, bindings);
        }
    }

    fn place(&mut self, key: ObjectKey, bindings: &mut JoinSet<Bound>) {
        let Some(object) = self.state.pending.get(&key).cloned() else {
            self.state.queue.remove(&key);
            return;
        };
        let Some(pod) = object.downcast_ref::<Pod>() else {
            return;
        };
        if !pod.spec.scheduling_gates.is_empty() {
            self.state.queue.failed(&key, self.millis());
            let message = "Scheduling is blocked due to non-empty scheduling gates".to_owned();
            let write = write::refuse(&self.client, pod, "SchedulingGated", message, None);
            tokio::spawn(write);
            return;
        }
        let budgets = Budgets::of(&self.mirror.snapshot());
        let view = PodView::new(pod);
        match schedule(&self.state.cluster, &view, &budgets, seed()) {
            Decision::Bind { node, feasible } => {
                tracing::debug!(pod = %key, %node, feasible, "bind");
                self.state.cluster.assume(object.clone(), &node);
                self.state.assumed.insert(key.clone());
                let write = write::bind(
                    self.client.clone(),
                    self.recorder.clone(),
                    object.clone(),
                    node,
                );
                bindings.spawn(async move {
                    Bound {
                        key,
                        error: write.await.err(),
                    }
                });
            }
            Decision::Unschedulable(unschedulable) => {
                self.state.queue.failed(&key, self.millis());
                self.refuse(pod, unschedulable);
            }
        }
    }

    /// Tells why the pod has no node, and makes room for it where that is possible.
    fn refuse(&self, pod: &Pod, unschedulable: Unschedulable) {
        let message = unschedulable.message;
        write::tell(&self.recorder, pod, "FailedScheduling", &message);
        let nominated = unschedulable.nominated;
        let snapshot = self.mirror.snapshot();
        for victim in &unschedulable.victims {
            if let Some(victim) = snapshot.get::<Pod>(&victim.namespace, &victim.name) {
                let node = nominated.clone().unwrap_or_default();
                let (client, recorder) = (self.client.clone(), self.recorder.clone());
                tokio::spawn(write::evict(
                    client,
                    recorder,
                    victim.clone(),
                    pod.clone(),
                    node,
                ));
            }
        }
        tokio::spawn(write::refuse(
            &self.client,
            pod,
            "Unschedulable",
            message,
            nominated,
        ));
    }

    fn bound(&mut self, bound: Bound) {
        let Some(error) = bound.error else { return };
        tracing::warn!(pod = %bound.key, %error, "a binding was refused");
        if self.state.assumed.remove(&bound.key) {
            self.state.cluster.remove_pod(&bound.key);
        }
        let now = self.millis();
        self.state.queue.failed(&bound.key, now);
        self.state.queue.changed(now);
    }
}

/// A random number: which of several equally good nodes is taken.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}

async fn sleep_until(started: Instant, deadline: Option<u64>) {
    if let Some(millis) = deadline {
        tokio::time::sleep_until((started + Duration::from_millis(millis)).into()).await;
    }
}
