//! CertificateSigningRequests: who asked, what approval and status may change, table. Leaves out the groups, uid and
//! extra of the user, which the API server adds because only it knows them.

use super::columns;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, cells};
use corten_api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestStatus};
use corten_core::{List, Str, Time, Value};

/// The strategy of CertificateSigningRequests.
pub struct CertificateSigningRequests;

impl Rules for CertificateSigningRequests {
    type Of = CertificateSigningRequest;
    with_status!();

    fn prepare_create(&self, cx: &Context, new: &mut CertificateSigningRequest) {
        new.spec.username = cx.user.into();
        new.spec.uid = Str::EMPTY;
        new.spec.groups = List::NIL;
        new.spec.extra = Default::default();
    }
    fn prepare_update(
        &self,
        cx: &Context,
        part: &str,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        match part {
            "status" => {
                for kind in ["Approved", "Denied"] {
                    keep_conditions(kind, &mut new.status, &old.status);
                }
                fill_times(cx.now, &mut new.status, &old.status);
            }
            "approval" => {
                fill_times(cx.now, &mut new.status, &old.status);
                let conditions = std::mem::take(&mut new.status.conditions);
                new.status = old.status.clone();
                new.status.conditions = conditions;
            }
            _ => {}
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CERTIFICATE_SIGNING_REQUEST
    }
    fn cells(&self, obj: &CertificateSigningRequest, now: &Time) -> Vec<Value> {
        let signer = if obj.spec.signer_name.is_empty() {
            "<none>"
        } else {
            &obj.spec.signer_name
        };
        let asked = obj
            .spec
            .expiration_seconds
            .map(|s| cells::duration(i64::from(s)));
        vec![
            Value::from(&obj.metadata.name),
            cells::age(&obj.metadata.creation_timestamp, now),
            Value::from(signer),
            Value::from(&obj.spec.username),
            Value::from(asked.unwrap_or_else(|| "<none>".to_owned())),
            Value::from(state(&obj.status)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
    fn field_values(&self, obj: &CertificateSigningRequest) -> Vec<Str> {
        vec![obj.spec.signer_name.clone()]
    }
}

type Status = CertificateSigningRequestStatus;

/// Conditions of a type that are neither added nor removed stay as they were.
fn keep_conditions(kind: &str, new: &mut Status, old: &Status) {
    let before: Vec<_> = old.conditions.iter().filter(|c| c.type_ == kind).collect();
    let mut now: Vec<_> = new
        .conditions
        .iter_mut()
        .filter(|c| c.type_ == kind)
        .collect();
    if before.len() == now.len() {
        for (new, old) in now.iter_mut().zip(before) {
            **new = old.clone();
        }
    }
}

fn fill_times(now: Time, new: &mut Status, old: &Status) {
    for condition in &mut new.conditions {
        if condition.last_update_time.is_zero() {
            condition.last_update_time = now;
        }
        if condition.last_transition_time.is_zero() {
            let same = old.conditions.iter().find(|o| {
                o.type_ == condition.type_
                    && o.status == condition.status
                    && !o.last_transition_time.is_zero()
            });
            condition.last_transition_time = same.map_or(now, |o| o.last_transition_time);
        }
    }
}

fn state(status: &Status) -> String {
    let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind);
    let mut text = if is("Denied") {
        "Denied".to_owned()
    } else if is("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if is("Failed") {
        text.push_str(",Failed");
    }
    if !status.certificate.is_empty() {
        text.push_str(",Issued");
    }
    text
}
