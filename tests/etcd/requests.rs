//! Random requests over few keys, so that they meet: the same seed gives the same requests.

use bytes::Bytes;
use corten_etcd::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare::TargetUnion, request_op::Request,
};

/// A request of any kind.
pub enum Any {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(i64),
    Hash(i64),
}

/// A row of numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn key(&mut self) -> Bytes {
        if self.one_in(60) {
            return Bytes::new();
        }
        let letters = 1 + self.below(2);
        (0..letters).map(|_| b'a' + self.below(5) as u8).collect()
    }

    fn end(&mut self) -> Bytes {
        match self.below(6) {
            0 => Bytes::from_static(&[0]),
            1 | 2 => self.key(),
            _ => Bytes::new(),
        }
    }

    fn value(&mut self) -> Bytes {
        (0..self.below(6))
            .map(|_| b'0' + self.below(4) as u8)
            .collect()
    }

    fn revision(&mut self, now: i64) -> i64 {
        match self.below(8) {
            0 => now + self.below(3) as i64,
            1 | 2 => now - self.below(40) as i64,
            _ => 0,
        }
    }

    fn range(&mut self, now: i64) -> RangeRequest {
        // Now and then one that upstream does not know.
        let (orders, targets) = if self.one_in(30) { (5, 7) } else { (3, 5) };
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: self.below(5) as i64 - 1,
            revision: self.revision(now),
            sort_order: self.below(orders) as i32,
            sort_target: self.below(targets) as i32,
            serializable: self.one_in(2),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(now),
            max_mod_revision: self.bound(now),
            min_create_revision: self.bound(now),
            max_create_revision: self.bound(now),
        }
    }

    fn bound(&mut self, now: i64) -> i64 {
        if self.one_in(8) {
            now - self.below(20) as i64
        } else {
            0
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.one_in(8);
        let keeps = ignore_value && !self.one_in(5);
        PutRequest {
            key: self.key(),
            value: if keeps { Bytes::new() } else { self.value() },
            lease: if self.one_in(8) {
                self.below(3) as i64
            } else {
                0
            },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease: self.one_in(10),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest {
            key: self.key(),
            range_end: self.end(),
            prev_kv: self.one_in(2),
        }
    }

    fn compare(&mut self, now: i64) -> Compare {
        let number = match self.below(3) {
            0 => 0,
            1 => now - self.below(10) as i64,
            _ => self.below(4) as i64,
        };
        let target = self.below(5) as i32;
        let union = match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value(self.value()),
            _ => TargetUnion::Lease(number),
        };
        Compare {
            result: self.below(4) as i32,
            target,
            key: self.key(),
            range_end: if self.one_in(4) {
                self.end()
            } else {
                Bytes::new()
            },
            target_union: (!self.one_in(12)).then_some(union),
        }
    }

    fn ops(&mut self, now: i64, depth: u64) -> Vec<RequestOp> {
        let count = self.below(4);
        (0..count)
            .map(|_| {
                let request = match self.below(if depth < 2 { 9 } else { 8 }) {
                    0..=2 => Request::RequestRange(self.range(now)),
                    // What upstream panics over (a value to keep that the same transaction deletes) is left out.
                    3..=5 => Request::RequestPut(PutRequest {
                        ignore_value: false,
                        ignore_lease: false,
                        ..self.put()
                    }),
                    6 | 7 => Request::RequestDeleteRange(self.delete()),
                    _ => Request::RequestTxn(self.txn(now, depth + 1)),
                };
                RequestOp {
                    request: (!self.one_in(200)).then_some(request),
                }
            })
            .collect()
    }

    fn txn(&mut self, now: i64, depth: u64) -> TxnRequest {
        let compares = self.below(3);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare(now)).collect(),
            success: self.ops(now, depth),
            failure: self.ops(now, depth),
        }
    }

    /// The next request, at about this revision.
    pub fn any(&mut self, now: i64) -> Any {
        match self.below(40) {
            0..=9 => Any::Range(self.range(now)),
            10..=21 => Any::Put(self.put()),
            22..=25 => Any::Delete(self.delete()),
            26..=36 => Any::Txn(self.txn(now, 0)),
            37 => Any::Compact(now - 30 + self.below(34) as i64),
            _ => Any::Hash(self.revision(now)),
        }
    }
}
