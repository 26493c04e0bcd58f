//! Which names of a definition are accepted, and the conditions that say so. Names belong to the definition of a group
//! that had them first.

use corten_api::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
};
use corten_core::{Str, Time};

use super::approval;

/// Accepts the names of a definition that no other one of its group has, and sets the conditions for it.
pub fn accept_names(
    definition: &mut CustomResourceDefinition,
    others: &[&CustomResourceDefinition],
    now: Time,
) {
    let used: Vec<&CustomResourceDefinitionNames> = others
        .iter()
        .filter(|o| o.spec.group == definition.spec.group)
        .filter(|o| o.metadata.name != definition.metadata.name)
        .map(|o| &o.status.accepted_names)
        .collect();
    let (names, conflict) = settled(
        &definition.spec.names,
        &definition.status.accepted_names,
        &used,
    );
    definition.status.accepted_names = names;
    let accepted = conflict.is_none();
    let (reason, message) = conflict.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    set(definition, "NamesAccepted", accepted, reason, &message, now);
    establish(definition, accepted, now);
    if let Some((fine, reason, message)) = approval::condition(definition) {
        let kind = "KubernetesAPIApprovalPolicyConformant";
        set(definition, kind, fine, reason, &message, now);
    }
}

/// The names that are accepted, and the last conflict: its reason and what it says.
fn settled(
    wanted: &CustomResourceDefinitionNames,
    old: &CustomResourceDefinitionNames,
    used: &[&CustomResourceDefinitionNames],
) -> (
    CustomResourceDefinitionNames,
    Option<(&'static str, String)>,
) {
    let resource = |name: &Str| {
        used.iter()
            .any(|n| n.plural == *name || n.singular == *name || n.short_names.contains(name))
    };
    let kind = |name: &Str| used.iter().any(|n| n.kind == *name || n.list_kind == *name);
    let taken = |name: &Str| format!("\"{name}\" is already in use");
    let mut names = old.clone();
    let settle = |slot: &mut Str, new: &Str, used: bool, reason: &'static str| {
        if *slot == *new || !used {
            *slot = new.clone();
            return None;
        }
        Some((reason, taken(new)))
    };
    let w = wanted;
    let mut conflict = settle(
        &mut names.plural,
        &w.plural,
        resource(&w.plural),
        "PluralConflict",
    );
    let singular = settle(
        &mut names.singular,
        &w.singular,
        resource(&w.singular),
        "SingularConflict",
    );
    conflict = singular.or(conflict);
    let clashes: Vec<String> = wanted
        .short_names
        .iter()
        .filter(|n| !old.short_names.contains(n) && resource(n))
        .map(taken)
        .collect();
    match clashes.as_slice() {
        [] => names.short_names = wanted.short_names.clone(),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        many => {
            let text = format!("[{}]", many.join(", "));
            conflict = Some(("ShortNamesConflict", text));
        }
    }
    let of_kind = settle(&mut names.kind, &w.kind, kind(&w.kind), "KindConflict");
    let of_list = settle(
        &mut names.list_kind,
        &w.list_kind,
        kind(&w.list_kind),
        "ListKindConflict",
    );
    conflict = of_list.or(of_kind).or(conflict);
    names.categories = wanted.categories.clone();
    (names, conflict)
}

fn establish(definition: &mut CustomResourceDefinition, accepted: bool, now: Time) {
    let established = definition
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == "Established" && c.status == "True");
    if established {
        return;
    }
    let (reason, message) = if accepted {
        (
            "InitialNamesAccepted",
            "the initial names have been accepted",
        )
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    set(definition, "Established", accepted, reason, message, now);
}

/// Says that a definition is on its way out.
pub fn terminating(definition: &mut CustomResourceDefinition, now: Time) {
    let text = "CustomResource deletion is in progress";
    set(
        definition,
        "Terminating",
        true,
        "InstanceDeletionInProgress",
        text,
        now,
    );
}

/// Says that the definition was marked for deletion, and that its objects go next.
pub fn marked(definition: &mut CustomResourceDefinition, now: Time) {
    let text =
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    let reason = "InstanceDeletionPending";
    set(definition, "Terminating", true, reason, text, now);
}

fn set(
    definition: &mut CustomResourceDefinition,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    now: Time,
) {
    let status = if status { "True" } else { "False" };
    let conditions = &mut definition.status.conditions;
    if let Some(found) = conditions.iter_mut().find(|c| c.type_ == kind) {
        if found.status != status {
            found.last_transition_time = now;
        }
        found.status = status.into();
        found.reason = reason.into();
        found.message = message.into();
        return;
    }
    conditions.push(CustomResourceDefinitionCondition {
        type_: kind.into(),
        status: status.into(),
        last_transition_time: now,
        reason: reason.into(),
        message: message.into(),
        ..CustomResourceDefinitionCondition::default()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, kind: &str, short: &str) -> CustomResourceDefinition {
        let mut new = CustomResourceDefinition::default();
        new.metadata.name = format!("{name}.e.io").into();
        new.spec.group = "e.io".into();
        new.spec.names = CustomResourceDefinitionNames {
            plural: name.into(),
            singular: kind.to_lowercase().into(),
            kind: kind.into(),
            list_kind: format!("{kind}List").into(),
            short_names: [Str::from(short)].into_iter().collect(),
            ..CustomResourceDefinitionNames::default()
        };
        new
    }

    fn said(definition: &CustomResourceDefinition) -> Vec<String> {
        let line = |c: &CustomResourceDefinitionCondition| {
            format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message)
        };
        definition.status.conditions.iter().map(line).collect()
    }

    #[test]
    fn the_first_has_the_name() {
        let mut first = definition("as", "A", "x");
        accept_names(&mut first, &[], Time::from_unix(1));
        assert_eq!(
            said(&first),
            [
                "NamesAccepted=True NoConflicts: no conflicts found",
                "Established=True InitialNamesAccepted: the initial names have been accepted"
            ]
        );
        let mut second = definition("bs", "A", "x");
        accept_names(&mut second, &[&first], Time::from_unix(2));
        assert_eq!(
            said(&second),
            [
                "NamesAccepted=False ListKindConflict: \"AList\" is already in use",
                "Established=False NotAccepted: not all names are accepted"
            ]
        );
        assert_eq!(second.status.accepted_names.plural, "bs");
        assert_eq!(second.status.accepted_names.kind, "");
        accept_names(&mut second, &[], Time::from_unix(3));
        assert_eq!(second.status.accepted_names.kind, "A");
        assert_eq!(second.status.conditions[1].status, "True");
    }
}
