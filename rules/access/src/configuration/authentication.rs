//! `AuthenticationConfiguration`: issuers of tokens, what their claims mean, and whom to take as anonymous.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::claims::Mapping;
use super::expression::reads_claim;
use super::{aggregate, check_type, duplicate, invalid, required};

/// The file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    api_version: String,
    kind: String,
    /// Issuers of tokens.
    #[serde(default)]
    pub jwt: Vec<JwtAuthenticator>,
    /// Whom to take as anonymous; not said when missing.
    #[serde(default)]
    pub anonymous: Option<AnonymousConfiguration>,
}

/// Whom to take as anonymous.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousConfiguration {
    /// Whether anybody.
    #[serde(default)]
    pub enabled: bool,
    /// Only requests to these paths, when there are any.
    #[serde(default)]
    pub conditions: Vec<AnonymousCondition>,
}

/// One path.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnonymousCondition {
    /// Exactly this path.
    pub path: String,
}

/// An issuer and what its claims mean.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtAuthenticator {
    /// Who issues.
    pub issuer: Issuer,
    /// What claims must say.
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// What claims make of the user.
    pub claim_mappings: ClaimMappings,
    /// What the user must be.
    pub user_validation_rules: Vec<UserValidationRule>,
}

/// Who issues tokens.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Issuer {
    /// As tokens name it.
    pub url: String,
    /// Where its keys are told; below the URL when missing.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM certificates; the system's when empty.
    pub certificate_authority: String,
    /// Whom tokens must be for.
    pub audiences: Vec<String>,
    /// `MatchAny`.
    pub audience_match_policy: String,
    /// Not supported.
    pub egress_selector_type: String,
}

/// What a claim must say.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimValidationRule {
    /// A claim by name.
    pub claim: String,
    /// What it must be.
    pub required_value: String,
    /// Or an expression over `claims`.
    pub expression: String,
    /// What to say when it is false.
    pub message: String,
}

/// What claims make of the user.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimMappings {
    /// The name.
    pub username: PrefixedClaimOrExpression,
    /// The groups.
    pub groups: PrefixedClaimOrExpression,
    /// The uid.
    pub uid: ClaimOrExpression,
    /// Further facts.
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrefixedClaimOrExpression {
    /// A claim by name.
    pub claim: String,
    /// What is put before it; must be said with a claim.
    pub prefix: Option<String>,
    /// Or an expression over `claims`.
    pub expression: String,
}

/// A claim, or an expression.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimOrExpression {
    /// A claim by name.
    pub claim: String,
    /// Or an expression over `claims`.
    pub expression: String,
}

/// A further fact.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    /// Its key.
    pub key: String,
    /// Its values, by an expression over `claims`.
    pub value_expression: String,
}

/// What the user must be.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserValidationRule {
    /// An expression over `user`.
    pub expression: String,
    /// What to say when it is false.
    pub message: String,
}

const JWT_MAX: usize = 64;

impl AuthenticationConfiguration {
    /// From JSON; `disallowed` are issuers that are somebody else's.
    pub fn parse(json: &str, disallowed: &[String]) -> Result<AuthenticationConfiguration, String> {
        let parsed: AuthenticationConfiguration =
            serde_json::from_str(json).map_err(|e| format!("strict decoding error: {e}"))?;
        check_type(
            &parsed.api_version,
            &parsed.kind,
            "AuthenticationConfiguration",
            &["v1", "v1beta1", "v1alpha1"],
        )?;
        parsed.check(disallowed)?;
        Ok(parsed)
    }

    fn check(&self, disallowed: &[String]) -> Result<(), String> {
        let mut errors = Vec::new();
        if self.jwt.len() > JWT_MAX {
            return Err(format!(
                "jwt: Too many: {}: must have at most {JWT_MAX} items",
                self.jwt.len()
            ));
        }
        let mut urls = BTreeSet::new();
        let mut discovery_urls = BTreeSet::new();
        for (i, jwt) in self.jwt.iter().enumerate() {
            let path = format!("jwt[{i}]");
            jwt.check(&path, disallowed, &mut errors);
            if !urls.insert(&jwt.issuer.url) {
                errors.push(duplicate(&format!("{path}.issuer.url"), &jwt.issuer.url));
            }
            if let Some(url) = jwt.issuer.discovery_url.as_ref().filter(|u| !u.is_empty())
                && !discovery_urls.insert(url)
            {
                errors.push(duplicate(&format!("{path}.issuer.discoveryURL"), url));
            }
        }
        if let Some(anonymous) = &self.anonymous
            && !anonymous.enabled
            && !anonymous.conditions.is_empty()
        {
            let why = "enabled should be set to true when conditions are defined";
            errors.push(format!(
                "anonymous.conditions: Invalid value: {:?}: {why}",
                anonymous.conditions
            ));
        }
        aggregate(errors)
    }
}

impl JwtAuthenticator {
    /// Everything that is wrong with it.
    pub fn check(&self, path: &str, disallowed: &[String], errors: &mut Vec<String>) {
        self.issuer
            .check(&format!("{path}.issuer"), disallowed, errors);
        let mut seen = BTreeSet::new();
        for (i, rule) in self.claim_validation_rules.iter().enumerate() {
            rule.check(
                &format!("{path}.claimValidationRules[{i}]"),
                &mut seen,
                errors,
            );
        }
        self.claim_mappings
            .check(&format!("{path}.claimMappings"), errors);
        let mut seen = BTreeSet::new();
        for (i, rule) in self.user_validation_rules.iter().enumerate() {
            let path = format!("{path}.userValidationRules[{i}].expression");
            if rule.expression.is_empty() {
                errors.push(required(&path, ""));
            } else if !seen.insert(&rule.expression) {
                errors.push(duplicate(&path, &rule.expression));
            }
        }
        let name = &self.claim_mappings.username.expression;
        if reads_claim(name, "email") && !self.checks_email() {
            let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
            errors.push(invalid(
                &format!("{path}.claimMappings.username.expression"),
                name,
                why,
            ));
        }
        if let Err(why) = Mapping::new(self) {
            errors.push(format!("{path}.{why}"));
        }
    }
}

impl JwtAuthenticator {
    /// Whether any expression looks at whether the e-mail address was verified.
    fn checks_email(&self) -> bool {
        let mappings = &self.claim_mappings;
        let extra = mappings.extra.iter().map(|e| &e.value_expression);
        let rules = self.claim_validation_rules.iter().map(|r| &r.expression);
        let mut all = extra.chain(rules).chain([&mappings.username.expression]);
        all.any(|source| reads_claim(source, "email_verified"))
    }
}

impl Issuer {
    fn check(&self, path: &str, disallowed: &[String], errors: &mut Vec<String>) {
        let url_path = format!("{path}.url");
        match self.url.is_empty() {
            true => errors.push(required(&url_path, "")),
            false => check_url(&url_path, &self.url, disallowed, errors),
        }
        if let Some(url) = self.discovery_url.as_ref().filter(|u| !u.is_empty()) {
            let path = format!("{path}.discoveryURL");
            if url.trim_end_matches('/') == self.url.trim_end_matches('/') {
                errors.push(invalid(
                    &path,
                    url,
                    "discoveryURL must be different from URL",
                ));
            }
            check_url(&path, url, &[], errors);
        }
        self.check_audiences(path, errors);
        if !self.egress_selector_type.is_empty() {
            let why = "egress selectors are not supported";
            errors.push(invalid(
                &format!("{path}.egressSelectorType"),
                &self.egress_selector_type,
                why,
            ));
        }
    }

    fn check_audiences(&self, path: &str, errors: &mut Vec<String>) {
        let at = format!("{path}.audiences");
        if self.audiences.is_empty() {
            errors.push(required(&at, &format!("at least one {at} is required")));
            return;
        }
        let mut seen = BTreeSet::new();
        for (i, audience) in self.audiences.iter().enumerate() {
            let at = format!("{at}[{i}]");
            if audience.is_empty() {
                errors.push(required(&at, ""));
            }
            if !seen.insert(audience) {
                errors.push(duplicate(&at, audience));
            }
        }
        let (at, policy) = (
            format!("{path}.audienceMatchPolicy"),
            self.audience_match_policy.as_str(),
        );
        if self.audiences.len() > 1 && policy != "MatchAny" {
            errors.push(invalid(
                &at,
                policy,
                "audienceMatchPolicy must be MatchAny for multiple audiences",
            ));
        }
        if self.audiences.len() == 1 && !matches!(policy, "" | "MatchAny") {
            let why = "audienceMatchPolicy must be empty or MatchAny for single audience";
            errors.push(invalid(&at, policy, why));
        }
    }
}

fn check_url(path: &str, url: &str, disallowed: &[String], errors: &mut Vec<String>) {
    if disallowed.iter().any(|d| d == url) {
        let why = format!(
            "URL must not overlap with disallowed issuers: [{}]",
            disallowed.join(" ")
        );
        errors.push(invalid(path, url, &why));
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.push(invalid(path, url, "URL scheme must be https"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        errors.push(invalid(
            path,
            url,
            "URL must not contain a username or password",
        ));
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if before
        .split_once('?')
        .is_some_and(|(_, query)| !query.is_empty())
    {
        errors.push(invalid(path, url, "URL must not contain a query"));
    }
    if !fragment.is_empty() {
        errors.push(invalid(path, url, "URL must not contain a fragment"));
    }
}

impl ClaimValidationRule {
    fn check<'a>(
        &'a self,
        path: &str,
        seen: &mut BTreeSet<(&'static str, &'a str)>,
        errors: &mut Vec<String>,
    ) {
        match (self.claim.as_str(), self.expression.as_str()) {
            ("", "") => errors.push(required(path, "claim or expression is required")),
            (claim, "") => {
                if !self.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(invalid(&format!("{path}.message"), &self.message, why));
                }
                if !seen.insert(("claim", claim)) {
                    errors.push(duplicate(&format!("{path}.claim"), claim));
                }
            }
            ("", expression) => {
                if !self.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    errors.push(invalid(
                        &format!("{path}.requiredValue"),
                        &self.required_value,
                        why,
                    ));
                }
                if !seen.insert(("expression", expression)) {
                    errors.push(duplicate(&format!("{path}.expression"), expression));
                }
            }
            (claim, _) => errors.push(invalid(
                path,
                claim,
                "claim and expression can't both be set",
            )),
        }
    }
}

impl ClaimMappings {
    fn check(&self, path: &str, errors: &mut Vec<String>) {
        self.username.check(&format!("{path}.username"), errors);
        if self.username.claim.is_empty() && self.username.expression.is_empty() {
            errors.push(required(
                &format!("{path}.username"),
                "claim or expression is required",
            ));
        }
        self.groups.check(&format!("{path}.groups"), errors);
        if !self.uid.claim.is_empty() && !self.uid.expression.is_empty() {
            errors.push(invalid(
                &format!("{path}.uid"),
                "",
                "claim and expression can't both be set",
            ));
        }
        let mut seen = BTreeSet::new();
        for (i, extra) in self.extra.iter().enumerate() {
            let path = format!("{path}.extra[{i}]");
            extra.check(&path, errors);
            if !seen.insert(&extra.key) {
                errors.push(duplicate(&format!("{path}.key"), &extra.key));
            }
        }
    }
}

impl PrefixedClaimOrExpression {
    fn check(&self, path: &str, errors: &mut Vec<String>) {
        match (self.claim.is_empty(), self.expression.is_empty()) {
            (false, false) => {
                errors.push(invalid(path, "", "claim and expression can't both be set"))
            }
            (true, false) => {
                if let Some(prefix) = &self.prefix {
                    let why = "may not be specified when expression is set";
                    errors.push(invalid(&format!("{path}.prefix"), prefix, why));
                }
            }
            (false, true) if self.prefix.is_none() => {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.push(required(&format!("{path}.prefix"), why));
            }
            _ => {}
        }
    }
}

impl ExtraMapping {
    fn check(&self, path: &str, errors: &mut Vec<String>) {
        let (at, key) = (format!("{path}.key"), self.key.as_str());
        let (domain, rest) = key.split_once('/').unwrap_or_default();
        if key.is_empty() {
            errors.push(required(&at, ""));
        } else if domain.is_empty() || rest.is_empty() {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(invalid(&at, key, why));
        }
        if key != key.to_lowercase() {
            errors.push(invalid(&at, key, "must be lowercase"));
        }
        let reserved = |suffix: &str| {
            domain == suffix
                || domain
                    .strip_suffix(suffix)
                    .is_some_and(|d| d.ends_with('.'))
        };
        if reserved("kubernetes.io") || reserved("k8s.io") {
            let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            errors.push(invalid(&at, key, why));
        }
        if self.value_expression.is_empty() {
            errors.push(required(&format!("{path}.valueExpression"), ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(jwt: &str, expected: &str) {
        let json = format!(
            r#"{{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","jwt":[{jwt}]}}"#
        );
        let got = AuthenticationConfiguration::parse(&json, &["https://own".to_owned()]);
        assert_eq!(
            got.map_or_else(|e| e, |_| "fine".to_owned()),
            expected,
            "{jwt}"
        );
    }

    const USER: &str = r#""claimMappings":{"username":{"claim":"sub","prefix":""}}"#;

    #[test]
    fn issuers() {
        let issuer = |text: &str| format!(r#"{{"issuer":{{{text}}},{USER}}}"#);
        check(&issuer(r#""url":"https://a","audiences":["x"]"#), "fine");
        check(
            &issuer(r#""url":"http://a","audiences":["x","x"]"#),
            "[jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https, jwt[0].issuer.audiences[1]: Duplicate value: \"x\", \
             jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences]",
        );
        check(
            &issuer(r#""url":"https://own","audiences":[]"#),
            "[jwt[0].issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own], \
             jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required]",
        );
        check(
            &issuer(r#""url":"https://a","discoveryURL":"https://a/","audiences":["x"]"#),
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://a/\": discoveryURL must be different from URL",
        );
    }

    #[test]
    fn mappings() {
        let mapping = |text: &str| {
            format!(
                r#"{{"issuer":{{"url":"https://a","audiences":["x"]}},"claimMappings":{{{text}}}}}"#
            )
        };
        check(
            &mapping(r#""username":{"claim":"sub"}"#),
            "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        );
        check(
            &mapping(""),
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        );
        check(
            &mapping(r#""username":{"claim":"sub","prefix":"a"},"what":1"#),
            "strict decoding error: unknown field `what`, expected one of `username`, `groups`, `uid`, `extra` at line 1 column 198",
        );
    }
}
