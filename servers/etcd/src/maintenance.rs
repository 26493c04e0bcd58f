//! The calls with which operators look after a member.

use crate::calls::{Answered, Face, TERM, VERSION, not_capable, unknown};
use bytes::Bytes;
use corten_etcd::mvcc::Command;
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::alarm_request::AlarmAction;
use corten_etcd::proto::etcdserverpb::downgrade_request::DowngradeAction;
use corten_etcd::{Refusal, grpc};

impl Face {
    pub(crate) async fn maintenance(&self, method: &str, body: Bytes) -> Answered {
        match method {
            "Status" => self.status(),
            "Alarm" => self.alarm(grpc::decode(body)?).await,
            // The log is written anew as it empties: there is nothing to do.
            "Defragment" => Ok(grpc::framed(&pb::DefragmentResponse::default())),
            "Hash" => self.answer_now(pb::HashResponse {
                hash: self.store.hash(0)?.hash,
                ..Default::default()
            }),
            "HashKV" => {
                let request: pb::HashKvRequest = grpc::decode(body)?;
                let hash = self.store.hash(request.revision)?;
                self.answer_now(pb::HashKvResponse {
                    header: None,
                    hash: hash.hash,
                    compact_revision: hash.compacted,
                    hash_revision: hash.revision,
                })
            }
            "MoveLeader" => {
                let request: pb::MoveLeaderRequest = grpc::decode(body)?;
                match request.target_id == self.store.ids().1 {
                    true => Ok(grpc::framed(&pb::MoveLeaderResponse::default())),
                    false => Err(Refusal::BAD_LEADER_TRANSFEREE),
                }
            }
            "Downgrade" => self.downgrade(&grpc::decode(body)?),
            _ => Err(unknown(method)),
        }
    }

    fn status(&self) -> Answered {
        let stats = self.store.stats();
        let index = stats.applied + stats.revision as u64;
        let names =
            |kind: i32| pb::AlarmType::try_from(kind).map_or("NONE", |kind| kind.as_str_name());
        let member = self.store.ids().1;
        self.answer_now(pb::StatusResponse {
            header: None,
            version: VERSION.to_owned(),
            db_size: stats.log_bytes as i64,
            leader: member,
            raft_index: index,
            raft_term: TERM,
            raft_applied_index: index,
            errors: self
                .store
                .alarms()
                .into_iter()
                .map(|kind| format!("memberID:{member} alarm:{} ", names(kind)))
                .collect(),
            db_size_in_use: stats.live_bytes as i64,
            is_learner: false,
            storage_version: "3.6.0".to_owned(),
            db_size_quota: self.about.quota_bytes as i64,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        })
    }

    async fn alarm(&self, request: pb::AlarmRequest) -> Answered {
        let member_id = self.store.ids().1;
        let raised = self.store.alarms();
        let about = |kind: i32| pb::AlarmMember {
            member_id,
            alarm: kind,
        };
        let kind = request.alarm;
        let alarms = match request.action() {
            AlarmAction::Get => {
                let wanted = raised.into_iter().filter(|one| kind == 0 || *one == kind);
                wanted.map(about).collect()
            }
            AlarmAction::Activate if kind != 0 && !raised.contains(&kind) => {
                self.store.submit(Command::Alarm(kind, true)).await?;
                vec![about(kind)]
            }
            AlarmAction::Deactivate if raised.contains(&kind) => {
                self.store.submit(Command::Alarm(kind, false)).await?;
                vec![about(kind)]
            }
            _ => Vec::new(),
        };
        self.answer_now(pb::AlarmResponse {
            header: None,
            alarms,
        })
    }

    fn downgrade(&self, request: &pb::DowngradeRequest) -> Answered {
        if request.action() == DowngradeAction::Cancel {
            return self.answer_now(pb::DowngradeResponse {
                header: None,
                version: "3.6".to_owned(),
            });
        }
        let parts: Vec<Option<u32>> = request.version.split('.').map(|p| p.parse().ok()).collect();
        if !(2..=3).contains(&parts.len()) || parts.contains(&None) {
            return Err(Refusal::WRONG_DOWNGRADE_VERSION);
        }
        if parts[..2] != [Some(3), Some(5)] {
            return Err(Refusal::INVALID_DOWNGRADE_VERSION);
        }
        Err(not_capable())
    }
}
