//! Keeps flow control in step with its objects: reads FlowSchemas and PriorityLevelConfigurations, divides the seats
//! anew every ten seconds, says in each schema's status whether its level exists, and restores the objects that
//! upstream maintains. Invariant: a level that is still busy is kept until it has drained.

use std::sync::Arc;
use std::time::Duration;

use corten_api::Object;
use corten_api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use corten_client::Status;
use corten_core::Str;
use corten_flow::{Claim, Queuing, Schemas, Share, limits, seats_max, share_out};
use corten_store::{Scope, Watch};
use http::HeaderValue;
use serde_json::json;

use super::level::Level;
use super::{PfHeaders, Rules, SEATS, Target};
use crate::options::WriteOptions;
use crate::patching::{self, PatchKind};
use crate::server::Server;
use crate::write::{self, Aim, Change};

const ADJUST_EVERY: Duration = Duration::from_secs(10);
/// Adjustments between two looks at the maintained objects.
const RESTORE_EVERY: u32 = 6;
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// The configuration made of these objects; `old` levels are carried on.
pub(super) fn rules(
    levels: &[&PriorityLevelConfiguration],
    schemas: &[&FlowSchema],
    old: &[Arc<Level>],
    now: Duration,
) -> Rules {
    let mandatory = mandatory_levels();
    let missing = mandatory
        .iter()
        .filter(|m| !levels.iter().any(|l| l.metadata.name == m.metadata.name));
    let wanted: Vec<&PriorityLevelConfiguration> = levels
        .iter()
        .copied()
        .filter(|l| is_sound(l))
        .chain(missing)
        .collect();
    let sum = wanted.iter().map(|l| share(l).shares).sum();
    let mut made: Vec<Arc<Level>> = Vec::new();
    for level in &wanted {
        let share = share(level);
        let divided = limits(SEATS, sum, share);
        let queuing = queuing(level);
        let known = old.iter().find(|l| {
            l.name == level.metadata.name
                && l.uid == level.metadata.uid
                && l.is_exempt() == (queuing == Queuing::Exempt)
        });
        let kept = known.cloned().unwrap_or_else(|| {
            let (name, uid) = (level.metadata.name.clone(), level.metadata.uid.clone());
            let first = divided.nominal - (divided.nominal - divided.least) / 2;
            Arc::new(Level::new(name, uid, queuing, first, now))
        });
        if let Queuing::Queue { hand, .. } = queuing {
            kept.set_seats_max(seats_max(divided.nominal, hand as u32));
        }
        let mut sharing = kept.share.lock();
        sharing.limits = divided;
        sharing.quiescing = false;
        drop(sharing);
        made.push(kept);
    }
    let targets_of = made.clone();
    for level in old {
        if made.iter().any(|l| Arc::ptr_eq(l, level)) || level.inner.lock().queues.is_idle() {
            continue;
        }
        let mut sharing = level.share.lock();
        sharing.quiescing = true;
        drop(sharing);
        made.push(level.clone());
    }
    let exists = |name: &str| targets_of.iter().any(|l| l.name == name);
    let schemas = Schemas::build(schemas.iter().copied(), exists);
    let targets = targets(&schemas, &targets_of);
    Rules {
        schemas,
        targets,
        levels: made,
    }
}

/// Where each schema leads.
fn targets(schemas: &Schemas, levels: &[Arc<Level>]) -> Vec<Target> {
    schemas
        .iter()
        .filter_map(|schema| {
            let level = levels.iter().find(|l| l.name == schema.level)?;
            Some(Target {
                level: level.clone(),
                headers: PfHeaders {
                    schema: header(&schema.uid),
                    level: header(&level.uid),
                },
            })
        })
        .collect()
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// The two levels that there always are.
fn mandatory_levels() -> Vec<PriorityLevelConfiguration> {
    corten_kinds::bootstrap_objects()
        .iter()
        .filter_map(|o| o.downcast_ref::<PriorityLevelConfiguration>())
        .filter(|l| l.metadata.name == "exempt" || l.metadata.name == "catch-all")
        .cloned()
        .collect()
}

/// Whether the parts of a level fit together.
fn is_sound(level: &PriorityLevelConfiguration) -> bool {
    let spec = &level.spec;
    let exempt = spec.type_ == "Exempt";
    exempt == (level.metadata.name == "exempt") && exempt == spec.limited.is_none()
}

fn share(level: &PriorityLevelConfiguration) -> Share {
    let number = |n: Option<i32>| u32::try_from(n.unwrap_or(0)).unwrap_or(0);
    match (&level.spec.limited, &level.spec.exempt) {
        (Some(limited), _) => Share {
            shares: u32::try_from(limited.nominal_concurrency_shares.unwrap_or(30)).unwrap_or(0),
            lendable: number(limited.lendable_percent),
            borrowing: limited.borrowing_limit_percent.map(|p| number(Some(p))),
        },
        (None, exempt) => Share {
            shares: number(exempt.as_ref().and_then(|e| e.nominal_concurrency_shares)),
            lendable: number(exempt.as_ref().and_then(|e| e.lendable_percent)),
            borrowing: None,
        },
    }
}

fn queuing(level: &PriorityLevelConfiguration) -> Queuing {
    let Some(limited) = &level.spec.limited else {
        return Queuing::Exempt;
    };
    match &limited.limit_response.queuing {
        None => Queuing::Reject,
        Some(queuing) => {
            let number = |n: i32, least: i32| n.max(least) as usize;
            Queuing::Queue {
                queues: number(queuing.queues, 1),
                hand: number(queuing.hand_size, 1),
                length: number(queuing.queue_length_limit, 1),
            }
        }
    }
}

/// Follows the objects until the server stops.
pub(crate) async fn follow(server: Arc<Server>) {
    let mut stop = server.stop_signal();
    let mut adjustments = 0u32;
    let mut adjust = tokio::time::interval(ADJUST_EVERY);
    loop {
        let Some(mut watches) = open(&server) else {
            return;
        };
        // What happened before the watches were open is in the snapshot.
        reload(&server).await;
        loop {
            let mut events = Vec::new();
            let (levels, schemas) = &mut watches;
            let mut others = Vec::new();
            let seen = tokio::select! {
                seen = levels.next_batch(&mut events, usize::MAX) => seen,
                seen = schemas.next_batch(&mut others, usize::MAX) => seen,
                _ = adjust.tick() => {
                    adjustments = adjustments.wrapping_add(1);
                    if adjustments % RESTORE_EVERY == 1 {
                        restore(&server).await;
                    }
                    divide(&server);
                    continue;
                }
                () = crate::server::signalled(&mut stop) => return,
            };
            if seen.is_err() {
                break;
            }
            reload(&server).await;
        }
        if !server.store_is_open() {
            return;
        }
    }
}

fn open(server: &Server) -> Option<(Watch, Watch)> {
    let watch = |plural: &str| {
        let catalog = server.catalog();
        let served = catalog.find("flowcontrol.apiserver.k8s.io", "v1", plural)?;
        let now = server.store.snapshot(&served.storage).revision();
        server.store.watch(&served.storage, Scope::All, now).ok()
    };
    Some((watch("prioritylevelconfigurations")?, watch("flowschemas")?))
}

/// Takes the present objects into force and brings statuses up to date.
async fn reload(server: &Arc<Server>) {
    let flow = &server.flow;
    let snapshot = server.typed.snapshot();
    let levels: Vec<_> = snapshot.list::<PriorityLevelConfiguration>().collect();
    let schemas: Vec<_> = snapshot.list::<FlowSchema>().collect();
    let old = flow.rules.load_full();
    let new = Arc::new(rules(&levels, &schemas, &old.levels, flow.now()));
    for level in &levels {
        let made = new.levels.iter().find(|l| l.name == level.metadata.name);
        if let Some(made) = made {
            let limit = made.inner.lock().queues.limit();
            made.configure(flow, queuing(level), limit);
        }
    }
    flow.rules.store(new);
    divide(server);
    for schema in &schemas {
        let wanted = &schema.spec.priority_level_configuration.name;
        let found = levels.iter().any(|l| l.metadata.name == *wanted);
        if let Err(status) = say_whether_dangling(server, schema, found).await {
            tracing::debug!(%status, schema = %schema.metadata.name, "write a flow schema's status");
        }
    }
}

/// Divides the seats by what was wanted lately.
fn divide(server: &Server) {
    let flow = &server.flow;
    let rules = flow.rules.load_full();
    let now = flow.now();
    let claims: Vec<Claim> = rules
        .levels
        .iter()
        .map(|level| {
            let seen = level.take_demand(now);
            let mut sharing = level.share.lock();
            sharing.demand.update(&seen);
            Claim {
                limits: sharing.limits,
                highest: sharing.demand.highest,
                smoothed: sharing.demand.seats,
                exempt: level.is_exempt(),
            }
        })
        .collect();
    for (level, limit) in rules.levels.iter().zip(share_out(&claims)) {
        level.set_limit(flow, limit);
    }
}

/// The condition that tells whether a schema's level exists.
async fn say_whether_dangling(
    server: &Arc<Server>,
    schema: &FlowSchema,
    found: bool,
) -> Result<(), Status> {
    let level = &schema.spec.priority_level_configuration.name;
    let text =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match found {
        true => ("False", "Found", format!("{text} and it exists")),
        false => (
            "True",
            "NotFound",
            format!("{text} but there is no such object"),
        ),
    };
    let said = schema
        .status
        .conditions
        .iter()
        .find(|c| c.type_ == "Dangling");
    if said
        .is_some_and(|c| c.status == status && c.reason == reason && c.message == message.as_str())
    {
        return Ok(());
    }
    let name = schema.metadata.name.as_str();
    let patch = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "status": {"conditions": [{
            "type": "Dangling", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": server.now().to_string(),
        }]},
    });
    let catalog = server.catalog();
    let Some(served) = catalog.find("flowcontrol.apiserver.k8s.io", "v1", "flowschemas") else {
        return Ok(());
    };
    let aim = Aim {
        served,
        namespace: "",
        name,
        subresource: "status",
    };
    let options = WriteOptions {
        manager: "api-priority-and-fairness-config-consumer-v1".into(),
        force: true,
        ..WriteOptions::default()
    };
    let user = crate::bootstrap::loopback();
    let body = patch.to_string().into();
    patching::patch(server, &user, &aim, PatchKind::Apply, &body, &options).await?;
    Ok(())
}

/// Makes the maintained objects anew where they are missing, and corrects those whose spec is not the user's.
async fn restore(server: &Arc<Server>) {
    let snapshot = server.typed.snapshot();
    for wanted in corten_kinds::bootstrap_objects() {
        let name = wanted.meta().name.clone();
        let stored: Option<Object> =
            if let Some(level) = wanted.downcast_ref::<PriorityLevelConfiguration>() {
                snapshot
                    .get::<PriorityLevelConfiguration>("", &name)
                    .map(|known| {
                        let mut new = (*known).clone();
                        new.spec = level.spec.clone();
                        new.into()
                    })
            } else if let Some(schema) = wanted.downcast_ref::<FlowSchema>() {
                snapshot.get::<FlowSchema>("", &name).map(|known| {
                    let mut new = (*known).clone();
                    new.spec = schema.spec.clone();
                    new.into()
                })
            } else {
                continue;
            };
        if let Err(status) = restore_one(server, &name, wanted, stored).await {
            tracing::debug!(%status, %name, "restore a flow control object");
        }
    }
}

async fn restore_one(
    server: &Arc<Server>,
    name: &Str,
    wanted: Object,
    corrected: Option<Object>,
) -> Result<(), Status> {
    let plural = match wanted.kind() {
        "FlowSchema" => "flowschemas",
        _ => "prioritylevelconfigurations",
    };
    let catalog = server.catalog();
    let Some(served) = catalog.find("flowcontrol.apiserver.k8s.io", "v1", plural) else {
        return Ok(());
    };
    let aim = Aim {
        served,
        namespace: "",
        name,
        subresource: "",
    };
    let options = WriteOptions {
        manager: "api-priority-and-fairness-config-producer-v1".into(),
        ..WriteOptions::default()
    };
    let user = crate::bootstrap::loopback();
    let Some(corrected) = corrected else {
        write::create(server, &user, &aim, wanted, &options).await?;
        return Ok(());
    };
    let Some(entry) = server.store.get(&aim.key()) else {
        return Ok(());
    };
    let stored = crate::typed::object(&entry)?;
    let ours = match stored.meta().annotations.get(AUTOUPDATE).map(|v| &**v) {
        Some(value) => value == "true",
        None => stored.meta().generation == 1,
    };
    let mut corrected = corrected;
    served.default(&mut corrected);
    if !ours || *stored == corrected {
        return Ok(());
    }
    write::update(server, &user, &aim, Change::Replace(corrected), &options).await?;
    Ok(())
}
