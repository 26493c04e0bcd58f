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
    /// From query parameters; `agent` is the manager when none is named, `kind` what the options are called.
    pub(crate) fn parse(query: &Query, agent: &str, kind: &str) -> Result<WriteOptions, Status> {
        let validation = match query.get("fieldValidation") {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let text = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(invalid_options(
                    kind,
                    "fieldValidation",
                    "FieldValueNotSupported",
                    &text,
                ));
            }
        };
        check_manager(query, kind)?;
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
            dry_run: dry_run(query.all("dryRun"), kind)?,
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

/// At most 128 bytes, all printable.
fn check_manager(query: &Query, kind: &str) -> Result<(), Status> {
    let manager = query.get("fieldManager").unwrap_or_default();
    if manager.len() > 128 {
        let text = "fieldManager: Too long: may not be more than 128 bytes";
        return Err(invalid_options(
            kind,
            "fieldManager",
            "FieldValueTooLong",
            text,
        ));
    }
    match manager.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, c)) => {
            let text = format!(
                "fieldManager: Invalid value: {}: invalid character U+{:04X} (at position {at})",
                corten_kinds::error::quote(manager),
                u32::from(c)
            );
            Err(invalid_options(
                kind,
                "fieldManager",
                "FieldValueInvalid",
                &text,
            ))
        }
        None => Ok(()),
    }
}

/// Whether `dryRun=All` is asked for.
pub(crate) fn dry_run<'a>(
    values: impl Iterator<Item = &'a str>,
    kind: &str,
) -> Result<bool, Status> {
    let mut asked = false;
    for value in values {
        match value {
            "All" => asked = true,
            "" => {}
            other => {
                let text =
                    format!("dryRun: Unsupported value: [{other:?}]: supported values: \"All\"");
                return Err(invalid_options(
                    kind,
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
        let number = |name: &str| query.get(name).map(go_integer).transpose();
        let named = text("resourceVersionMatch");
        let said = query.get("sendInitialEvents").is_some();
        let mut options = ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: number("limit")?.unwrap_or(0).max(0) as usize,
            continue_token: text("continue"),
            resource_version: text("resourceVersion"),
            version_match: Match::Unset,
            timeout_seconds: number("timeoutSeconds")?.map(|n| n.max(0) as u64),
            bookmarks: query.truthy("allowWatchBookmarks"),
            initial_events: query.truthy("sendInitialEvents"),
        };
        let mut asked = Asked {
            named: &named,
            initial: said,
        };
        let from_start = matches!(options.resource_version.as_str(), "" | "0");
        if watching && !said && named.is_empty() && from_start {
            // A watch that begins with what there is streams it as a list would.
            options.initial_events = true;
            asked = Asked {
                named: "NotOlderThan",
                initial: true,
            };
        }
        let problems = match watching {
            true => options.watch_problems(&asked),
            false => options.list_problems(&asked),
        };
        options.version_match = match asked.named {
            "Exact" => Match::Exact,
            "NotOlderThan" => Match::NotOlderThan,
            _ => Match::Unset,
        };
        if problems.is_empty() {
            Ok(options)
        } else {
            Err(invalid_list_options(problems))
        }
    }

    fn list_problems(&self, asked: &Asked<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !asked.named.is_empty() {
            if self.resource_version.is_empty() {
                problems.push(Problem::forbidden(
                    MATCH,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !self.continue_token.is_empty() {
                problems.push(Problem::forbidden(MATCH, NO_CONTINUE));
            }
            if !matches!(asked.named, "Exact" | "NotOlderThan") {
                problems.push(Problem::unsupported(
                    asked.named,
                    "\"Exact\", \"NotOlderThan\", \"\"",
                ));
            }
            if asked.named == "Exact" && self.resource_version == "0" {
                problems.push(Problem::forbidden(
                    MATCH,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if asked.initial {
            problems.push(Problem::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
        problems
    }

    fn watch_problems(&self, asked: &Asked<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if asked.initial && asked.named != "NotOlderThan" {
            problems.push(Problem::forbidden(
                MATCH,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if asked.named.is_empty() {
            return problems;
        }
        if !asked.initial {
            problems.push(Problem::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if asked.named != "NotOlderThan" {
            problems.push(Problem::unsupported(asked.named, "\"NotOlderThan\""));
        }
        if !self.continue_token.is_empty() {
            problems.push(Problem::forbidden(MATCH, NO_CONTINUE));
        }
        problems
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

const MATCH: &str = "resourceVersionMatch";
const NO_CONTINUE: &str = "resourceVersionMatch is forbidden when continue is provided";

/// What was said about how a resourceVersion is meant.
struct Asked<'a> {
    named: &'a str,
    /// sendInitialEvents was given, whatever its value.
    initial: bool,
}

/// One thing wrong with the options.
struct Problem {
    field: &'static str,
    reason: &'static str,
    message: String,
}

impl Problem {
    fn forbidden(field: &'static str, why: &str) -> Problem {
        Problem {
            field,
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
        }
    }

    fn unsupported(value: &str, supported: &str) -> Problem {
        Problem {
            field: MATCH,
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value:?}: supported values: {supported}"),
        }
    }
}

/// 422 with everything that is wrong.
fn invalid_list_options(problems: Vec<Problem>) -> Status {
    let texts: Vec<String> = problems
        .iter()
        .map(|p| format!("{}: {}", p.field, p.message))
        .collect();
    let joined = match texts.as_slice() {
        [only] => only.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let causes = problems
        .into_iter()
        .map(|p| Cause {
            reason: p.reason.to_owned(),
            message: p.message,
            field: p.field.to_owned(),
        })
        .collect();
    let target = Target {
        group: "meta.k8s.io",
        resource: "ListOptions",
        name: "",
    };
    Status::invalid(target, causes, &joined)
}

/// A number as Go's ParseInt reads it.
fn go_integer(text: &str) -> Result<i64, Status> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i64>().map_err(|error| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
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
            dry_run: dry_run(query.all("dryRun"), "DeleteOptions")?,
            grace_seconds: whole_number(query, "gracePeriodSeconds")?,
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

fn whole_number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.get(name).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Status::bad_request(format!(
            "strconv.ParseInt: parsing {text:?}: invalid syntax"
        ))
    })
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
