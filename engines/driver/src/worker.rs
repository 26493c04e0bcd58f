//! One task for each controller: changes come in, keys are queued, workers plan and execute.

use crate::execution::{Executed, Execution, Job, Sign};
use crate::facts::Probe;
use crate::reconciler::{Moment, Reconciler};
use crate::recorder::Recorder;
use corten_api::Object;
use corten_api::apiextensions::v1::CustomResourceDefinition;
use corten_client::{Changed, Client, Error, Mirror, MirrorBuilder};
use corten_controllers::plan::Cluster;
use corten_controllers::registry::Watched;
use corten_controllers::{Controller, custom};
use corten_core::Time;
use corten_meta::{GroupVersionResource, ObjectKey};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::{JoinHandle, JoinSet};

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
    /// Signs certificates, where the cluster's CA key is at hand.
    pub sign: Option<Sign>,
}

/// Running controllers; they stop when this is dropped.
#[derive(Debug)]
pub struct Driver {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn looks_at_everything(controllers: &[Controller]) -> bool {
    let mut wakes = controllers.iter().flat_map(|c| c.wakes);
    wakes.any(|wake| matches!(wake.on, Watched::Every))
}

/// A mirror of all that `controllers` look at; `served` are all resources that the API server stores. Custom resources
/// join and leave it with their definitions while the [`Driver`] runs.
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
                Watched::Every => served
                    .iter()
                    .filter(|r| {
                        corten_api::resource_of(&r.group, &r.version, &r.resource).is_some()
                    })
                    .cloned()
                    .for_each(&mut want),
            }
        }
    }
    let builder = wanted
        .into_values()
        .fold(Mirror::builder(), MirrorBuilder::dynamic);
    match looks_at_everything(controllers) {
        true => builder.with_owners(),
        false => builder,
    }
}

impl Driver {
    /// Starts `controllers`. Must be called on a tokio runtime.
    pub fn start(settings: &Settings, controllers: &[Controller]) -> Driver {
        let tasks = controllers.iter().map(|controller| {
            let client = (settings.client_of)(controller.service_account);
            let task = Task {
                recorder: Recorder::start(client.clone(), controller.service_account, ""),
                reconciler: Reconciler::new(*controller, settings.cluster.clone(), now()),
                client,
                mirror: settings.mirror.clone(),
                sign: settings.sign.clone(),
                started: Instant::now(),
            };
            tokio::spawn(task.run())
        });
        let mut tasks: Vec<JoinHandle<()>> = tasks.collect();
        if looks_at_everything(controllers) {
            tasks.push(tokio::spawn(follow_definitions(settings.mirror.clone())));
        }
        Driver { tasks }
    }
}

/// Keeps the mirror following exactly the custom resources that are served.
async fn follow_definitions(mirror: Mirror) {
    let definitions = GroupVersionResource::of::<CustomResourceDefinition>();
    let mut changes = mirror.changes();
    let mut followed: BTreeSet<GroupVersionResource> = BTreeSet::new();
    loop {
        let served: BTreeSet<_> = custom::resources(&mirror.snapshot()).collect();
        for resource in followed.difference(&served) {
            mirror.forget(resource);
        }
        for resource in served.difference(&followed) {
            mirror.follow(resource.clone());
        }
        followed = served;
        loop {
            match changes.recv().await {
                Ok(change) if change.resource == definitions => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

struct Task {
    reconciler: Reconciler,
    client: Client,
    recorder: Recorder,
    mirror: Mirror,
    sign: Option<Sign>,
    started: Instant,
}

/// How one reconcile ended.
struct Finished {
    key: ObjectKey,
    executed: Executed,
}

impl Task {
    async fn run(mut self) {
        self.mirror.wait_synced().await;
        let mut changes = self.mirror.changes();
        self.wake_everything();
        let mut workers: JoinSet<Finished> = JoinSet::new();
        loop {
            while workers.len() < WORKERS {
                let Some(key) = self.reconciler.take(self.moment()) else {
                    break;
                };
                self.begin(&mut workers, key);
            }
            let deadline = self
                .reconciler
                .next_deadline()
                .filter(|_| workers.len() < WORKERS);
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => self.take_changes(change, &mut changes),
                    Err(RecvError::Lagged(_)) => self.wake_everything(),
                    Err(RecvError::Closed) => return,
                },
                Some(finished) = workers.join_next(), if !workers.is_empty() => match finished {
                    Ok(Finished { key, executed }) => {
                        let moment = self.moment();
                        self.reconciler.finish(key, executed, moment);
                    }
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = sleep_until(self.started, deadline), if deadline.is_some() => {}
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            millis: self.started.elapsed().as_millis() as u64,
            now: now(),
        }
    }

    fn wake_everything(&mut self) {
        self.reconciler.wake_everything(&self.mirror.snapshot());
    }

    /// Queues what `change` and everything that has arrived behind it concern.
    fn take_changes(&mut self, change: Changed, changes: &mut broadcast::Receiver<Changed>) {
        let snapshot = self.mirror.snapshot();
        let mut next = change;
        loop {
            self.reconciler.wake(&snapshot, &next);
            next = match changes.try_recv() {
                Ok(change) => change,
                Err(TryRecvError::Lagged(_)) => return self.wake_everything(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            };
        }
    }

    fn begin(&self, workers: &mut JoinSet<Finished>, key: ObjectKey) {
        let snapshot = self.mirror.snapshot();
        let plan = self.reconciler.plan(&snapshot, &key, self.moment());
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        let (mirror, name) = (self.mirror.clone(), self.reconciler.controller().name);
        let sign = self.sign.clone();
        workers.spawn(async move {
            if plan.is_empty() {
                let (executed, _) = Execution::new(plan).end();
                return Finished { key, executed };
            }
            tracing::debug!(controller = name, %key, steps = plan.steps.len(), "execute");
            let execution = Execution::new(plan).signing_with(sign);
            let executed = execute(&client, &recorder, &mirror, execution).await;
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
            Finished { key, executed }
        });
    }
}

async fn execute(
    client: &Client,
    recorder: &Recorder,
    mirror: &Mirror,
    mut execution: Execution,
) -> Executed {
    loop {
        let jobs = execution.next(&mirror.snapshot(), || mirror.resources());
        if jobs.is_empty() {
            let (executed, notes) = execution.end();
            notes.into_iter().for_each(|note| recorder.record(note));
            return executed;
        }
        let results = join_all(jobs.iter().map(|job| carry_out(client, job))).await;
        for (job, result) in jobs.iter().zip(results) {
            let occurrence = execution.settle(job, result);
            occurrence.into_iter().for_each(|o| recorder.record(o));
        }
    }
}

async fn carry_out(client: &Client, job: &Job) -> Result<Arc<Object>, Error> {
    for probe in &job.probes {
        match probe {
            Probe::Gone(request, _) | Probe::Present(request, _) | Probe::Allowed(request) => {
                let answer = client.transport().call((**request).clone()).await;
                probe.judge_object(answer)?;
            }
            Probe::Empty(request) | Probe::Followed(request, _) => {
                let answer = client.transport().list(request.clone()).await;
                probe.judge_list(answer)?;
            }
        }
    }
    client.transport().call(job.request.clone()).await
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
