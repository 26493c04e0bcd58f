//! The controllers and the scheduler beside an API server in the same process, each under its own identity.

use corten_apiserver::{ApiServer, UserInfo};
use corten_client::Client;
use corten_controller_manager::{API_SERVER, ClusterFacts, Controllers, Sign};
use corten_core::Str;
use corten_pki::Identity;
use corten_scheduler::Scheduler;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Running controllers and scheduler; they stop when this is dropped.
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

impl ControlPlane {
    /// Starts them. Must be called on a tokio runtime.
    pub fn start(server: &Arc<ApiServer>, service_cidr: &str) -> ControlPlane {
        let facts = ClusterFacts {
            root_ca: server.pki().ca.certificate().to_owned(),
            service_cidr: service_cidr.to_owned(),
            stored: server.stored_resources(),
            sign: Some(signer(server)),
        };
        let watcher = client(
            server,
            user_of(&Identity::ControllerManager),
            "kube-controller-manager",
        );
        let clients = {
            let server = server.clone();
            Arc::new(move |account: &str| match account {
                API_SERVER => client(&server, api_server(), "kube-apiserver"),
                _ => client(&server, service_account(account), "kube-controller-manager"),
            })
        };
        server.keep_secret_tokens();
        let controllers = Controllers::start(watcher, clients, facts);
        let scheduler = client(server, user_of(&Identity::Scheduler), "kube-scheduler");
        ControlPlane {
            _scheduler: Scheduler::start_beside(scheduler, controllers.mirror().clone()),
            _controllers: controllers,
        }
    }
}
