//! What requests do to the state and what they answer, exactly as upstream does it. A transaction takes one
//! revision however many keys it changes, and none if it changes nothing.

use super::index::{Index, Span};
use super::record::{Position, Record};
use crate::Refusal;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, compare,
    range_request::{SortOrder, SortTarget},
    request_op, response_op,
};
use crate::proto::mvccpb::KeyValue;
use std::cmp::Ordering;
use std::sync::Arc;

/// A header that says the revision; the face adds who answers.
pub fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}

/// Answers a range request from what is visible up to `visible`.
pub fn range(
    index: &Index,
    request: &RangeRequest,
    visible: i64,
) -> Result<RangeResponse, Refusal> {
    let revision = index.resolve(request.revision, visible)?;
    let filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    let ordered = request.sort_order() != SortOrder::None;
    let limit = request.limit.max(0) as usize;
    let fetch = if ordered || filtered || limit == 0 {
        0
    } else {
        limit + 1
    };
    let span = Span::new(&request.key, &request.range_end);
    let mut response = RangeResponse {
        header: header(visible),
        ..RangeResponse::default()
    };
    if request.count_only {
        let mut count = 0;
        index.each(span, revision, |_| count += 1);
        response.count = count;
        return Ok(response);
    }
    let mut found = index.range(span, revision, fetch);
    response.count = found.count as i64;
    if filtered {
        found.records.retain(|record| passes(request, record));
    }
    sort(request, &mut found.records);
    if limit > 0 && found.records.len() > limit {
        found.records.truncate(limit);
        response.more = true;
    }
    response.kvs = found
        .records
        .iter()
        .map(|record| record.key_value())
        .collect();
    if request.keys_only {
        for kv in &mut response.kvs {
            kv.value.clear();
        }
    }
    Ok(response)
}

fn passes(request: &RangeRequest, record: &Record) -> bool {
    let within =
        |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(
        record.main(),
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        record.create(),
        request.min_create_revision,
        request.max_create_revision,
    )
}

fn sort(request: &RangeRequest, records: &mut [Arc<Record>]) {
    let target = request.sort_target();
    let order = match (target, request.sort_order()) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => return,
        (_, SortOrder::None) => SortOrder::Ascend,
        (_, order) => order,
    };
    let by = |a: &Arc<Record>, b: &Arc<Record>| match target {
        SortTarget::Key => a.key().cmp(b.key()),
        SortTarget::Version => a.version().cmp(&b.version()),
        SortTarget::Create => a.create().cmp(&b.create()),
        SortTarget::Mod => a.main().cmp(&b.main()),
        SortTarget::Value => a.value().cmp(b.value()),
    };
    match order {
        SortOrder::Descend => records.sort_by(|a, b| by(b, a)),
        _ => records.sort_by(by),
    }
}

/// A transaction that only reads, on what is visible up to `visible`.
pub fn readonly_txn(
    index: &Index,
    request: &TxnRequest,
    visible: i64,
) -> Result<TxnResponse, Refusal> {
    let ops = chosen(index, request, visible).1;
    for op in ops {
        check_op(index, op, visible)?;
    }
    let (succeeded, ops) = chosen(index, request, visible);
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        let response = match &op.request {
            Some(request_op::Request::RequestRange(one)) => Some(
                response_op::Response::ResponseRange(range(index, one, visible)?),
            ),
            _ => None,
        };
        responses.push(ResponseOp { response });
    }
    Ok(TxnResponse {
        header: header(visible),
        succeeded,
        responses,
    })
}

fn chosen<'a>(index: &Index, request: &'a TxnRequest, visible: i64) -> (bool, &'a [RequestOp]) {
    let succeeded = request
        .compare
        .iter()
        .all(|one| compares(index, one, visible));
    if succeeded {
        (true, &request.success)
    } else {
        (false, &request.failure)
    }
}

fn compares(index: &Index, compare: &Compare, visible: i64) -> bool {
    let mut any = false;
    let mut all = true;
    index.each(
        Span::new(&compare.key, &compare.range_end),
        visible,
        |record| {
            any = true;
            all &= compares_one(compare, Some(record));
        },
    );
    if any {
        return all;
    }
    // There is no way to say "no value", so a value is never equal to it.
    compare.target() != compare::CompareTarget::Value && compares_one(compare, None)
}

fn compares_one(compare: &Compare, record: Option<&Record>) -> bool {
    use compare::{CompareResult, CompareTarget, TargetUnion};
    let union = compare.target_union.as_ref();
    let number = |read: fn(&Record) -> i64, wanted: Option<i64>| {
        record.map_or(0, read).cmp(&wanted.unwrap_or(0))
    };
    let ordering: Ordering = match compare.target() {
        CompareTarget::Value => {
            let wanted = match union {
                Some(TargetUnion::Value(value)) => &value[..],
                _ => &[],
            };
            record.map_or(&[][..], |record| record.value()).cmp(wanted)
        }
        CompareTarget::Create => number(
            Record::create,
            match union {
                Some(TargetUnion::CreateRevision(n)) => Some(*n),
                _ => None,
            },
        ),
        CompareTarget::Mod => number(
            Record::main,
            match union {
                Some(TargetUnion::ModRevision(n)) => Some(*n),
                _ => None,
            },
        ),
        CompareTarget::Version => number(
            Record::version,
            match union {
                Some(TargetUnion::Version(n)) => Some(*n),
                _ => None,
            },
        ),
        CompareTarget::Lease => number(
            Record::lease,
            match union {
                Some(TargetUnion::Lease(n)) => Some(*n),
                _ => None,
            },
        ),
    };
    match compare.result() {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

fn check_op(index: &Index, op: &RequestOp, visible: i64) -> Result<(), Refusal> {
    match &op.request {
        Some(request_op::Request::RequestRange(one)) if one.revision != 0 => {
            if one.revision > visible {
                return Err(Refusal::FUTURE_REVISION);
            }
            if one.revision < index.compacted {
                return Err(Refusal::COMPACTED);
            }
            Ok(())
        }
        Some(request_op::Request::RequestPut(one)) => check_put(index, one, visible),
        _ => Ok(()),
    }
}

fn check_put(index: &Index, put: &PutRequest, visible: i64) -> Result<(), Refusal> {
    let keeps = put.ignore_value || put.ignore_lease;
    if keeps && index.get(&put.key, visible).is_none() {
        return Err(Refusal::KEY_NOT_FOUND);
    }
    if put.lease != 0 && index.leases.get(put.lease).is_none() {
        return Err(Refusal::LEASE_NOT_FOUND);
    }
    Ok(())
}

/// The branches that a transaction and those nested in it take, all decided before anything changes.
fn path(index: &Index, request: &TxnRequest, visible: i64, out: &mut Vec<bool>) {
    let (succeeded, ops) = chosen(index, request, visible);
    out.push(succeeded);
    for op in ops {
        if let Some(request_op::Request::RequestTxn(nested)) = &op.request {
            path(index, nested, visible, out);
        }
    }
}

fn check_path(
    index: &Index,
    request: &TxnRequest,
    visible: i64,
    path: &mut std::slice::Iter<'_, bool>,
) -> Result<(), Refusal> {
    let succeeded = path.next().copied().unwrap_or(false);
    let ops = if succeeded {
        &request.success
    } else {
        &request.failure
    };
    for op in ops {
        match &op.request {
            Some(request_op::Request::RequestTxn(nested)) => {
                check_path(index, nested, visible, path)?;
            }
            _ => check_op(index, op, visible)?,
        }
    }
    Ok(())
}

/// A transaction being applied: changes go into the index at the next revision.
pub struct Applying<'a> {
    index: &'a mut Index,
    /// The revision before it.
    base: i64,
    sub: i64,
    segment: u32,
    /// What it changed.
    pub changes: Vec<Arc<Record>>,
}

impl<'a> Applying<'a> {
    /// A transaction on top of everything in the index.
    pub fn on(index: &'a mut Index, segment: u32) -> Applying<'a> {
        let base = index.revision;
        Applying {
            index,
            base,
            sub: 0,
            segment,
            changes: Vec::new(),
        }
    }

    /// The revision that its reads see, and that it has in the end.
    pub fn revision(&self) -> i64 {
        self.base + i64::from(!self.changes.is_empty())
    }

    fn position(&mut self) -> Position {
        let position = Position {
            main: self.base + 1,
            sub: self.sub,
        };
        self.sub += 1;
        position
    }

    /// A put that stands alone.
    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, Refusal> {
        if request.lease != 0 && self.index.leases.get(request.lease).is_none() {
            return Err(Refusal::LEASE_NOT_FOUND);
        }
        self.apply_put(request)
    }

    fn apply_put(&mut self, request: &PutRequest) -> Result<PutResponse, Refusal> {
        let reads = request.prev_kv || request.ignore_value || request.ignore_lease;
        let before = match reads {
            true => self.index.get(&request.key, self.revision()).cloned(),
            false => None,
        };
        let mut lease = request.lease;
        let mut value = request.value.clone();
        if request.ignore_value || request.ignore_lease {
            let before = before.as_ref().ok_or(Refusal::KEY_NOT_FOUND)?;
            if request.ignore_value {
                value = before.key_value().value;
            }
            if request.ignore_lease {
                lease = before.lease();
            }
        }
        let position = self.position();
        let record = self
            .index
            .put(&request.key, &value, lease, position, self.segment);
        self.changes.push(record);
        Ok(PutResponse {
            header: header(self.base + 1),
            prev_kv: before
                .filter(|_| request.prev_kv)
                .map(|before| before.key_value()),
        })
    }

    /// A deletion.
    pub fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let span = Span::new(&request.key, &request.range_end);
        let found = self.index.range(span, self.revision(), 0);
        let mut prev_kvs: Vec<KeyValue> = Vec::new();
        for record in &found.records {
            if request.prev_kv {
                prev_kvs.push(record.key_value());
            }
            self.delete_key(record.key());
        }
        DeleteRangeResponse {
            header: header(self.revision()),
            deleted: found.records.len() as i64,
            prev_kvs,
        }
    }

    /// Deletes one key, if it exists.
    pub fn delete_key(&mut self, key: &[u8]) {
        let position = Position {
            main: self.base + 1,
            sub: self.sub,
        };
        if let Some(record) = self.index.delete(key, position, self.segment) {
            self.sub += 1;
            self.changes.push(record);
        }
    }

    /// A transaction, checked before.
    pub fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Refusal> {
        let mut decided = Vec::new();
        path(self.index, request, self.base, &mut decided);
        check_path(self.index, request, self.base, &mut decided.iter())?;
        let mut response = self.apply_txn(request, &mut decided.iter())?;
        response.header = header(self.revision());
        Ok(response)
    }

    fn apply_txn(
        &mut self,
        request: &TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
    ) -> Result<TxnResponse, Refusal> {
        use request_op::Request;
        use response_op::Response;
        let succeeded = path.next().copied().unwrap_or(false);
        let ops = if succeeded {
            &request.success
        } else {
            &request.failure
        };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            let response = match &op.request {
                Some(Request::RequestRange(one)) => Some(Response::ResponseRange(range(
                    self.index,
                    one,
                    self.revision(),
                )?)),
                Some(Request::RequestPut(one)) => Some(Response::ResponsePut(self.apply_put(one)?)),
                Some(Request::RequestDeleteRange(one)) => {
                    Some(Response::ResponseDeleteRange(self.delete(one)))
                }
                Some(Request::RequestTxn(one)) => {
                    let mut nested = self.apply_txn(one, path)?;
                    // Upstream leaves the header of a nested answer empty.
                    nested.header = Some(ResponseHeader::default());
                    Some(Response::ResponseTxn(nested))
                }
                None => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse {
            header: header(0),
            succeeded,
            responses,
        })
    }
}
