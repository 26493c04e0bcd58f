//! ClusterTrustBundles: named after their signer, with CA certificates and nothing else. Leaves out whether certificates
//! are good for anything: those who use them find out.

use super::columns;
use super::der::{Certificate, blocks};
use super::request::validate_signer;
use crate::checks::Errors;
use crate::names;
use crate::rules::Rules;
use crate::{Column, Context, FieldError};
use corten_api::certificates::v1beta1::ClusterTrustBundle;
use corten_core::{Path, Str, Time, Value};
use std::collections::BTreeMap;

/// The strategy of ClusterTrustBundles.
pub struct ClusterTrustBundles;

/// Bytes of a bundle at most.
const SIZE_MAX: usize = 1 << 20;

impl Rules for ClusterTrustBundles {
    type Of = ClusterTrustBundle;

    fn validate_create(&self, _cx: &Context, new: &ClusterTrustBundle) -> Vec<FieldError> {
        let mut errors = validate(new);
        certificates(&mut errors, &new.spec.trust_bundle);
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ClusterTrustBundle,
        old: &ClusterTrustBundle,
    ) -> Vec<FieldError> {
        let mut errors = validate(new);
        if new.spec.trust_bundle != old.spec.trust_bundle {
            certificates(&mut errors, &new.spec.trust_bundle);
        }
        if new.spec.signer_name != old.spec.signer_name {
            let signer = new.spec.signer_name.as_str();
            errors.push(FieldError::invalid(
                "spec.signerName",
                signer,
                "field is immutable",
            ));
        }
        errors
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    /// A name is judged with its signer.
    fn invalid_name(&self, _name: &str, _prefix: bool) -> Vec<String> {
        Vec::new()
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CLUSTER_TRUST_BUNDLE
    }
    fn cells(&self, obj: &ClusterTrustBundle, _now: &Time) -> Vec<Value> {
        let signer = match obj.spec.signer_name.is_empty() {
            true => "<none>",
            false => &obj.spec.signer_name,
        };
        vec![Value::from(&obj.metadata.name), Value::from(signer)]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
    fn field_values(&self, obj: &ClusterTrustBundle) -> Vec<Str> {
        vec![obj.spec.signer_name.clone()]
    }
}

/// What is wrong with the name of a signer's bundle, or of one without a signer.
pub(crate) fn name_problems(signer: &str, name: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec![
                r#"ClusterTrustBundle without signer name must not have ":" in its name"#
                    .to_owned(),
            ],
            false => names::dns_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns_subdomain(rest),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )],
    }
}

fn validate(new: &ClusterTrustBundle) -> Errors {
    let mut errors = Vec::new();
    let (signer, name) = (new.spec.signer_name.as_str(), new.metadata.name.as_str());
    for problem in name_problems(signer, name) {
        errors.push(FieldError::invalid("metadata.name", name, problem));
    }
    if !signer.is_empty() {
        let path = Path::Root.f("spec");
        validate_signer(&mut errors, &path.f("signerName"), signer);
    }
    errors
}

fn certificates(errors: &mut Errors, text: &str) {
    let refuse = |why: String| FieldError::invalid("spec.trustBundle", "<value omitted>", why);
    if text.len() > SIZE_MAX {
        errors.push(FieldError::too_long("spec.trustBundle", SIZE_MAX));
        return;
    }
    let before = errors.len();
    let mut places: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for (index, block) in blocks(text).enumerate() {
        let problem = match (block.kind, block.has_headers) {
            (kind, _) if kind != "CERTIFICATE" => format!("has bad block type: {kind}"),
            (_, true) => "has PEM block headers".to_owned(),
            _ => match Certificate::parse(&block.bytes).map(|c| c.is_authority) {
                None => "does not parse as X.509".to_owned(),
                Some(false) => "does not have the CA bit set".to_owned(),
                Some(true) => {
                    places
                        .entry(block.bytes)
                        .or_default()
                        .push(index.to_string());
                    continue;
                }
            },
        };
        errors.push(refuse(format!("entry {index} {problem}")));
    }
    if errors.len() > before {
        return;
    }
    if places.is_empty() {
        errors.push(refuse(
            "at least one trust anchor must be provided".to_owned(),
        ));
    }
    for indexes in places.values().filter(|i| i.len() > 1) {
        let list = indexes.join(" ");
        errors.push(refuse(format!("duplicate trust anchor (indices [{list}])")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An authority's certificate with an Ed25519 key, and one without the mark.
    const CA: &str = include_str!("testdata/authority.pem");
    const LEAF: &str = include_str!("testdata/leaf.pem");

    fn problems(text: &str) -> Vec<String> {
        let mut errors = Vec::new();
        certificates(&mut errors, text);
        errors.iter().map(|e| e.detail.to_string()).collect()
    }

    #[test]
    fn only_authorities_are_trusted() {
        assert_eq!(problems(&format!("# mine\n{CA}")), Vec::<String>::new());
        assert_eq!(problems(LEAF), ["entry 0 does not have the CA bit set"]);
        assert_eq!(problems(""), ["at least one trust anchor must be provided"]);
        assert_eq!(
            problems(&format!("{CA}{CA}")),
            ["duplicate trust anchor (indices [0 1])"]
        );
        let key = CA.replace("CERTIFICATE", "PRIVATE KEY");
        assert_eq!(problems(&key), ["entry 0 has bad block type: PRIVATE KEY"]);
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(problems(nonsense), ["entry 0 does not parse as X.509"]);
        let headed = CA.replacen("CERTIFICATE-----\n", "CERTIFICATE-----\nA: b\n\n", 1);
        assert_eq!(problems(&headed), ["entry 0 has PEM block headers"]);
    }

    #[test]
    fn names_follow_signers() {
        assert!(name_problems("", "a.b").is_empty());
        assert!(name_problems("x.io/y", "x.io:y:v1").is_empty());
        assert_eq!(name_problems("", "a:b").len(), 1);
        assert_eq!(name_problems("x.io/y", "v1").len(), 1);
    }
}
