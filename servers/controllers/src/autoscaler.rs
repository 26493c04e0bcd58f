//! Runs the horizontal pod autoscalers: reads scales and usage, has the rules decide, writes scales and statuses.
//!
//! Invariant: what pods use cannot be watched, so every autoscaler is looked at each 15 seconds, as upstream does; while
//! there are none, nothing runs but a wait for the first.

use corten_api::Object;
use corten_api::apiextensions::v1::CustomResourceDefinition;
use corten_api::autoscaling::v1 as scaling;
use corten_api::autoscaling::v2::HorizontalPodAutoscaler;
use corten_client::{Body, Client, Error, Mirror, Options, Request, Verb, WatchRequest};
use corten_controllers::autoscaler::{
    self, Decision, History, Observed, PERIOD, SERVICE_ACCOUNT, Scale, Usage,
};
use corten_core::{Map, Quantity, Str, Time, Value};
use corten_driver::{Occurrence, Recorder, reference_to};
use corten_meta::{GroupVersionResource, Selector, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::RecvError;

fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// What is remembered of each autoscaler, by UID.
#[derive(Default)]
struct Remembered {
    history: History,
    selector: Option<Selector>,
}

/// Autoscales for ever.
pub(crate) async fn run(mirror: Mirror, client: Client) {
    let recorder = Recorder::start(client.clone(), "horizontal-pod-autoscaler", "");
    let mut loop_ = Loop {
        mirror,
        client,
        recorder,
        remembered: HashMap::new(),
    };
    loop_.mirror.wait_synced().await;
    loop {
        if !loop_.look_at_all().await && !loop_.wait_for_one().await {
            return;
        }
    }
}

struct Loop {
    mirror: Mirror,
    client: Client,
    recorder: Recorder,
    remembered: HashMap<Str, Remembered>,
}

impl Loop {
    /// Waits until an autoscaler changes. False when nothing will ever change again.
    async fn wait_for_one(&self) -> bool {
        let wanted = GroupVersionResource::of::<HorizontalPodAutoscaler>();
        let mut changes = self.mirror.changes();
        let any = |snapshot: &Snapshot| snapshot.list::<HorizontalPodAutoscaler>().next().is_some();
        while !any(&self.mirror.snapshot()) {
            match changes.recv().await {
                Ok(change) if change.resource.group_resource() == wanted.group_resource() => break,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return false,
            }
        }
        true
    }

    /// Looks at every autoscaler, and again when the period is over or one of them changes its spec. False when there
    /// is none.
    async fn look_at_all(&mut self) -> bool {
        let mut changes = self.mirror.changes();
        let snapshot = self.mirror.snapshot();
        let all: Vec<HorizontalPodAutoscaler> = snapshot
            .list::<HorizontalPodAutoscaler>()
            .cloned()
            .collect();
        self.remembered
            .retain(|uid, _| all.iter().any(|a| a.metadata.uid == *uid));
        for autoscaler in &all {
            self.look_at(autoscaler, &all, &snapshot).await;
        }
        let wanted = GroupVersionResource::of::<HorizontalPodAutoscaler>();
        let fresh = async {
            loop {
                match changes.recv().await {
                    Ok(change) if change.resource.group_resource() == wanted.group_resource() => {
                        if change.old.is_none() {
                            return;
                        }
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        if !all.is_empty() {
            let _ = tokio::time::timeout(Duration::from_secs(PERIOD), fresh).await;
        }
        !all.is_empty()
    }

    async fn look_at(
        &mut self,
        autoscaler: &HorizontalPodAutoscaler,
        all: &[HorizontalPodAutoscaler],
        snapshot: &Snapshot,
    ) {
        let (object, scale) = match self.scale(autoscaler, snapshot).await {
            Ok((object, scale)) => (Some(object), Ok(scale)),
            Err(why) => (None, Err(why)),
        };
        let selector = scale
            .as_ref()
            .ok()
            .and_then(|s| Selector::parse(&s.selector).ok());
        let usage = match (&scale, autoscaler::wants_usage(autoscaler)) {
            (Ok(scale), true) => {
                self.usage(&autoscaler.metadata.namespace, &scale.selector)
                    .await
            }
            _ => Ok(Vec::new()),
        };
        let own = self
            .remembered
            .entry(autoscaler.metadata.uid.clone())
            .or_default();
        own.selector = selector;
        let mut history = std::mem::take(&mut own.history);
        let selectors = self.selectors(autoscaler, all);
        let observed = Observed {
            autoscaler,
            scale,
            usage,
            snapshot,
            selectors: &selectors,
            now: now(),
        };
        let mut decision = autoscaler::decide(&observed, &mut history);
        if let (Some((count, _)), Some(object)) = (&decision.rescale, object) {
            let outcome = self.rescale(autoscaler, snapshot, object, *count).await;
            autoscaler::settle(&mut decision, &mut history, outcome, now());
        }
        if let Some(own) = self.remembered.get_mut(&autoscaler.metadata.uid) {
            own.history = history;
        }
        self.finish(autoscaler, decision).await;
    }

    fn selectors(
        &self,
        of: &HorizontalPodAutoscaler,
        all: &[HorizontalPodAutoscaler],
    ) -> Vec<(Str, Selector)> {
        let here = all
            .iter()
            .filter(|a| a.metadata.namespace == of.metadata.namespace);
        here.filter_map(|a| {
            let own = self.remembered.get(&a.metadata.uid)?;
            Some((a.metadata.name.clone(), own.selector.clone()?))
        })
        .collect()
    }

    async fn finish(&self, old: &HorizontalPodAutoscaler, decision: Decision) {
        for (event_type, reason, message) in decision.events {
            self.recorder.record(Occurrence {
                about: reference_to(old),
                event_type,
                reason: reason.into(),
                message,
            });
        }
        if corten_core::semantic_eq(&old.status, &decision.autoscaler.status) {
            return;
        }
        if let Err(error) = self.client.update_status(decision.autoscaler).await
            && !error.is_conflict()
            && !error.is_not_found()
        {
            tracing::warn!(autoscaler = %old.metadata.full_name(), %error, "an autoscaler's status could not be written");
        }
    }

    fn request(
        &self,
        verb: Verb,
        of: &HorizontalPodAutoscaler,
        snapshot: &Snapshot,
        body: Body,
    ) -> Result<Request, String> {
        let target = &of.spec.scale_target_ref;
        Ok(Request {
            verb,
            resource: resource_of(&target.api_version, &target.kind, snapshot)?,
            subresource: "scale".to_owned(),
            namespace: of.metadata.namespace.to_string(),
            name: target.name.to_string(),
            body,
            options: Options::default(),
        })
    }

    async fn scale(
        &self,
        of: &HorizontalPodAutoscaler,
        snapshot: &Snapshot,
    ) -> Result<(scaling::Scale, Scale), String> {
        let request = self.request(Verb::Get, of, snapshot, Body::None)?;
        let answer = self
            .client
            .transport()
            .call(request)
            .await
            .map_err(|e| e.to_string())?;
        let scale = answer
            .downcast_ref::<scaling::Scale>()
            .cloned()
            .ok_or("the answer is no Scale")?;
        let read = Scale {
            wanted: scale.spec.replicas,
            current: scale.status.replicas,
            selector: scale.status.selector.to_string(),
        };
        Ok((scale, read))
    }

    /// Writes the count; after a conflict once more, on the newest scale.
    async fn rescale(
        &self,
        of: &HorizontalPodAutoscaler,
        snapshot: &Snapshot,
        mut scale: scaling::Scale,
        count: i32,
    ) -> Result<(), String> {
        for last in [false, true] {
            scale.spec.replicas = count;
            let body = Body::Object(Arc::new(Object::from(scale.clone())));
            let request = self.request(Verb::Update, of, snapshot, body)?;
            match self.client.transport().call(request).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() && !last => {
                    scale = self.scale(of, snapshot).await?.0;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    async fn usage(&self, namespace: &str, selector: &str) -> Result<Vec<Usage>, String> {
        let request = WatchRequest {
            resource: GroupVersionResource {
                group: "metrics.k8s.io".into(),
                version: "v1beta1".into(),
                resource: "pods".into(),
            },
            namespace: namespace.to_owned(),
            label_selector: selector.to_owned(),
            ..WatchRequest::default()
        };
        let answer = self
            .client
            .transport()
            .list(request)
            .await
            .map_err(|error| match &error {
                Error::Refused(status) if status.is_not_found() => {
                    format!("{error} (get pods.metrics.k8s.io)")
                }
                _ => error.to_string(),
            })?;
        Ok(answer
            .items
            .iter()
            .filter_map(|item| usage_of(item))
            .collect())
    }
}

/// The resource of a target, among the built-in ones and the custom ones.
fn resource_of(
    api_version: &str,
    kind: &str,
    snapshot: &Snapshot,
) -> Result<GroupVersionResource, String> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvr = |group: &str, version: &str, resource: &str| GroupVersionResource {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
    };
    let built_in = corten_api::resources()
        .iter()
        .filter(|r| r.group == group && r.kind == kind);
    if let Some(found) = built_in.max_by_key(|r| r.version == version) {
        return Ok(gvr(found.group, found.version, found.plural));
    }
    let custom = snapshot
        .list::<CustomResourceDefinition>()
        .find(|d| d.spec.group == group && d.spec.names.kind == kind);
    let missing = || format!("no matches for kind {kind:?} in group {group:?}");
    let custom = custom.ok_or_else(missing)?;
    let served = custom.spec.versions.iter().filter(|v| v.served);
    let chosen = served
        .max_by_key(|v| v.name == version)
        .ok_or_else(missing)?;
    Ok(gvr(group, &chosen.name, &custom.spec.names.plural))
}

/// One PodMetrics object.
fn usage_of(object: &Object) -> Option<Usage> {
    let value = object.to_value().ok()?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let window =
        corten_core::Duration::parse(text("window")).map_or(0, corten_core::Duration::as_secs);
    let container = |one: &Value| {
        let mut usage: Map<Quantity> = Map::default();
        for (name, quantity) in one.get("usage")?.as_map()?.iter() {
            usage.insert(name.clone(), Quantity::parse(quantity.as_str()?).ok()?);
        }
        Some((Str::from(one.get("name")?.as_str()?), usage))
    };
    Some(Usage {
        pod: object.meta().name.clone(),
        at: Time::parse(text("timestamp")).ok()?,
        window,
        containers: value
            .get("containers")?
            .as_list()?
            .iter()
            .filter_map(container)
            .collect(),
    })
}

/// The account under which it acts.
pub(crate) const ACCOUNT: &str = SERVICE_ACCOUNT;
