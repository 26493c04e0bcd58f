//! Mutating webhooks: asked one after another, each about what the one before left; those that want to are asked once
//! more when the object changed after they saw it.

use corten_api::Object;
use corten_client::Status;
use corten_codec::json;
use corten_core::Value;

use super::asked::Asked;
use super::call::{Failed, call};
use super::configured::Hook;
use super::matching::Matched;
use super::review::{self, Sort, Texts};
use super::validating::wants;
use super::{Notes, internal};

const FAILED_OPEN: &str = "failed-open.mutation.webhook.admission.k8s.io/";
const MUTATION: &str = "mutation.webhook.admission.k8s.io/";
const PATCH: &str = "patch.webhook.admission.k8s.io/";

/// A webhook among all: configuration and place in it.
type Id = (String, usize);

/// What the rounds of one request's mutating admission remember.
#[derive(Default)]
pub(crate) struct Round {
    /// 0, or 1 when everything is asked again.
    pub number: usize,
    /// Whether something changed that calls for another round.
    pub again: bool,
    webhooks: Memory<Id>,
    pub(super) policies: Memory<super::mutating_policies::Id>,
}

/// Who was asked already and wants to be asked again if the object changes.
pub(super) struct Memory<Id> {
    /// Asked, and nothing changed since.
    settled: Vec<Id>,
    /// Asked, and something changed since.
    unsettled: Vec<Id>,
    /// The object after the last one of the round before.
    left: Option<Object>,
}

impl<Id> Default for Memory<Id> {
    fn default() -> Self {
        Memory {
            settled: Vec::new(),
            unsettled: Vec::new(),
            left: None,
        }
    }
}

impl<Id: PartialEq> Memory<Id> {
    /// Something changed.
    pub(super) fn unsettle(&mut self) {
        self.unsettled.append(&mut self.settled);
    }

    /// One was asked.
    pub(super) fn settle(&mut self, id: Id) {
        if !self.settled.contains(&id) {
            self.settled.push(id);
        }
    }

    /// Whether one is to be asked again.
    pub(super) fn is_unsettled(&self, id: &Id) -> bool {
        self.unsettled.contains(id)
    }

    /// At the beginning of a round: others may have changed the object since the end of the last.
    pub(super) fn compare(&mut self, now: Option<&Object>) {
        let same = match (&self.left, now) {
            (Some(before), Some(now)) => before.semantic_eq(now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.unsettle();
        }
    }

    /// At the end of a round.
    pub(super) fn remember(&mut self, object: Option<&Object>) {
        self.left = object.cloned();
    }
}

/// Lets the mutating webhooks change an object (in the version that is stored).
pub(super) async fn mutate_by_webhooks(
    asked: &Asked<'_>,
    object: Option<&mut Object>,
    round: &mut Round,
    notes: &mut Notes,
) -> Result<(), Status> {
    let configured = asked.configured();
    let hooks = &configured.1.mutating;
    let mut object = object;
    if round.number > 0 {
        round.webhooks.compare(object.as_deref());
    }
    for (index, hook) in hooks.iter().enumerate() {
        let Some(matched) = wants(asked, object.as_deref(), hook).await? else {
            continue;
        };
        let id: Id = (hook.configuration.clone(), hook.index);
        if round.number > 0 && !round.webhooks.is_unsettled(&id) {
            continue;
        }
        let place = format!("round_{}_index_{index}", round.number);
        let answer = ask(asked, hook, &matched, object.as_deref(), &place, notes).await;
        let changed = answer.as_ref().is_ok_and(Option::is_some);
        let mutated = format!(
            "{{\"configuration\":{},\"webhook\":{},\"mutated\":{changed}}}",
            quoted(&hook.configuration),
            quoted(&hook.name)
        );
        notes.annotate(format!("{MUTATION}{place}"), mutated);
        match answer {
            Ok(None) => {}
            Ok(Some(new)) => {
                if let Some(object) = object.as_deref_mut() {
                    *object = new;
                }
                round.webhooks.unsettle();
                round.again = true;
            }
            Err(Failed::Calling(why)) if hook.fails_open => {
                tracing::warn!(webhook = %hook.name, %why, "failed calling webhook, failing open");
                notes.annotate(format!("{FAILED_OPEN}{place}"), hook.name.as_str());
            }
            Err(failed) => return Err(failed.status(hook)),
        }
        if hook.reinvoked {
            round.webhooks.settle(id);
        }
    }
    round.webhooks.remember(object.as_deref());
    Ok(())
}

fn quoted(text: &str) -> String {
    String::from_utf8_lossy(&json::encode_value(&Value::from(text))).into_owned()
}

/// Asks a webhook; the object as it wants it, in the version that is stored, when it wants another.
async fn ask(
    asked: &Asked<'_>,
    hook: &Hook,
    matched: &Matched,
    object: Option<&Object>,
    place: &str,
    notes: &mut Notes,
) -> Result<Option<Object>, Failed> {
    let texts = Texts::of(asked, matched, object).map_err(Failed::Refused)?;
    let (response, said) = call(asked, hook, matched, &texts, Sort::Mutating).await?;
    said.warnings.into_iter().for_each(|w| notes.warn(w));
    said.annotations
        .into_iter()
        .for_each(|(k, v)| notes.annotate(k, v));
    if !response.allowed {
        let result = response.result.as_deref();
        return Err(Failed::Refused(review::rejection(&hook.name, result)));
    }
    if response.patch.is_empty() {
        return Ok(None);
    }
    let undecodable = |e: &dyn std::fmt::Display| {
        Failed::Calling(format!(
            "received undecodable patch in webhook response: {e}"
        ))
    };
    let patch = json::decode_value(&response.patch).map_err(|e| undecodable(&e))?;
    match patch.as_list() {
        None if patch.is_null() => return Ok(None),
        None => return Err(undecodable(&"the patch is no list of operations")),
        Some([]) => return Ok(None),
        Some(_) => {}
    }
    let Some(object) = object else {
        return Err(Failed::Refused(internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        ))));
    };
    match response.patch_type.as_deref() {
        Some("JSONPatch") => {}
        other => {
            let other = other.unwrap_or_default();
            return Err(Failed::Calling(format!("unsupported patch type {other:?}")));
        }
    }
    let new = patched(asked, matched, &texts, object, &patch).map_err(Failed::Refused)?;
    if new.is_some() {
        let shown = format!(
            "{{\"configuration\":{},\"webhook\":{},\"patch\":{},\"patchType\":\"JSONPatch\"}}",
            quoted(&hook.configuration),
            quoted(&hook.name),
            String::from_utf8_lossy(&json::encode_value(&patch))
        );
        notes.annotate(format!("{PATCH}{place}"), shown);
    }
    Ok(new)
}

/// The object as a patch makes it; none when it stays the same.
fn patched(
    asked: &Asked<'_>,
    matched: &Matched,
    texts: &Texts,
    object: &Object,
    patch: &Value,
) -> Result<Option<Object>, Status> {
    let document = texts.object.to_value().map_err(internal)?;
    let new = corten_patch::json(document, patch).map_err(internal)?;
    let mut new = asked.stored(&new, &matched.resource)?;
    if new.has_meta() && object.has_meta() {
        let meta = new.meta_mut();
        meta.resource_version = object.meta().resource_version.clone();
    }
    match new.semantic_eq(object) {
        true => Ok(None),
        false => Ok(Some(new)),
    }
}
