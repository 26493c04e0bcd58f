//! Validating webhooks: all that match are asked at once; the first that refuses decides.

use corten_api::Object;
use corten_client::Status;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Notes;
use super::asked::Asked;
use super::call::{Failed, call};
use super::configured::Hook;
use super::matching::{Matched, match_rules, matches};
use super::review::{self, Sort, Texts};

const FAILED_OPEN: &str = "failed-open.validating.webhook.admission.k8s.io/";

/// Whether a webhook is to be asked about a request.
pub(super) async fn wants(
    asked: &Asked<'_>,
    object: Option<&Object>,
    hook: &Hook,
) -> Result<Option<Matched>, Status> {
    let find = || match_rules(asked, &hook.rules, hook.equivalent);
    let Some(matched) = matches(asked, object, &hook.selectors, find)? else {
        return Ok(None);
    };
    match hook.conditions.hold(asked, object, &matched).await? {
        true => Ok(Some(matched)),
        false => Ok(None),
    }
}

/// Asks the validating webhooks about an object in its final form.
pub(super) async fn validate_by_webhooks(
    asked: &Asked<'_>,
    object: Option<&Object>,
    notes: &mut Notes,
) -> Result<(), Status> {
    let configured = asked.configured();
    let hooks = &configured.1.validating;
    let mut wanted: Vec<(&Hook, Matched)> = Vec::new();
    for hook in hooks {
        if let Some(matched) = wants(asked, object, hook).await? {
            wanted.push((hook, matched));
        }
    }
    let mut shown: Vec<(&Matched, Texts)> = Vec::new();
    for (_, matched) in &wanted {
        if !shown.iter().any(|(known, _)| *known == matched) {
            shown.push((matched, Texts::of(asked, matched, object)?));
        }
    }
    let mut calls: FuturesUnordered<_> = wanted
        .iter()
        .enumerate()
        .filter_map(|(index, (hook, matched))| {
            let (_, texts) = shown.iter().find(|(known, _)| *known == matched)?;
            Some(async move { (index, *hook, ask(asked, hook, matched, texts).await) })
        })
        .collect();
    let mut first: Option<Status> = None;
    while let Some((index, hook, answer)) = calls.next().await {
        match answer {
            Ok(said) => {
                said.warnings.into_iter().for_each(|w| notes.warn(w));
                said.annotations
                    .into_iter()
                    .for_each(|(k, v)| notes.annotate(k, v));
            }
            Err(Failed::Calling(why)) if hook.fails_open => {
                tracing::warn!(webhook = %hook.name, %why, "failed calling webhook, failing open");
                let key = format!("{FAILED_OPEN}round_0_index_{index}");
                notes.annotate(key, hook.name.as_str());
            }
            Err(failed) => {
                first.get_or_insert_with(|| failed.status(hook));
            }
        }
    }
    first.map_or(Ok(()), Err)
}

async fn ask(
    asked: &Asked<'_>,
    hook: &Hook,
    matched: &Matched,
    texts: &Texts,
) -> Result<Notes, Failed> {
    let (response, notes) = call(asked, hook, matched, texts, Sort::Validating).await?;
    if response.allowed {
        return Ok(notes);
    }
    let result = response.result.as_deref();
    Err(Failed::Refused(review::rejection(&hook.name, result)))
}
