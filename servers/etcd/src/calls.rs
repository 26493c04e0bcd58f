//! Calls with one answer: from the bytes of a request to the bytes of its answer, for gRPC and JSON alike.

use bytes::Bytes;
use corten_etcd::mvcc::{Answer, Command, Finish, Store};
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::{Refusal, grpc};
use prost::Message;
use std::sync::Arc;

/// The version of etcd whose behaviour this is.
pub const VERSION: &str = "3.6.8";
/// The term that answers name: the first one in which a new etcd has a leader.
pub(crate) const TERM: u64 = 2;

/// The calls that clients make most.
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
pub(crate) const TXN: &str = "/etcdserverpb.KV/Txn";

/// What answers: the store, and what it says about itself.
#[derive(Clone)]
pub struct Face {
    pub(crate) store: Store,
    pub(crate) about: Arc<About>,
    pub(crate) rooms: crate::http2::Rooms,
}

/// What the member says about itself.
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) client_urls: Vec<String>,
    pub(crate) quota_bytes: u64,
    pub(crate) request_bytes_max: usize,
    /// How often watches that ask for it hear of progress.
    pub(crate) progress_notify: std::time::Duration,
}

/// An answer in gRPC's framing, or why there is none.
pub(crate) type Answered = Result<Bytes, Refusal>;

/// Gives answers the header that says who answered.
pub(crate) trait Headed {
    fn header(&mut self) -> &mut Option<pb::ResponseHeader>;
}

macro_rules! headed {
    ($($name:ident)*) => { $(
        impl Headed for pb::$name {
            fn header(&mut self) -> &mut Option<pb::ResponseHeader> {
                &mut self.header
            }
        }
    )* };
}

headed! {
    RangeResponse PutResponse DeleteRangeResponse TxnResponse CompactionResponse LeaseGrantResponse
    LeaseRevokeResponse LeaseTimeToLiveResponse LeaseLeasesResponse StatusResponse HashResponse HashKvResponse
    AlarmResponse DowngradeResponse MemberListResponse AuthDisableResponse AuthStatusResponse
    AuthUserListResponse AuthRoleListResponse WatchResponse LeaseKeepAliveResponse
}

impl Face {
    pub(crate) fn fill(&self, header: &mut Option<pb::ResponseHeader>) {
        let (cluster_id, member_id) = self.store.ids();
        let header = header.get_or_insert_default();
        header.cluster_id = cluster_id;
        header.member_id = member_id;
        header.raft_term = TERM;
    }

    /// A header that says the present revision.
    pub(crate) fn header_now(&self) -> Option<pb::ResponseHeader> {
        let mut header = corten_etcd::mvcc::header(self.store.revision());
        self.fill(&mut header);
        header
    }

    pub(crate) fn answer(&self, mut message: impl Message + Headed) -> Answered {
        self.fill(message.header());
        Ok(grpc::framed(&message))
    }

    /// Like [`Face::answer`], at the present revision.
    pub(crate) fn answer_now(&self, mut message: impl Message + Headed) -> Answered {
        *message.header() = self.header_now();
        Ok(grpc::framed(&message))
    }

    /// Answers a call with one answer.
    pub(crate) async fn call(&self, path: &str, body: Bytes) -> Answered {
        let Some((service, method)) = path
            .strip_prefix("/etcdserverpb.")
            .and_then(|p| p.split_once('/'))
        else {
            return Err(unknown(path));
        };
        match service {
            "KV" => self.key_value(method, body).await,
            "Lease" => self.lease(method, body).await,
            "Maintenance" => self.maintenance(method, body).await,
            "Cluster" => self.cluster(method, body),
            "Auth" => self.auth(method),
            _ => Err(unknown(path)),
        }
    }

    /// Answers a read of one key, which takes no time; none for any other read.
    pub(crate) fn get(&self, body: &Bytes) -> Result<Option<pb::RangeResponse>, Refusal> {
        let request: pb::RangeRequest = grpc::decode(body.clone())?;
        if !request.range_end.is_empty() {
            return Ok(None);
        }
        let mut found = self.store.range(&request)?;
        self.fill(&mut found.header);
        Ok(Some(found))
    }

    /// Begins a put or a transaction; `then` is called with what it did, if it is not answered at once.
    pub(crate) fn begin(
        &self,
        path: &str,
        body: &Bytes,
        then: impl FnOnce(Result<Answer, Refusal>) + Send + 'static,
    ) -> Result<Option<pb::TxnResponse>, Refusal> {
        if path == PUT {
            self.store.put_then(grpc::decode(body.clone())?, then)?;
            return Ok(None);
        }
        let mut read = self.store.txn_then(grpc::decode(body.clone())?, then)?;
        if let Some(read) = &mut read {
            self.fill(&mut read.header);
        }
        Ok(read)
    }

    async fn key_value(&self, method: &str, body: Bytes) -> Answered {
        match method {
            "Range" => self.answer(self.store.range(&grpc::decode(body)?)?),
            "Put" => self.answer(self.store.put(grpc::decode(body)?).await?),
            "DeleteRange" => self.answer(self.store.delete(grpc::decode(body)?).await?),
            "Txn" => self.answer(self.store.txn(grpc::decode(body)?).await?),
            "Compact" => {
                let request: pb::CompactionRequest = grpc::decode(body)?;
                let finish = if request.physical {
                    Finish::Done
                } else {
                    Finish::Scheduled
                };
                match self
                    .store
                    .submit(Command::Compact(request.revision, finish))
                    .await?
                {
                    Answer::Compact(response) => self.answer(response),
                    _ => Err(Refusal::STOPPED),
                }
            }
            _ => Err(unknown(method)),
        }
    }

    async fn lease(&self, method: &str, body: Bytes) -> Answered {
        match method {
            "LeaseGrant" => {
                let request: pb::LeaseGrantRequest = grpc::decode(body)?;
                let id = self.free_lease(request.id);
                match self.store.submit(Command::Grant(id, request.ttl)).await? {
                    Answer::Grant(response) => self.answer(response),
                    _ => Err(Refusal::STOPPED),
                }
            }
            "LeaseRevoke" => {
                let request: pb::LeaseRevokeRequest = grpc::decode(body)?;
                match self.store.submit(Command::Revoke(request.id)).await? {
                    Answer::Revoke(response) => self.answer(response),
                    _ => Err(Refusal::STOPPED),
                }
            }
            "LeaseTimeToLive" => {
                let request: pb::LeaseTimeToLiveRequest = grpc::decode(body)?;
                self.answer(self.store.time_to_live(request.id, request.keys))
            }
            "LeaseLeases" => {
                let leases = self.store.leases().into_iter();
                self.answer_now(pb::LeaseLeasesResponse {
                    leases: leases.map(|id| pb::LeaseStatus { id }).collect(),
                    ..Default::default()
                })
            }
            _ => Err(unknown(method)),
        }
    }

    /// The id that was asked for; for 0 one that is not in use.
    fn free_lease(&self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        use std::hash::{BuildHasher, RandomState};
        // The hasher is seeded with randomness for every instance.
        let random = RandomState::new().hash_one(self.store.revision());
        ((random & i64::MAX as u64) as i64).max(1)
    }

    fn cluster(&self, method: &str, body: Bytes) -> Answered {
        let me = self.store.ids().1;
        match method {
            "MemberList" => {
                let mut response = pb::MemberListResponse {
                    header: None,
                    members: vec![pb::Member {
                        id: me,
                        name: self.about.name.clone(),
                        client_ur_ls: self.about.client_urls.clone(),
                        ..Default::default()
                    }],
                };
                // Upstream says no revision here.
                self.fill(&mut response.header);
                Ok(grpc::framed(&response))
            }
            "MemberAdd" => {
                let request: pb::MemberAddRequest = grpc::decode(body)?;
                Err(match request.peer_ur_ls.is_empty() {
                    true => Refusal::MEMBER_BAD_URLS,
                    false => not_capable(),
                })
            }
            "MemberRemove" => {
                let request: pb::MemberRemoveRequest = grpc::decode(body)?;
                Err(match request.id == me {
                    true => Refusal::MEMBER_NOT_ENOUGH_STARTED,
                    false => Refusal::MEMBER_NOT_FOUND,
                })
            }
            "MemberUpdate" => {
                let request: pb::MemberUpdateRequest = grpc::decode(body)?;
                Err(match (request.peer_ur_ls.is_empty(), request.id == me) {
                    (true, _) => Refusal::MEMBER_BAD_URLS,
                    (_, false) => Refusal::MEMBER_NOT_FOUND,
                    _ => not_capable(),
                })
            }
            "MemberPromote" => {
                let request: pb::MemberPromoteRequest = grpc::decode(body)?;
                Err(match request.id == me {
                    true => Refusal::MEMBER_NOT_LEARNER,
                    false => Refusal::MEMBER_NOT_FOUND,
                })
            }
            _ => Err(unknown(method)),
        }
    }

    /// As an etcd whose authentication is off and that knows no users and roles; none can be made.
    fn auth(&self, method: &str) -> Answered {
        match method {
            "AuthStatus" => self.answer_now(pb::AuthStatusResponse {
                auth_revision: 1,
                ..Default::default()
            }),
            "AuthDisable" => self.answer_now(pb::AuthDisableResponse::default()),
            "UserList" => self.answer_now(pb::AuthUserListResponse::default()),
            "RoleList" => self.answer_now(pb::AuthRoleListResponse::default()),
            "AuthEnable" => Err(Refusal::ROOT_USER_NOT_EXIST),
            "Authenticate" => Err(Refusal::AUTH_NOT_ENABLED),
            "UserGet" | "UserDelete" | "UserChangePassword" | "UserGrantRole"
            | "UserRevokeRole" => Err(Refusal::USER_NOT_FOUND),
            "RoleGet" | "RoleDelete" | "RoleGrantPermission" | "RoleRevokePermission" => {
                Err(Refusal::ROLE_NOT_FOUND)
            }
            "UserAdd" | "RoleAdd" => Err(not_capable()),
            _ => Err(unknown(method)),
        }
    }
}

pub(crate) fn not_capable() -> Refusal {
    Refusal::new(
        corten_etcd::Code::FailedPrecondition,
        "etcdserver: not capable",
    )
}

pub(crate) fn unknown(path: &str) -> Refusal {
    let text = match path.trim_start_matches('/').split_once('/') {
        Some((service, method)) if service.starts_with("etcdserverpb.") => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
        None => format!("unknown method {path}"),
    };
    Refusal::new(corten_etcd::Code::Unimplemented, text)
}
