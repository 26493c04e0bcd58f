//! Node ports where several servers give them: the bitmap that upstream keeps under `/registry/ranges` is written in the
//! same transaction as the service, on condition that nobody else wrote it. A server alone on its store needs none.

use std::collections::BTreeSet;

use corten_api::Object;
use corten_api::core::v1::RangeAllocation;
use corten_client::Status;
use corten_core::Bin;
use corten_store::{Header, Key, Op, Precondition, Put};

use crate::encode;
use crate::server::Server;

const PATH: &[u8] = b"/registry/ranges/servicenodeports";

/// The ports that are taken there.
pub(crate) fn taken(server: &Server) -> BTreeSet<u16> {
    let first = *server.config.ranges.node_ports.start();
    match current(server) {
        Some((range, _)) => ports(&range.data, first).collect(),
        None => BTreeSet::new(),
    }
}

/// The write that takes and gives back ports; none when nothing changes or nobody else gives any.
pub(crate) fn book(
    server: &Server,
    taken: &BTreeSet<u16>,
    given_back: &BTreeSet<u16>,
) -> Result<Option<Op>, Status> {
    if !server.store.is_remote() || (taken.is_empty() && given_back.is_empty()) {
        return Ok(None);
    }
    let range = &server.config.ranges.node_ports;
    let (mut allocation, precondition) = match current(server) {
        Some((allocation, revision)) => (allocation, Precondition::ModRevision(revision)),
        None => (RangeAllocation::default(), Precondition::MustNotExist),
    };
    let mut all: BTreeSet<u16> = ports(&allocation.data, *range.start()).collect();
    all.retain(|port| !given_back.contains(port));
    all.extend(taken.iter().filter(|port| range.contains(port)));
    allocation.range = format!("{}-{}", range.start(), range.end()).into();
    allocation.data = bitmap(&all, *range.start());
    let stored = encode::kept(&Object::from(allocation))?;
    let put = Put::new(Key::raw(PATH), stored, Header::default());
    Ok(Some(Op::Put(put.when(precondition))))
}

fn current(server: &Server) -> Option<(RangeAllocation, corten_store::Revision)> {
    let entry = server.store.get(&Key::raw(PATH))?;
    let object = crate::decode::stored(None, &entry.stored().ok()?).ok()?;
    let allocation = object.downcast_ref::<RangeAllocation>()?.clone();
    Some((allocation, entry.mod_revision()))
}

/// The bits of a large number, its last byte first.
fn ports(bitmap: &[u8], first: u16) -> impl Iterator<Item = u16> {
    let bytes: Vec<u8> = bitmap.iter().rev().copied().collect();
    (0..bytes.len() * 8)
        .filter(move |bit| bytes[bit / 8] & (1 << (bit % 8)) != 0)
        .filter_map(move |bit| first.checked_add(u16::try_from(bit).ok()?))
}

fn bitmap(ports: &BTreeSet<u16>, first: u16) -> Bin {
    let mut bytes = Vec::new();
    for port in ports {
        let bit = usize::from(port.saturating_sub(first));
        bytes.resize(bytes.len().max(bit / 8 + 1), 0);
        bytes[bit / 8] |= 1 << (bit % 8);
    }
    bytes.reverse();
    Bin::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_bits_of_a_large_number() {
        let set = BTreeSet::from([30_000, 30_009, 30_010]);
        let map = bitmap(&set, 30_000);
        assert_eq!(&map[..], [0b110, 1]);
        assert_eq!(ports(&map, 30_000).collect::<BTreeSet<_>>(), set);
        assert!(bitmap(&BTreeSet::new(), 30_000).is_empty());
    }
}
