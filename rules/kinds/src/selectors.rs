//! Label selectors as people read them, and whether an object was stored with one that would not be accepted today.

use crate::metadata::{SelectorValues, validate_selector};
use corten_api::meta::v1::LabelSelector;
use corten_core::Path;
use corten_meta::Selector;

/// A selector in a table: `a=b,c in (d)`; `<none>` when it selects everything or is absent.
pub fn text(selector: Option<&LabelSelector>) -> String {
    match Selector::from_label_selector(selector) {
        Err(_) => "<error>".to_owned(),
        Ok(selector) => match selector.to_string() {
            text if text.is_empty() => "<none>".to_owned(),
            text => text,
        },
    }
}

/// A selector as the scale subresource shows it; empty when it selects everything or is absent.
pub fn scale_text(selector: Option<&LabelSelector>) -> String {
    Selector::from_label_selector(selector).map_or(String::new(), |s| s.to_string())
}

/// How strictly an update reads a selector: as strictly as a create, unless the stored one has bad values.
pub fn strictness(old: Option<&LabelSelector>) -> SelectorValues {
    let bad = |s: &LabelSelector| {
        s.match_expressions.iter().any(|r| {
            r.values
                .iter()
                .any(|v| !corten_meta::labels::invalid_value(v).is_empty())
        })
    };
    match old {
        Some(old) if bad(old) => SelectorValues::Unchecked,
        _ => SelectorValues::Checked,
    }
}

/// Whether a selector says nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.is_empty() && selector.match_expressions.is_empty()
}

/// Whether validation of a selector finds anything.
pub fn is_wrong(selector: &LabelSelector) -> bool {
    !validate_selector(selector, SelectorValues::Checked, &Path::Root).is_empty()
}

/// A selector as Go prints its struct.
pub fn go_text(selector: &LabelSelector) -> String {
    let labels: Vec<String> = selector
        .match_labels
        .iter()
        .map(|(k, v)| format!("{k}: {v},"))
        .collect();
    let expressions: Vec<String> = selector
        .match_expressions
        .iter()
        .map(|e| {
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                e.key,
                e.operator,
                e.values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.join(""),
        expressions.join("")
    )
}
