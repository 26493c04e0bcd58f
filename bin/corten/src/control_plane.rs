//! The controllers and the scheduler beside an API server in the same process, each under its own identity: at once
//! where the state is this process's alone, and where they were elected when others share it.

use corten_apiserver::{ApiServer, UserInfo};
use corten_client::Client;
use corten_controller_manager::{API_SERVER, ClusterFacts, Controllers, Sign};
use corten_core::Str;
use corten_driver::{Election, Terms};
use corten_pki::Identity;
use corten_scheduler::Scheduler;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where upstream's components keep the leases of their elections.
const NAMESPACE: &str = "kube-system";
const CONTROLLERS: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

/// Running controllers and scheduler, or candidates for running them; they stop when this is dropped.
pub struct ControlPlane {
    _alone: Option<(Controllers, Scheduler)>,
    candidates: JoinSet<()>,
    stopping: watch::Sender<bool>,
}

/// The user that a certificate of `identity` would authenticate as.
pub fn user_of(identity: &Identity) -> UserInfo {
    let groups = identity.group().into_iter().map(str::to_owned);
    UserInfo {
        name: identity.user(),
        groups: groups.chain(["system:authenticated".to_owned()]).collect(),
        ..UserInfo::default()
    }
}

/// The user that a token of a service account in kube-system would authenticate as.
pub fn service_account(name: &str) -> UserInfo {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:kube-system",
        "system:authenticated",
    ];
    UserInfo {
        name: format!("system:serviceaccount:kube-system:{name}"),
        groups: groups.map(str::to_owned).to_vec(),
        ..UserInfo::default()
    }
}

/// The API server's own user, past RBAC.
pub fn api_server() -> UserInfo {
    let groups = ["system:masters", "system:authenticated"];
    UserInfo {
        name: "system:apiserver".to_owned(),
        groups: groups.map(str::to_owned).to_vec(),
        ..UserInfo::default()
    }
}

/// A client of the server in this process.
pub fn client(server: &ApiServer, user: UserInfo, manager: &str) -> Client {
    Client::new(Arc::new(server.local(user)), manager)
}

/// Signs with the CA of the server's clients.
fn signer(server: &Arc<ApiServer>) -> Sign {
    let server = server.clone();
    Arc::new(move |request: &[u8], usages: &[Str], seconds: i64| {
        let request = std::str::from_utf8(request).map_err(|error| error.to_string())?;
        let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let usages: Vec<&str> = usages.iter().map(|usage| usage.as_str()).collect();
        let ca = &server.pki().ca;
        ca.sign_for_usages(request, &usages, lifetime, SystemTime::now())
            .map(String::into_bytes)
            .map_err(|error| error.to_string())
    })
}

/// Starts the controllers of this process.
fn controllers(server: &Arc<ApiServer>, service_cidr: &str) -> Controllers {
    let facts = ClusterFacts {
        root_ca: server.pki().ca.certificate().to_owned(),
        service_cidr: service_cidr.to_owned(),
        stored: server.stored_resources(),
        sign: Some(signer(server)),
    };
    let watcher = client(server, user_of(&Identity::ControllerManager), CONTROLLERS);
    let clients = {
        let server = server.clone();
        Arc::new(move |account: &str| match account {
            API_SERVER => client(&server, api_server(), "kube-apiserver"),
            _ => client(&server, service_account(account), CONTROLLERS),
        })
    };
    Controllers::start(watcher, clients, facts)
}

fn scheduler_client(server: &Arc<ApiServer>) -> Client {
    client(server, user_of(&Identity::Scheduler), SCHEDULER)
}

/// Runs what `start` starts whenever this candidate leads, until it is told to stop.
async fn led<T>(
    mut election: Election,
    mut stopping: watch::Receiver<bool>,
    name: &'static str,
    start: impl Fn() -> T,
) {
    loop {
        tokio::select! {
            () = election.won() => {}
            _ = stopping.changed() => return,
        }
        tracing::info!("{name} leads here");
        let running = start();
        let stops = tokio::select! {
            () = election.lost() => false,
            _ = stopping.changed() => true,
        };
        drop(running);
        if stops {
            return election.resign().await;
        }
        tracing::warn!("{name} does not lead here any more");
    }
}

impl ControlPlane {
    /// Starts them. Must be called on a tokio runtime.
    pub fn start(server: &Arc<ApiServer>, service_cidr: &str) -> ControlPlane {
        server.keep_secret_tokens();
        let controllers = controllers(server, service_cidr);
        let mirror = controllers.mirror().clone();
        let scheduler = Scheduler::start_beside(scheduler_client(server), mirror);
        ControlPlane {
            _alone: Some((controllers, scheduler)),
            candidates: JoinSet::new(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Stands for election against those of other servers on the same etcd, upstream's included: controllers and
    /// scheduler each run where their Lease is held. `host` is told to who asks for the leader. Must be called on a
    /// tokio runtime.
    pub fn elect(
        server: &Arc<ApiServer>,
        service_cidr: &str,
        host: &str,
        terms: Terms,
    ) -> ControlPlane {
        server.keep_secret_tokens();
        // Hosts may have the same name; hashers are seeded with randomness.
        let random = RandomState::new().hash_one(host);
        let identity = format!("{host}_{random:016x}");
        let stopping = watch::Sender::new(false);
        let mut candidates = JoinSet::new();
        let user = user_of(&Identity::ControllerManager);
        let candidate = client(server, user, CONTROLLERS);
        let election = Election::new(candidate, NAMESPACE, CONTROLLERS, &identity, terms);
        let (of_controllers, cidr) = (server.clone(), service_cidr.to_owned());
        let start = move || controllers(&of_controllers, &cidr);
        candidates.spawn(led(election, stopping.subscribe(), CONTROLLERS, start));
        let candidate = scheduler_client(server);
        let election = Election::new(candidate, NAMESPACE, SCHEDULER, &identity, terms);
        let of_scheduler = server.clone();
        let start = move || Scheduler::start(scheduler_client(&of_scheduler));
        candidates.spawn(led(election, stopping.subscribe(), SCHEDULER, start));
        ControlPlane {
            _alone: None,
            candidates,
            stopping,
        }
    }

    /// Stops them, and lets others lead at once.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.candidates.join_next().await.is_some() {}
    }
}

#[cfg(test)]
#[path = "control_plane_tests.rs"]
mod tests;
