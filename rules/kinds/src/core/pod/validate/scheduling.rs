//! Where pods may run: node selectors, affinities, tolerations, topology spread, gates. The node parts are shared with
//! volumes.

use crate::checks::{self, Errors, invalid_each, known, positive};
use crate::error::FieldError;
use crate::metadata::{SelectorValues, validate_label_key, validate_selector};
use crate::names;
use corten_api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    PodAffinityTerm, PodSchedulingGate, Toleration, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};
use corten_api::meta::v1::LabelSelector;
use corten_core::{Path, Str};
use corten_meta::labels;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
/// What taints do.
pub(crate) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn affinity(errors: &mut Errors, path: &Path, affinity: &Affinity) {
    if let Some(node) = &affinity.node_affinity {
        node_affinity(errors, &path.f("nodeAffinity"), node);
    }
    if let Some(near) = &affinity.pod_affinity {
        let path = path.f("podAffinity");
        terms(
            errors,
            &path.f(REQUIRED),
            &near.required_during_scheduling_ignored_during_execution,
        );
        weighted(
            errors,
            &path.f(PREFERRED),
            &near.preferred_during_scheduling_ignored_during_execution,
        );
    }
    if let Some(far) = &affinity.pod_anti_affinity {
        let path = path.f("podAntiAffinity");
        terms(
            errors,
            &path.f(REQUIRED),
            &far.required_during_scheduling_ignored_during_execution,
        );
        weighted(
            errors,
            &path.f(PREFERRED),
            &far.preferred_during_scheduling_ignored_during_execution,
        );
    }
}

fn node_affinity(errors: &mut Errors, path: &Path, affinity: &NodeAffinity) {
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        node_selector(errors, &path.f(REQUIRED), selector);
    }
    let list = path.f(PREFERRED);
    for (i, term) in affinity
        .preferred_during_scheduling_ignored_during_execution
        .iter()
        .enumerate()
    {
        let at = list.i(i);
        weight(errors, &at.f("weight"), term.weight);
        node_term(
            errors,
            &at.f("preference"),
            &term.preference,
            SelectorValues::Unchecked,
        );
    }
}

fn weight(errors: &mut Errors, path: &Path, weight: i32) {
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(
            path,
            weight,
            "must be in the range 1-100",
        ));
    }
}

/// Terms that choose nodes.
pub(crate) fn node_selector(errors: &mut Errors, path: &Path, selector: &NodeSelector) {
    let list = path.f("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.push(FieldError::required(
            &list,
            "must have at least one node selector term",
        ));
    }
    for (i, term) in selector.node_selector_terms.iter().enumerate() {
        node_term(errors, &list.i(i), term, SelectorValues::Checked);
    }
}

fn node_term(errors: &mut Errors, path: &Path, term: &NodeSelectorTerm, values: SelectorValues) {
    for (i, requirement) in term.match_expressions.iter().enumerate() {
        node_requirement(
            errors,
            &path.f("matchExpressions").i(i),
            requirement,
            values,
        );
    }
    for (i, requirement) in term.match_fields.iter().enumerate() {
        node_field(errors, &path.f("matchFields").i(i), requirement);
    }
}

fn node_requirement(
    errors: &mut Errors,
    path: &Path,
    r: &NodeSelectorRequirement,
    values: SelectorValues,
) {
    let at = path.f("values");
    match r.operator.as_str() {
        "In" | "NotIn" if r.values.is_empty() => {
            let text = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&at, text));
        }
        "Exists" | "DoesNotExist" if !r.values.is_empty() => {
            let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&at, text));
        }
        "Gt" | "Lt" if r.values.len() != 1 => {
            let text = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&at, text));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(
            path.f("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    errors.extend(validate_label_key(&r.key, &path.f("key")));
    if values == SelectorValues::Checked {
        for (i, value) in r.values.iter().enumerate() {
            invalid_each(errors, &at.i(i), value, labels::invalid_value(value));
        }
    }
}

fn node_field(errors: &mut Errors, path: &Path, r: &NodeSelectorRequirement) {
    match r.operator.as_str() {
        "In" | "NotIn" if r.values.len() == 1 => {}
        "In" | "NotIn" => {
            let text =
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(path.f("values"), text));
        }
        other => errors.push(FieldError::invalid(
            path.f("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    if r.key != "metadata.name" {
        errors.push(FieldError::invalid(
            path.f("key"),
            &r.key,
            "not a valid field selector key",
        ));
        return;
    }
    for (i, value) in r.values.iter().enumerate() {
        checks::dns_subdomain(errors, &path.f("values").i(i), value);
    }
}

fn terms(errors: &mut Errors, path: &Path, terms: &[PodAffinityTerm]) {
    terms
        .iter()
        .enumerate()
        .for_each(|(i, t)| term(errors, &path.i(i), t));
}

fn weighted(errors: &mut Errors, path: &Path, terms: &[WeightedPodAffinityTerm]) {
    for (i, each) in terms.iter().enumerate() {
        let at = path.i(i);
        weight(errors, &at.f("weight"), each.weight);
        term(errors, &at.f("podAffinityTerm"), &each.pod_affinity_term);
    }
}

fn term(errors: &mut Errors, path: &Path, term: &PodAffinityTerm) {
    for (name, selector) in [
        ("labelSelector", &term.label_selector),
        ("namespaceSelector", &term.namespace_selector),
    ] {
        if let Some(selector) = selector {
            errors.extend(validate_selector(
                selector,
                SelectorValues::Checked,
                &path.f(name),
            ));
        }
    }
    for name in term.namespaces.iter() {
        invalid_each(errors, &path.f("namespace"), name, names::dns_label(name));
    }
    label_keys(
        errors,
        path,
        &term.match_label_keys,
        &term.mismatch_label_keys,
        term.label_selector.as_deref(),
    );
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(
            path.f("topologyKey"),
            "can not be empty",
        ));
    }
    errors.extend(validate_label_key(
        &term.topology_key,
        &path.f("topologyKey"),
    ));
}

fn label_keys(
    errors: &mut Errors,
    path: &Path,
    same: &[Str],
    other: &[Str],
    selector: Option<&LabelSelector>,
) {
    for (name, keys) in [("matchLabelKeys", same), ("mismatchLabelKeys", other)] {
        let at = path.f(name);
        if !keys.is_empty() && selector.is_none() {
            errors.push(FieldError::forbidden(
                &at,
                "must not be specified when labelSelector is not set",
            ));
        } else {
            keys.iter()
                .enumerate()
                .for_each(|(i, k)| errors.extend(validate_label_key(k, &at.i(i))));
        }
    }
    if let Some(selector) = selector {
        let mut known: Vec<&str> = selector.match_labels.keys().map(|k| k.as_str()).collect();
        for expression in selector.match_expressions.iter() {
            let key = expression.key.as_str();
            if let Some(i) = same.iter().position(|k| k == key)
                && known.contains(&key)
            {
                errors.push(FieldError::invalid(
                    path.i(i),
                    key,
                    "exists in both matchLabelKeys and labelSelector",
                ));
            }
            known.push(key);
        }
    }
    for (i, key) in same.iter().enumerate().filter(|(_, k)| other.contains(k)) {
        let text = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(
            path.f("matchLabelKeys").i(i),
            key,
            text,
        ));
    }
}

pub(crate) fn tolerations(errors: &mut Errors, path: &Path, tolerations: &[Toleration]) {
    for (i, t) in tolerations.iter().enumerate() {
        let at = path.i(i);
        let operator = at.f("operator");
        if !t.key.is_empty() {
            errors.extend(validate_label_key(&t.key, &at.f("key")));
        } else if t.operator != "Exists" {
            let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&operator, &t.operator, text));
        }
        if t.toleration_seconds.is_some() && t.effect != "NoExecute" {
            let text = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(at.f("effect"), &t.effect, text));
        }
        match t.operator.as_str() {
            "Equal" | "" => {
                let wrong = labels::invalid_value(&t.value);
                if !wrong.is_empty() {
                    errors.push(FieldError::invalid(&operator, &t.value, wrong.join(";")));
                }
            }
            "Exists" => {
                if !t.value.is_empty() {
                    let text = "value must be empty when `operator` is 'Exists'";
                    errors.push(FieldError::invalid(&operator, &t.value, text));
                }
            }
            "Lt" | "Gt" => {
                errors.push(FieldError::not_supported(
                    &operator,
                    &t.operator,
                    &["Equal", "Exists", "Lt", "Gt"],
                ));
            }
            other => errors.push(FieldError::not_supported(
                &operator,
                other,
                &["Equal", "Exists"],
            )),
        }
        if !t.effect.is_empty() {
            known(errors, &at.f("effect"), &t.effect, &EFFECTS);
        }
    }
}

pub(super) fn spread(errors: &mut Errors, path: &Path, constraints: &[TopologySpreadConstraint]) {
    for (i, c) in constraints.iter().enumerate() {
        let at = path.i(i);
        positive(errors, &at.f("maxSkew"), i64::from(c.max_skew));
        if c.topology_key.is_empty() {
            errors.push(FieldError::required(
                at.f("topologyKey"),
                "can not be empty",
            ));
        }
        known(
            errors,
            &at.f("whenUnsatisfiable"),
            &c.when_unsatisfiable,
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        let again = |o: &TopologySpreadConstraint| {
            o.topology_key == c.topology_key && o.when_unsatisfiable == c.when_unsatisfiable
        };
        if constraints[i + 1..].iter().any(again) {
            let pair = format!("{{{}, {}}}", c.topology_key, c.when_unsatisfiable);
            errors.push(FieldError::duplicate(
                at.f("{topologyKey, whenUnsatisfiable}"),
                pair,
            ));
        }
        if let Some(domains) = c.min_domains {
            positive(errors, &at.f("minDomains"), i64::from(domains));
            if c.when_unsatisfiable != "DoNotSchedule" {
                let text = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    c.when_unsatisfiable
                );
                errors.push(FieldError::invalid(at.f("minDomains"), domains, text));
            }
        }
        for (name, policy) in [
            ("nodeAffinityPolicy", &c.node_affinity_policy),
            ("nodeTaintsPolicy", &c.node_taints_policy),
        ] {
            if let Some(policy) = policy {
                known(errors, &at.f(name), policy, &["Honor", "Ignore"]);
            }
        }
        label_keys(
            errors,
            &at,
            &c.match_label_keys,
            &[],
            c.label_selector.as_deref(),
        );
        if let Some(selector) = &c.label_selector {
            errors.extend(validate_selector(
                selector,
                SelectorValues::Checked,
                &at.f("labelSelector"),
            ));
        }
    }
}

pub(super) fn gates(errors: &mut Errors, path: &Path, gates: &[PodSchedulingGate]) {
    for (i, gate) in gates.iter().enumerate() {
        checks::qualified_name(errors, &path.i(i), &gate.name);
        if gates[..i].iter().any(|g| g.name == gate.name) {
            errors.push(FieldError::duplicate(path.i(i), &gate.name));
        }
    }
}
