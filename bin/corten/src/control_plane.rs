//! The controllers and the scheduler beside an API server in the same process, each under its own identity.

use corten_apiserver::{ApiServer, UserInfo};
use corten_client::Client;
use corten_controller_manager::{ClusterFacts, Controllers};
use corten_pki::Identity;
use corten_scheduler::Scheduler;
use std::sync::Arc;

/// Running controllers and scheduler; they stop when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    _controllers: Controllers,
    _scheduler: Scheduler,
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

/// A client of the server in this process.
pub fn client(server: &ApiServer, user: UserInfo, manager: &str) -> Client {
    Client::new(Arc::new(server.local(user)), manager)
}

impl ControlPlane {
    /// Starts them. Must be called on a tokio runtime.
    pub fn start(server: &Arc<ApiServer>, service_cidr: &str) -> ControlPlane {
        let facts = ClusterFacts {
            root_ca: server.pki().ca.certificate().to_owned(),
            service_cidr: service_cidr.to_owned(),
            stored: server.stored_resources(),
        };
        let watcher = client(
            server,
            user_of(&Identity::ControllerManager),
            "kube-controller-manager",
        );
        let clients = {
            let server = server.clone();
            Arc::new(move |account: &str| {
                client(&server, service_account(account), "kube-controller-manager")
            })
        };
        ControlPlane {
            _controllers: Controllers::start(watcher, clients, facts),
            _scheduler: Scheduler::start(client(
                server,
                user_of(&Identity::Scheduler),
                "kube-scheduler",
            )),
        }
    }
}
