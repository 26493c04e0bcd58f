//! The options of reads and writes as the ladders take them, read from query parameters.

use corten_client::{Cause, Status, Target};
use corten_core::Value;

use crate::info::Query;

/// What to do about fields that do not exist or occur twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Refuse.
    Strict,
    /// Warn.
    #[default]
    Warn,
    /// Say nothing.
    Ignore,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    /// Do everything but the commit.
    pub dry_run: bool,
    /// Who owns the fields written.
    pub manager: String,
    /// Apply over conflicts.
    pub force: bool,
    /// About unknown and duplicate fields.
    pub validation: FieldValidation,
    /// What the client gave, as admission shows it: `fieldManager`, `fieldValidation`, `dryRun`. Null for nothing.
    pub given: Value,
    /// Where webhooks, policies and the built-in rules are asked about the write.
    pub admitting: Admitting,
}

/// Which ladder asks admission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Admitting {
    /// The one that commits.
    #[default]
    Here,
    /// It was asked already, about another form of the object (a Scale).
    Before,
}

impl WriteOptions {
    /// From query parameters; `agent` is the manager when none is named.
    pub(crate) fn parse(query: &Query, agent: &str) -> Result<WriteOptions, Status> {
        let validation = match query.get("fieldValidation") {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let text = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(invalid_options(
                    "CreateOptions",
                    "fieldValidation",
                    "FieldValueNotSupported",
                    &text,
                ));
            }
        };
        let manager = query
            .get("fieldManager")
            .filter(|m| !m.is_empty())
            .unwrap_or(if agent.is_empty() { "unknown" } else { agent });
        let mut given = Value::Null;
        for name in ["fieldManager", "fieldValidation"] {
            if let Some(value) = query.get(name).filter(|v| !v.is_empty()) {
                given.set(&[name], value);
            }
        }
        Ok(WriteOptions {
            admitting: Admitting::Here,
            given,
            dry_run: dry_run(query.all("dryRun"))?,
            manager: manager.chars().take(128).collect(),
            force: query.truthy("force"),
            validation,
        })
    }
}

impl WriteOptions {
    /// The options as admission shows them: `CreateOptions` or `UpdateOptions`.
    pub(crate) fn shown(&self, kind: &str) -> Value {
        shown_options(self.given.clone(), kind, self.dry_run)
    }
}

fn shown_options(mut given: Value, kind: &str, dry_run: bool) -> Value {
    given.set(&["kind"], kind);
    given.set(&["apiVersion"], "meta.k8s.io/v1");
    if dry_run {
        given.set(&["dryRun"], Value::List(vec![Value::from("All")]));
    }
    given
}

/// Whether `dryRun=All` is asked for.
pub(crate) fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    let mut asked = false;
    for value in values {
        match value {
            "All" => asked = true,
            "" => {}
            other => {
                let text =
                    format!("dryRun: Unsupported value: [{other:?}]: supported values: \"All\"");
                return Err(invalid_options(
                    "CreateOptions",
                    "dryRun",
                    "FieldValueNotSupported",
                    &text,
                ));
            }
        }
    }
    Ok(asked)
}

/// 422 about the options themselves.
pub(crate) fn invalid_options(kind: &str, field: &str, reason: &str, text: &str) -> Status {
    let target = Target {
        group: "meta.k8s.io",
        resource: kind,
        name: "",
    };
    let message = text
        .strip_prefix(field)
        .map_or(text, |t| t.trim_start_matches(": "))
        .to_owned();
    let cause = Cause {
        reason: reason.to_owned(),
        message,
        field: field.to_owned(),
    };
    Status::invalid(target, vec![cause], text)
}

/// How exactly a resourceVersion is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Match {
    /// Not said.
    #[default]
    Unset,
    /// At exactly this revision.
    Exact,
    /// At this revision or later.
    NotOlderThan,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: usize,
    pub continue_token: String,
    pub resource_version: String,
    pub version_match: Match,
    pub timeout_seconds: Option<u64>,
    pub bookmarks: bool,
    pub initial_events: bool,
}

impl ListOptions {
    /// From query parameters, validated as upstream does.
    pub(crate) fn parse(query: &Query, watching: bool) -> Result<ListOptions, Status> {
        let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
        let number = |name: &str| match query.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(v) => match v.parse::<i64>() {
                Ok(n) => Ok(Some(n.max(0) as u64)),
                Err(_) => Err(Status::bad_request(format!(
                    "strconv.ParseInt: parsing {v:?}: invalid syntax"
                ))),
            },
        };
        let version_match = match query.get("resourceVersionMatch") {
            None | Some("") => Match::Unset,
            Some("Exact") => Match::Exact,
            Some("NotOlderThan") => Match::NotOlderThan,
            Some(other) => {
                let text = format!(
                    "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
                );
                return Err(invalid_options(
                    "ListOptions",
                    "resourceVersionMatch",
                    "FieldValueNotSupported",
                    &text,
                ));
            }
        };
        let options = ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: number("limit")?.unwrap_or(0) as usize,
            continue_token: text("continue"),
            resource_version: text("resourceVersion"),
            version_match,
            timeout_seconds: number("timeoutSeconds")?,
            bookmarks: query.truthy("allowWatchBookmarks"),
            initial_events: query.truthy("sendInitialEvents"),
        };
        options.check(watching, query.get("sendInitialEvents").is_some())?;
        Ok(options)
    }

    fn check(&self, watching: bool, initial_said: bool) -> Result<(), Status> {
        let forbid = |field: &str, why: &str| {
            let text = format!("{field}: Forbidden: {why}");
            Err(invalid_options(
                "ListOptions",
                field,
                "FieldValueForbidden",
                &text,
            ))
        };
        let matched = self.version_match != Match::Unset;
        if watching && initial_said {
            if self.version_match == Match::Unset {
                return forbid(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            if self.version_match != Match::NotOlderThan {
                return forbid(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            return Ok(());
        }
        if !watching && initial_said {
            return forbid(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            );
        }
        if matched && watching {
            return forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if matched && self.resource_version.is_empty() {
            return forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if matched && !self.continue_token.is_empty() {
            return forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if self.version_match == Match::Exact && self.resource_version == "0" {
            return forbid(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        Ok(())
    }

    /// The revision asked for; 0 for none.
    pub(crate) fn revision(&self) -> Result<u64, Status> {
        if self.resource_version.is_empty() {
            return Ok(0);
        }
        self.resource_version.parse().map_err(|_| {
            let text = format!("invalid resource version: resourceVersion: Invalid value: {:?}: strconv.ParseUint: parsing {:?}: invalid syntax", self.resource_version, self.resource_version);
            Status::bad_request(text)
        })
    }
}

/// Preconditions and the manner of a deletion.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub dry_run: bool,
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They stay.
    Orphan,
    /// They go later.
    Background,
    /// They go first.
    Foreground,
}

impl DeleteOptions {
    /// From query parameters (used when there is no body).
    pub(crate) fn parse(query: &Query) -> Result<DeleteOptions, Status> {
        let mut options = DeleteOptions {
            dry_run: dry_run(query.all("dryRun"))?,
            grace_seconds: query.get("gracePeriodSeconds").and_then(|v| v.parse().ok()),
            ..DeleteOptions::default()
        };
        if let Some(policy) = query.get("propagationPolicy").filter(|p| !p.is_empty()) {
            options.propagation = Some(Propagation::parse(policy)?);
        } else if let Some(orphan) = query.get("orphanDependents") {
            options.propagation = Some(if orphan == "true" {
                Propagation::Orphan
            } else {
                Propagation::Background
            });
        }
        Ok(options)
    }
}

impl DeleteOptions {
    /// The options as admission shows them.
    pub(crate) fn shown(&self) -> Value {
        let mut given = Value::map();
        if let Some(seconds) = self.grace_seconds {
            given.set(&["gracePeriodSeconds"], seconds);
        }
        if let Some(uid) = &self.uid {
            given.set(&["preconditions", "uid"], uid.as_str());
        }
        if let Some(version) = &self.resource_version {
            given.set(&["preconditions", "resourceVersion"], version.as_str());
        }
        if let Some(propagation) = self.propagation {
            given.set(&["propagationPolicy"], format!("{propagation:?}").as_str());
        }
        shown_options(given, "DeleteOptions", self.dry_run)
    }
}

impl Propagation {
    /// By its API name.
    pub(crate) fn parse(text: &str) -> Result<Propagation, Status> {
        match text {
            "Orphan" => Ok(Propagation::Orphan),
            "Background" => Ok(Propagation::Background),
            "Foreground" => Ok(Propagation::Foreground),
            other => {
                let text = format!(
                    "propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                );
                Err(invalid_options(
                    "DeleteOptions",
                    "propagationPolicy",
                    "FieldValueNotSupported",
                    &text,
                ))
            }
        }
    }
}
