//! Label selectors: requirements that an object's labels meet or not.
//!
//! Invariant: requirements are sorted by key and were validated when the selector was made. The text form is upstream's.

use crate::labels;
use corten_api::meta::v1::LabelSelector;
use corten_core::{Map, Str};
use std::fmt;

/// How a requirement relates a label to its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; also met when the label is absent.
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`; also met when the label is absent.
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: Str,
    /// How it relates to the values.
    pub operator: Operator,
    /// The values, sorted.
    pub values: Vec<Str>,
}

/// Why a text or a `LabelSelector` is no selector; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(pub String);

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SelectorError {}

/// Requirements that must all be met, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Nothing matches, whatever the requirements.
    nothing: bool,
    requirements: Vec<Requirement>,
}

impl Requirement {
    /// A requirement, if key, operator and values fit together.
    pub fn new(
        key: impl Into<Str>,
        operator: Operator,
        mut values: Vec<Str>,
    ) -> Result<Requirement, SelectorError> {
        let key = key.into();
        let mut errors: Vec<String> = check_key(&key, "key")
            .err()
            .map(|e| e.0)
            .into_iter()
            .collect();
        errors.extend(operator.objections(&values));
        for (index, value) in values.iter().enumerate() {
            let wrong = labels::invalid_value(value);
            if !wrong.is_empty() {
                let text = wrong.join("; ");
                errors.push(format!(
                    "values[{index}][{key}]: Invalid value: {:?}: {text}",
                    value.as_str()
                ));
            }
        }
        aggregate(errors)?;
        values.sort();
        Ok(Requirement {
            key,
            operator,
            values,
        })
    }

    /// Whether labels meet it; `value` is that of the requirement's key.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let has = |v: &str| self.values.iter().any(|w| w == v);
        let compare = |test: fn(i64, i64) -> bool| {
            let left = value.and_then(|v| v.parse().ok());
            let right = self.values.first().and_then(|v| v.parse().ok());
            left.zip(right).is_some_and(|(l, r)| test(l, r))
        };
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(has),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(has),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(|l, r| l > r),
            Operator::LessThan => compare(|l, r| l < r),
        }
    }
}

impl Operator {
    /// What is wrong with the number or form of the values.
    fn objections(self, values: &[Str]) -> Vec<String> {
        let wrong = |text: &str| {
            let shown: Vec<&str> = values.iter().map(Str::as_str).collect();
            vec![format!(
                "values: Invalid value: {}: {text}",
                go_list(&shown)
            )]
        };
        match self {
            Operator::In | Operator::NotIn if values.is_empty() => {
                wrong("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals
                if values.len() != 1 =>
            {
                wrong("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                wrong("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan => {
                let mut errors = match values.len() {
                    1 => Vec::new(),
                    _ => wrong("for 'Gt', 'Lt' operators, exactly one value is required"),
                };
                let text = "for 'Gt', 'Lt' operators, the value must be an integer";
                for (index, value) in values.iter().enumerate() {
                    if value.parse::<i64>().is_err() {
                        let shown = value.as_str();
                        errors.push(format!("values[{index}]: Invalid value: {shown:?}: {text}"));
                    }
                }
                errors
            }
            _ => Vec::new(),
        }
    }
}

/// Upstream's aggregate of errors: one alone, several different ones in brackets.
fn aggregate(mut errors: Vec<String>) -> Result<(), SelectorError> {
    let mut seen = Vec::new();
    errors.retain(|e| {
        !seen.contains(e) && {
            seen.push(e.clone());
            true
        }
    });
    match errors.len() {
        0 => Ok(()),
        1 => Err(SelectorError(errors.remove(0))),
        _ => Err(SelectorError(format!("[{}]", errors.join(", ")))),
    }
}

/// A list of texts as upstream's messages show it; an empty one is nil there.
fn go_list(values: &[&str]) -> String {
    if values.is_empty() {
        return "null".into();
    }
    let shown: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    format!("[{}]", shown.join(","))
}

pub(crate) fn check_key(key: &str, path: &str) -> Result<(), SelectorError> {
    let errors = labels::invalid_key(key);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(SelectorError(format!(
            "{path}: Invalid value: {key:?}: {}",
            errors.join("; ")
        ))),
    }
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Selector {
        Selector {
            nothing: false,
            requirements: Vec::new(),
        }
    }

    /// Matches no object.
    pub fn nothing() -> Selector {
        Selector {
            nothing: true,
            requirements: Vec::new(),
        }
    }

    /// All of the requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector {
            nothing: false,
            requirements,
        }
    }

    /// What `labelSelector=` of a request means.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        crate::selector_parse::parse(text).map(Selector::new)
    }

    /// Every label must have just this value: the selectors of services and replication controllers. An empty map
    /// matches every object.
    pub fn from_map(map: &Map<Str>) -> Selector {
        let exact = |(key, value): (&Str, &Str)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        Selector::new(map.iter().map(exact).collect())
    }

    /// What a `LabelSelector` of an object means: absent matches nothing, empty matches everything.
    pub fn from_label_selector(
        selector: Option<&LabelSelector>,
    ) -> Result<Selector, SelectorError> {
        let Some(selector) = selector else {
            return Ok(Selector::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter() {
            let exact = Requirement::new(key.clone(), Operator::Equals, vec![value.clone()])?;
            requirements.push(exact);
        }
        for expression in selector.match_expressions.iter() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            requirements.push(Requirement::new(
                expression.key.clone(),
                operator,
                expression.values.to_vec(),
            )?);
        }
        Ok(Selector::new(requirements))
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Map<Str>) -> bool {
        self.matches_with(|key| labels.get(key).map(Str::as_str))
    }

    /// As [`Selector::matches`], for labels kept in another form: `look_up` gives the value of a key.
    pub fn matches_with<'a>(&self, look_up: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.accepts(look_up(&r.key)))
    }

    /// No restriction at all.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Matches no object.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .requirements
            .iter()
            .map(Requirement::to_string)
            .collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels: Map<Str> = labels
            .iter()
            .map(|(k, v)| (Str::from(*k), Str::from(*v)))
            .collect();
        Selector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn matches_as_upstream() {
        assert!(check("", &[]));
        assert!(check("a=b,c in (d,e),!f", &[("a", "b"), ("c", "e")]));
        assert!(!check("a=b", &[]));
        assert!(check("a!=b", &[]));
        assert!(check("a notin (b)", &[("a", "c")]));
        assert!(check("a", &[("a", "")]));
        assert!(check("a=", &[("a", "")]));
        assert!(check("n>3", &[("n", "4")]));
        assert!(!check("n<3", &[("n", "x")]));
        assert!(check("x in (in,notin)", &[("x", "in")]));
    }

    #[test]
    fn prints_sorted_and_normalised() {
        let text = |s: &str| Selector::parse(s).unwrap().to_string();
        assert_eq!(text("z,a in (c,b), !d"), "a in (b,c),!d,z");
        assert_eq!(text("a==b"), "a==b");
        assert_eq!(text("a in ()"), "a in ()");
    }

    #[test]
    fn refuses_in_upstreams_words() {
        let error = |s: &str| Selector::parse(s).unwrap_err().to_string();
        assert_eq!(error("a,"), "found '', expected: identifier after ','");
        assert_eq!(
            error("a in b"),
            "unable to parse requirement: found 'b' expected: '('"
        );
        assert_eq!(
            error("=a"),
            "found '=', expected: !, identifier, or 'end of string'"
        );
        assert!(error("a==b==c").starts_with("found '==', expected: ',' or 'end of string'"));
    }

    #[test]
    fn label_selectors_of_objects() {
        assert!(Selector::from_label_selector(None).unwrap().is_nothing());
        assert!(
            Selector::from_label_selector(Some(&LabelSelector::default()))
                .unwrap()
                .is_everything()
        );
    }

    #[test]
    fn objections_add_up_in_upstreams_words() {
        let requirement = Requirement::new("n", Operator::GreaterThan, vec!["-".into()]);
        assert_eq!(
            requirement.unwrap_err().to_string(),
            "[values[0]: Invalid value: \"-\": for 'Gt', 'Lt' operators, the value must be an integer, \
             values[0][n]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric \
             characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')]"
        );
        let labels = LabelSelector {
            match_labels: [("a", "-")].into_iter().collect(),
            ..LabelSelector::default()
        };
        assert!(Selector::from_label_selector(Some(&labels)).is_err());
    }
}
