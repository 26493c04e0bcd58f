//! `spec.ipFamilies` and `spec.ipFamilyPolicy` of services, settled before addresses are given out: what is left out is
//! filled in, and what the cluster's networks cannot give is refused, in upstream's order and words.

use std::net::IpAddr;

use corten_api::core::v1::Service;
use corten_core::{Str, Value};
use corten_kinds::FieldError;
use corten_kinds::core::service::cluster_ip_errors;

use crate::allocate::Ranges;

const SINGLE: &str = "SingleStack";
const REQUIRE: &str = "RequireDualStack";

/// The family of an address.
pub(crate) fn family_of(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn available(ranges: &Ranges) -> Vec<&'static str> {
    ranges
        .services
        .iter()
        .map(|(ip, _)| family_of(*ip))
        .collect()
}

/// Fills in families and policy.
pub(crate) fn settle(
    service: &mut Service,
    before: Option<&Service>,
    ranges: &Ranges,
) -> Result<(), Vec<FieldError>> {
    if service.spec.type_ == "ExternalName" {
        return Ok(());
    }
    let bare = service.spec.cluster_ip == "None" && service.spec.selector.is_empty();
    if service.spec.ip_family_policy.is_none() {
        let kept = before.and_then(|b| b.spec.ip_family_policy.clone());
        let policy = kept.unwrap_or_else(|| if bare { REQUIRE } else { SINGLE }.into());
        service.spec.ip_family_policy = Some(policy);
    }
    let errors = cluster_ip_errors(service, before);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut errors = Vec::new();
    if let Some(before) = before {
        release(&mut errors, service, before);
    }
    let networks = available(ranges);
    single(&mut errors, service);
    follow_addresses(&mut errors, service, &networks);
    if !errors.is_empty() {
        return Err(errors);
    }
    if bare {
        complete_bare(service, &networks);
        return Ok(());
    }
    let policy = service.spec.ip_family_policy.clone().unwrap_or_default();
    if policy == REQUIRE && networks.len() < 2 {
        let text = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", &policy, text));
    }
    for (i, family) in service.spec.ip_families.iter().enumerate() {
        if !networks.iter().any(|n| family == *n) {
            let text = "not configured on this cluster";
            errors.push(FieldError::invalid(
                format!("spec.ipFamilies[{i}]"),
                family,
                text,
            ));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let families = &mut service.spec.ip_families;
    if families.is_empty() {
        families.extend(networks.first().map(|f| Str::from(*f)));
    }
    if policy != SINGLE && families.len() == 1 && networks.len() == 2 {
        let other = other_family(&families[0]);
        families.push(other);
    }
    Ok(())
}

fn other_family(family: &str) -> &'static str {
    if family == "IPv4" { "IPv6" } else { "IPv4" }
}

/// What an update may give back: a second address only together with the policy.
fn release(errors: &mut Vec<FieldError>, service: &mut Service, before: &Service) {
    let policy = service.spec.ip_family_policy.clone().unwrap_or_default();
    let (now, was) = (&mut service.spec, &before.spec);
    if policy == SINGLE {
        if *now.cluster_ips == *was.cluster_ips && now.cluster_ips.len() > 1 {
            now.cluster_ips.truncate(1);
        }
        if *now.ip_families == *was.ip_families && now.ip_families.len() > 1 {
            now.ip_families.truncate(1);
        }
        return;
    }
    let fewer =
        |now: &[Str], was: &[Str]| !now.is_empty() && now.len() < was.len() && now[0] == was[0];
    for (less, what) in [
        (
            fewer(&now.cluster_ips, &was.cluster_ips),
            "must be 'SingleStack' to release the secondary cluster IP",
        ),
        (
            fewer(&now.ip_families, &was.ip_families),
            "must be 'SingleStack' to release the secondary IP family",
        ),
    ] {
        if less {
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", &policy, what));
        }
    }
}

fn single(errors: &mut Vec<FieldError>, service: &Service) {
    let policy = service.spec.ip_family_policy.clone().unwrap_or_default();
    for (count, what) in [
        (service.spec.cluster_ips.len(), "cluster IPs"),
        (service.spec.ip_families.len(), "IP families"),
    ] {
        if policy == SINGLE && count == 2 {
            let text = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", &policy, text));
        }
    }
}

/// Families that the addresses asked for imply.
fn follow_addresses(
    errors: &mut Vec<FieldError>,
    service: &mut Service,
    networks: &[&'static str],
) {
    let ips = service.spec.cluster_ips.clone();
    for (i, ip) in ips.iter().enumerate() {
        let Ok(address) = ip.parse::<IpAddr>() else {
            break;
        };
        if i < service.spec.ip_families.len() {
            continue;
        }
        let family = family_of(address);
        if networks.contains(&family) {
            service.spec.ip_families.push(family);
        } else {
            let shown = Value::List(ips.iter().map(Value::from).collect());
            let text = format!("{family} is not configured on this cluster");
            errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{i}]"),
                shown,
                text,
            ));
        }
    }
}

/// Headless services without a selector may have endpoints of any family.
fn complete_bare(service: &mut Service, networks: &[&'static str]) {
    let policy = service.spec.ip_family_policy.clone().unwrap_or_default();
    let families = &mut service.spec.ip_families;
    if families.is_empty() {
        families.extend(networks.first().map(|f| Str::from(*f)));
    }
    if families.len() == 1 && policy != SINGLE {
        let other = other_family(&families[0]);
        families.push(other);
    }
}
