//! Admission of one run of a ladder: the built-in rules with what they may see, then what users configured, in
//! upstream's order; and the wording of refusals.

use std::sync::Arc;
use std::time::Instant;

use corten_access::UserInfo;
use corten_access::admission::{self, Denial, Operation, Review};
use corten_api::{Gvk, Object};
use corten_client::{Cause, Details, Status, Target};
use corten_core::{Str, Time, Value};
use corten_kinds::{Caller, Context};
use corten_meta::{GroupVersionKind, GroupVersionResource};

use crate::admission::{Asked, Notes, Round, Subject};
use crate::audit;
use crate::authorization::Rights;
use crate::metrics::Step;
use crate::options::WriteOptions;
use crate::server::Server;
use crate::typed::View;
use crate::write::Aim;

/// Everything one run of the ladder shows to admission.
pub(crate) struct Admission<'a> {
    server: &'a Server,
    view: &'a Arc<View>,
    /// Who decides what else the user may do.
    rights: Rights,
    user: &'a UserInfo,
    aim: &'a Aim<'a>,
    operation: Operation,
    old: Option<&'a Object>,
    dry_run: bool,
    now: Time,
    random: u64,
    kind: GroupVersionKind,
    resource: GroupVersionResource,
    /// The name that the client gave; empty when it is generated.
    given_name: &'a str,
    options: Value,
    /// The kind of the request, when it is not the resource's own.
    own_kind: Option<GroupVersionKind>,
}

impl<'a> Admission<'a> {
    pub(crate) fn new(
        server: &'a Server,
        view: &'a Arc<View>,
        user: &'a UserInfo,
        aim: &'a Aim<'a>,
        operation: Operation,
        old: Option<&'a Object>,
        dry_run: bool,
    ) -> Admission<'a> {
        let served = aim.served;
        Admission {
            server,
            view,
            rights: server.access.authorization.rights(view),
            user,
            aim,
            operation,
            old,
            dry_run,
            now: server.now(),
            random: server.random(),
            kind: served.storage_kind(),
            resource: served.group_version_resource(),
            given_name: aim.name,
            options: Value::Null,
            own_kind: None,
        }
    }

    /// With the options that the client gave (CreateOptions and so on).
    pub(crate) fn with_options(mut self, options: Value) -> Admission<'a> {
        self.options = options;
        self
    }

    /// With the name that the client gave, before one was generated.
    pub(crate) fn named(mut self, given: &'a str) -> Admission<'a> {
        self.given_name = given;
        self
    }

    /// For objects of a subresource's own kind, which admission sees as they are.
    pub(crate) fn of_kind(mut self, kind: GroupVersionKind) -> Admission<'a> {
        self.kind = kind.clone();
        self.own_kind = Some(kind);
        self
    }

    /// What strategies may look at.
    pub(crate) fn context(&self) -> Context<'a> {
        Context {
            snapshot: &self.view.snapshot,
            now: self.now,
            caller: Caller {
                name: &self.user.name,
                uid: &self.user.uid,
                groups: &self.user.groups,
                extra: Some(&self.user.extra),
            },
            random: self.random,
        }
    }

    fn review_on<'v>(&'v self, view: &'v View) -> Review<'v> {
        Review {
            snapshot: &view.snapshot,
            authorizer: &self.rights,
            rules: &view.rules,
            enabled: &self.server.config.plugins,
            settings: &self.server.config.told.settings,
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

    /// The request as webhooks and policies see it.
    fn asked(&self, name: &str) -> Asked<'_> {
        let served = self.aim.served;
        let namespaces = served.group.is_empty() && served.plural == "namespaces";
        let namespace = match namespaces {
            true => self.aim.name,
            false => self.aim.namespace,
        };
        let (kind, subject) = match &self.own_kind {
            Some(kind) => (kind.clone(), Subject::Own),
            None => (served.group_version_kind(), Subject::Resource),
        };
        Asked {
            server: self.server,
            view: self.view,
            rights: &self.rights,
            user: self.user,
            served,
            subject,
            operation: self.operation,
            kind,
            resource: self.resource.clone(),
            subresource: self.aim.subresource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dry_run: self.dry_run,
            options: self.options.clone(),
            old: self.old,
        }
    }

    fn measure<T>(&self, step: Step, started: Instant, outcome: &Result<T, Status>) {
        let operation = match self.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        };
        let rejected = match outcome {
            Ok(_) => "false",
            Err(_) => "true",
        };
        let metrics = &self.server.metrics;
        metrics.admitted(step, operation, started.elapsed(), rejected);
    }

    fn refuse(&self, denial: Denial) -> Status {
        let target: Target<'_> = self.aim.target();
        let mut status = match denial.code {
            403 => Status::forbidden(target, &denial.message),
            _ => Status::new(denial.code, denial.reason, denial.message),
        };
        if denial.code == 409 {
            status.details = Status::not_found(target).details;
        }
        if let Some(about) = denial.about {
            let details = status.details.get_or_insert_default();
            **details = Details {
                name: about.name,
                group: about.group,
                kind: about.resource,
                ..Details::default()
            };
        }
        if !denial.causes.is_empty() {
            let details = status.details.get_or_insert_default();
            details
                .causes
                .extend(denial.causes.into_iter().map(|c| Cause {
                    reason: c.reason.to_owned(),
                    message: c.message,
                    field: c.field,
                }));
        }
        status
    }
}

/// Lets admission change the object; answers warnings. What changed the object may be asked a second time.
pub(crate) async fn mutate(a: &Admission<'_>, object: &mut Object) -> Result<Vec<String>, Status> {
    let started = Instant::now();
    let outcome = mutate_unmeasured(a, object).await;
    a.measure(Step::Admit, started, &outcome);
    outcome
}

async fn mutate_unmeasured(a: &Admission<'_>, object: &mut Object) -> Result<Vec<String>, Status> {
    let review = a.review_on(a.view);
    let mut warnings = admission::mutate(&review, object).map_err(|denial| a.refuse(denial))?;
    if !a
        .server
        .configurations
        .mutate(a.view, &a.server.config.told)
    {
        return Ok(warnings);
    }
    let asked = a.asked(a.given_name);
    let assigned = Assigned::take(a, object);
    let mut notes = Notes::default();
    let mut round = Round::default();
    let mut outcome =
        crate::admission::mutate(&asked, Some(&mut *object), &mut round, &mut notes).await;
    if outcome.is_ok() && round.again {
        round.number += 1;
        admission::mutate(&review, object).map_err(|denial| a.refuse(denial))?;
        outcome =
            crate::admission::mutate(&asked, Some(&mut *object), &mut round, &mut notes).await;
    }
    warnings.extend(note(notes));
    outcome?;
    if let Some(assigned) = assigned {
        assigned.give(object);
    }
    Ok(warnings)
}

/// Puts annotations into the request's trail; answers warnings.
fn note(notes: Notes) -> Vec<String> {
    for (key, value) in &notes.annotations {
        audit::annotate(key, value);
    }
    notes.warnings
}

/// What the server has given a new object already, though mutating admission comes first.
struct Assigned {
    uid: Str,
    name: Str,
    created: Time,
}

impl Assigned {
    /// Takes it from a new object of the resource.
    fn take(a: &Admission<'_>, object: &mut Object) -> Option<Assigned> {
        if a.operation != Operation::Create || a.own_kind.is_some() {
            return None;
        }
        let meta = object.meta_mut();
        let uid = std::mem::take(&mut meta.uid);
        let name = std::mem::replace(&mut meta.name, a.given_name.into());
        let created = std::mem::take(&mut meta.creation_timestamp);
        Some(Assigned { uid, name, created })
    }

    /// Gives it back, but for a name that admission chose.
    fn give(self, object: &mut Object) {
        let meta = object.meta_mut();
        meta.uid = self.uid;
        meta.creation_timestamp = self.created;
        if meta.name.is_empty() {
            meta.name = self.name;
        }
    }
}

/// All of admission for an object that is not of the resource itself: an eviction, a token request, the options of a
/// stream. Answers warnings.
pub(crate) async fn admit_own(
    a: Admission<'_>,
    kind: Gvk<'_>,
    object: &mut Object,
) -> Result<Vec<String>, Status> {
    let a = a.of_kind(GroupVersionKind::new(kind.group, kind.version, kind.kind));
    let mut warnings = mutate(&a, object).await?;
    warnings.extend(validate(&a, Some(object)).await?);
    Ok(warnings)
}

/// The same for one that a client creates.
pub(crate) async fn admit_created(
    server: &Server,
    user: &UserInfo,
    aim: &Aim<'_>,
    kind: Gvk<'_>,
    object: &mut Object,
    options: &WriteOptions,
) -> Result<Vec<String>, Status> {
    let view = server.typed.fresh(server);
    let dry_run = options.dry_run;
    let admission = Admission::new(server, &view, user, aim, Operation::Create, None, dry_run);
    let admission = admission.with_options(options.shown("CreateOptions"));
    admit_own(admission, kind, object).await
}

/// Asks admission whether the finished object (or the deletion) may be; answers warnings.
pub(crate) async fn validate(
    a: &Admission<'_>,
    object: Option<&Object>,
) -> Result<Vec<String>, Status> {
    let started = Instant::now();
    let outcome = validate_unmeasured(a, object).await;
    a.measure(Step::Validate, started, &outcome);
    outcome
}

async fn validate_unmeasured(
    a: &Admission<'_>,
    object: Option<&Object>,
) -> Result<Vec<String>, Status> {
    if let Some(object) = object.filter(|_| a.kind.group == "admissionregistration.k8s.io") {
        crate::admission::check_parameter_rights(&a.asked(a.aim.name), object).await?;
    }
    let review = a.review_on(a.view);
    if audit::trail().is_some() {
        for (key, value) in admission::audit_notes(&review, object) {
            audit::annotate(&key, &value);
        }
    }
    let decided = a
        .rights
        .settle(a.server, || admission::validate(&review, object))
        .await;
    let mut warnings = decided.map_err(|denial| a.refuse(denial))?;
    let told = &a.server.config.told;
    if told.images.is_some() || told.events.is_some() {
        let mut notes = Notes::default();
        let asked = a.asked(a.aim.name);
        let outcome = crate::admission::check_plugins(&asked, object, &mut notes).await;
        warnings.extend(note(notes));
        outcome?;
    }
    if a.server.configurations.validate(a.view, told) {
        let mut notes = Notes::default();
        let asked = a.asked(a.aim.name);
        let outcome = crate::admission::validate(&asked, object, &mut notes).await;
        warnings.extend(note(notes));
        outcome?;
    }
    Ok(warnings)
}

/// The quotas as they are after the request, on what is stored now: the last step before the commit.
pub(crate) fn charge(a: &Admission<'_>, object: Option<&Object>) -> Result<Vec<Object>, Status> {
    let view = a.server.typed.view();
    admission::charge(&a.review_on(&view), object).map_err(|denial| a.refuse(denial))
}
