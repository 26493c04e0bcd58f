//! Calls the admission rules with what they may see, and words their refusals.

use corten_access::UserInfo;
use corten_access::admission::{self, Denial, Operation, Outcome, Review};
use corten_api::Object;
use corten_client::{Cause, Status, Target};
use corten_core::Time;
use corten_kinds::Context;
use corten_meta::{GroupVersionKind, GroupVersionResource};

use crate::server::Server;
use crate::typed::View;
use crate::write::Aim;

/// Everything one run of the ladder shows to rules.
pub(crate) struct Admission<'a> {
    view: &'a View,
    user: &'a UserInfo,
    aim: &'a Aim<'a>,
    operation: Operation,
    old: Option<&'a Object>,
    dry_run: bool,
    now: Time,
    random: u64,
    kind: GroupVersionKind,
    resource: GroupVersionResource,
}

impl<'a> Admission<'a> {
    pub(crate) fn new(
        server: &Server,
        view: &'a View,
        user: &'a UserInfo,
        aim: &'a Aim<'a>,
        operation: Operation,
        old: Option<&'a Object>,
        dry_run: bool,
    ) -> Admission<'a> {
        let served = aim.served;
        Admission {
            view,
            user,
            aim,
            operation,
            old,
            dry_run,
            now: server.now(),
            random: server.random(),
            kind: served.storage_kind(),
            resource: served.group_version_resource(),
        }
    }

    /// What strategies may look at.
    pub(crate) fn context(&self) -> Context<'a> {
        Context {
            snapshot: &self.view.snapshot,
            now: self.now,
            user: &self.user.name,
            random: self.random,
        }
    }

    fn review(&self) -> Review<'_> {
        Review {
            snapshot: &self.view.snapshot,
            rules: &self.view.rules,
            now: &self.now,
            random: self.random,
            user: self.user,
            operation: self.operation,
            kind: &self.kind,
            resource: &self.resource,
            subresource: self.aim.subresource,
            namespace: self.aim.namespace,
            name: self.aim.name,
            dry_run: self.dry_run,
            old: self.old,
        }
    }

    fn refuse(&self, denial: Denial) -> Status {
        let target: Target<'_> = self.aim.target();
        if denial.code == 403 {
            let mut status = Status::forbidden(target, &denial.message);
            if denial.message.ends_with("because it is being terminated")
                && let Some(details) = &mut status.details
            {
                details.causes.push(Cause {
                    reason: "NamespaceTerminating".into(),
                    message: format!("namespace {} is being terminated", self.aim.namespace),
                    field: "metadata.namespace".into(),
                });
            }
            return status;
        }
        let mut status = Status::new(denial.code, denial.reason, denial.message);
        status.details = match denial.code {
            // What admission does not find is the namespace.
            404 => {
                Status::not_found(Target {
                    group: "",
                    resource: "namespaces",
                    name: self.aim.namespace,
                })
                .details
            }
            409 => Status::not_found(target).details,
            _ => None,
        };
        status
    }
}

/// Lets admission change the object; answers warnings.
pub(crate) fn mutate(a: &Admission<'_>, object: &mut Object) -> Result<Vec<String>, Status> {
    admission::mutate(&a.review(), object).map_err(|denial| a.refuse(denial))
}

/// Asks admission whether the finished object (or the deletion) may be.
pub(crate) fn validate(a: &Admission<'_>, object: Option<&Object>) -> Result<Outcome, Status> {
    admission::validate(&a.review(), object).map_err(|denial| a.refuse(denial))
}
