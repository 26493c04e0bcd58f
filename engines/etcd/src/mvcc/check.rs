//! What is wrong with a request whatever the state is, in upstream's words and order.

use crate::Refusal;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};
use bytes::Bytes;
use std::collections::HashSet;

/// Checks a range request.
pub fn range(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EMPTY_KEY);
    }
    if !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target) {
        return Err(Refusal::INVALID_SORT);
    }
    Ok(())
}

/// Checks a put.
pub fn put(request: &PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EMPTY_KEY);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LEASE_PROVIDED);
    }
    Ok(())
}

/// Checks a deletion.
pub fn delete(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EMPTY_KEY);
    }
    Ok(())
}

/// Checks a transaction of at most `ops_max` operations at each level.
pub fn txn(request: &TxnRequest, ops_max: usize) -> Result<(), Refusal> {
    shape(request, ops_max)?;
    intervals(&request.success)?;
    intervals(&request.failure)?;
    Ok(())
}

fn shape(request: &TxnRequest, ops_max: usize) -> Result<(), Refusal> {
    let count = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    if count > ops_max {
        return Err(Refusal::TOO_MANY_OPS);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EMPTY_KEY);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(one)) => range(one)?,
            Some(Request::RequestPut(one)) => put(one)?,
            Some(Request::RequestDeleteRange(one)) => delete(one)?,
            Some(Request::RequestTxn(one)) => shape(one, ops_max - count)?,
            None => return Err(Refusal::KEY_NOT_FOUND),
        }
    }
    Ok(())
}

/// The keys put and the ranges deleted below a list of operations.
#[derive(Default)]
struct Touched {
    puts: HashSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Touched {
    /// Upstream takes an end of one zero byte for what it says here, not for the end of all keys: such a deletion
    /// may stand beside puts.
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes
            .iter()
            .any(|(start, end)| match end.is_empty() {
                true => key == start,
                false => key >= &start[..] && key < &end[..],
            })
    }
}

/// Whether a range of etcd's kind covers a key: an empty end means one key, an end of one zero byte all that follow.
pub fn covers(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

/// Refuses puts of one key twice, and puts of a key that is deleted beside it.
fn intervals(ops: &[RequestOp]) -> Result<Touched, Refusal> {
    let mut touched = Touched::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            touched
                .deletes
                .push((delete.key.clone(), delete.range_end.clone()));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(txn)) = &op.request else {
            continue;
        };
        let then = intervals(&txn.success)?;
        let otherwise = intervals(&txn.failure)?;
        for key in &then.puts {
            if touched.puts.contains(key) || touched.deletes(key) {
                return Err(Refusal::DUPLICATE_KEY);
            }
        }
        touched.puts.extend(then.puts.iter().cloned());
        for key in otherwise.puts {
            // One of the branches runs, not both.
            let elsewhere = touched.puts.contains(&key) && !then.puts.contains(&key);
            if elsewhere || touched.deletes(&key) {
                return Err(Refusal::DUPLICATE_KEY);
            }
            touched.puts.insert(key);
        }
        touched.deletes.extend(then.deletes);
        touched.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request
            && (touched.deletes(&put.key) || !touched.puts.insert(put.key.clone()))
        {
            return Err(Refusal::DUPLICATE_KEY);
        }
    }
    Ok(touched)
}

/// Whether a transaction only reads.
pub fn is_readonly(request: &TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure);
    ops.all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(request: Request) -> RequestOp {
        RequestOp {
            request: Some(request),
        }
    }

    fn put_of(key: &'static [u8]) -> RequestOp {
        op(Request::RequestPut(PutRequest {
            key: key.into(),
            ..Default::default()
        }))
    }

    fn delete_of(key: &'static [u8], end: &'static [u8]) -> RequestOp {
        op(Request::RequestDeleteRange(DeleteRangeRequest {
            key: key.into(),
            range_end: end.into(),
            ..Default::default()
        }))
    }

    fn check(success: Vec<RequestOp>) -> Result<(), Refusal> {
        let request = TxnRequest {
            success,
            ..Default::default()
        };
        txn(&request, 128)
    }

    #[test]
    fn overlaps_are_refused() {
        assert!(check(vec![put_of(b"a"), put_of(b"b")]).is_ok());
        assert_eq!(
            check(vec![put_of(b"a"), put_of(b"a")]),
            Err(Refusal::DUPLICATE_KEY)
        );
        assert_eq!(
            check(vec![put_of(b"b"), delete_of(b"a", b"c")]),
            Err(Refusal::DUPLICATE_KEY)
        );
        assert!(check(vec![delete_of(b"a", b"c"), delete_of(b"b", b"")]).is_ok());
        let branches = TxnRequest {
            success: vec![put_of(b"a")],
            failure: vec![put_of(b"a")],
            ..Default::default()
        };
        assert!(check(vec![op(Request::RequestTxn(branches.clone()))]).is_ok());
        assert_eq!(
            check(vec![op(Request::RequestTxn(branches)), put_of(b"a")]),
            Err(Refusal::DUPLICATE_KEY)
        );
    }

    #[test]
    fn too_many_operations_are_refused() {
        let many = |n: usize| (0..n).map(|_| put_of(b"a")).collect::<Vec<_>>();
        assert_eq!(check(many(129)), Err(Refusal::TOO_MANY_OPS));
        assert_eq!(check(vec![op_none()]), Err(Refusal::KEY_NOT_FOUND));
        assert_eq!(check(vec![put_of(b"")]), Err(Refusal::EMPTY_KEY));
    }

    fn op_none() -> RequestOp {
        RequestOp { request: None }
    }
}
