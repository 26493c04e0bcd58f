//! How endpoints are spread over slices: existing ones keep their place, new ones fill slices that change anyway,
//! then the fullest that has room, then new slices.

use crate::template::controller_reference;
use corten_api::core::v1::Service;
use corten_api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Str};

/// Endpoints in one slice, at most.
const SLICE_MAX: usize = 100;

/// Endpoints with the same ports.
#[derive(Debug)]
pub(super) struct Group {
    pub ports: List<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

/// What becomes of the slices of one address family.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Existing slices as they shall be.
    pub kept: Vec<EndpointSlice>,
    pub created: Vec<EndpointSlice>,
    /// Names of existing slices.
    pub deleted: Vec<Str>,
}

/// A slice while it is being filled.
struct Bin {
    slice: EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
    exists: bool,
}

/// The same pod behind the same addresses is the same endpoint, whatever its conditions.
fn is_same(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |e: &Endpoint| e.target_ref.as_ref().map(|t| t.uid.clone());
    a.addresses == b.addresses && uid(a) == uid(b)
}

pub(super) fn pack(
    service: &Service,
    family: &str,
    groups: Vec<Group>,
    existing: &[&EndpointSlice],
) -> Packed {
    let mut packed = Packed::default();
    let mut free: Vec<&EndpointSlice> = existing.to_vec();
    for group in groups {
        let own: Vec<&EndpointSlice> = free
            .iter()
            .copied()
            .filter(|s| s.ports.iter().eq(group.ports.iter()))
            .collect();
        free.retain(|s| !own.iter().any(|o| o.metadata.name == s.metadata.name));
        let bins = fill(service, family, group, &own);
        for mut bin in bins {
            let placeholder =
                bin.endpoints.is_empty() && existing.len() <= 1 && packed.created.is_empty();
            if bin.endpoints.is_empty() && bin.exists && !placeholder {
                packed.deleted.push(bin.slice.metadata.name);
                continue;
            }
            bin.slice.endpoints = List::from(bin.endpoints);
            match bin.exists {
                true => packed.kept.push(bin.slice),
                false => packed.created.push(bin.slice),
            }
        }
    }
    reuse(&mut packed, &mut free);
    packed
        .deleted
        .extend(free.into_iter().map(|s| s.metadata.name.clone()));
    packed
}

fn fill(service: &Service, family: &str, group: Group, own: &[&EndpointSlice]) -> Vec<Bin> {
    let mut rest = group.endpoints;
    let mut bins: Vec<Bin> = own.iter().map(|slice| keep(slice, &mut rest)).collect();
    // Slices that are rewritten anyway take what is left; then the fullest in which all of it has room.
    for bin in bins
        .iter_mut()
        .filter(|b| b.changed && !b.endpoints.is_empty())
    {
        let room = SLICE_MAX
            .saturating_sub(bin.endpoints.len())
            .min(rest.len());
        bin.endpoints.extend(rest.drain(..room));
    }
    let fits = |b: &&mut Bin| b.endpoints.len() + rest.len() <= SLICE_MAX;
    if !rest.is_empty()
        && let Some(bin) = bins
            .iter_mut()
            .filter(fits)
            .max_by_key(|b| b.endpoints.len())
    {
        bin.endpoints.append(&mut rest);
    }
    while !rest.is_empty() || bins.is_empty() {
        let count = rest.len().min(SLICE_MAX);
        let endpoints = rest.drain(..count).collect();
        bins.push(Bin {
            slice: new_slice(service, family, &group.ports),
            endpoints,
            changed: true,
            exists: false,
        });
    }
    bins
}

/// The slice with those of its endpoints that are still wanted, which leave `rest`.
fn keep(slice: &EndpointSlice, rest: &mut Vec<Endpoint>) -> Bin {
    let mut endpoints = Vec::new();
    let mut changed = false;
    for seen in slice.endpoints.iter() {
        match rest.iter().position(|wanted| is_same(wanted, seen)) {
            Some(index) => {
                let wanted = rest.remove(index);
                changed |= wanted != *seen;
                endpoints.push(wanted);
            }
            None => changed = true,
        }
    }
    Bin {
        slice: slice.clone(),
        endpoints,
        changed,
        exists: true,
    }
}

/// A slice that would be deleted becomes one that would be created: one write instead of two.
fn reuse(packed: &mut Packed, free: &mut Vec<&EndpointSlice>) {
    while !packed.created.is_empty() && !free.is_empty() {
        if let (Some(created), Some(seen)) = (packed.created.pop(), free.pop()) {
            let mut slice = seen.clone();
            slice.ports = created.ports;
            slice.endpoints = created.endpoints;
            packed.kept.push(slice);
        }
    }
}

fn new_slice(service: &Service, family: &str, ports: &List<EndpointPort>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            generate_name: format!("{}-", service.metadata.name).into(),
            owner_references: List::from_iter([controller_reference(service)]),
            ..Default::default()
        },
        address_type: family.into(),
        endpoints: List::empty(),
        ports: ports.clone(),
        ..Default::default()
    }
}
