//! From a token's claims to a user. Invariant: a claim of another type than it must have is an error, never ignored.

use corten_core::Value;

use super::authentication::JwtAuthenticator;
use super::expression::Expression;
use crate::UserInfo;

/// What claims mean, ready to be used.
#[derive(Clone, Debug)]
pub struct Mapping {
    config: JwtAuthenticator,
    username: Option<Expression>,
    groups: Option<Expression>,
    uid: Option<Expression>,
    extra: Vec<(String, Expression)>,
    claims_hold: Vec<(Expression, String)>,
    user_holds: Vec<(Expression, String)>,
}

fn compiled(path: &str, source: &str) -> Result<Option<Expression>, String> {
    match source.is_empty() {
        true => Ok(None),
        false => Expression::any("claims", source)
            .map(Some)
            .map_err(|why| format!("{path}: Invalid value: {source:?}: {why}")),
    }
}

fn condition(
    path: String,
    variable: &'static str,
    source: &str,
    message: &str,
) -> Result<(Expression, String), String> {
    let compiled = Expression::condition(variable, source)
        .map_err(|why| format!("{path}: Invalid value: {source:?}: {why}"))?;
    let message = match message.is_empty() {
        true => format!("validation expression '{source}' failed"),
        false => format!("validation expression '{source}' failed: {message}"),
    };
    Ok((compiled, message))
}

impl Mapping {
    /// Compiles an authenticator's expressions. `Err` names the field within it.
    pub fn new(config: &JwtAuthenticator) -> Result<Mapping, String> {
        let mappings = &config.claim_mappings;
        let mut mapping = Mapping {
            config: config.clone(),
            username: compiled(
                "claimMappings.username.expression",
                &mappings.username.expression,
            )?,
            groups: compiled(
                "claimMappings.groups.expression",
                &mappings.groups.expression,
            )?,
            uid: compiled("claimMappings.uid.expression", &mappings.uid.expression)?,
            extra: Vec::new(),
            claims_hold: Vec::new(),
            user_holds: Vec::new(),
        };
        for (i, extra) in mappings.extra.iter().enumerate() {
            let path = format!("claimMappings.extra[{i}].valueExpression");
            if let Some(expression) = compiled(&path, &extra.value_expression)? {
                mapping.extra.push((extra.key.clone(), expression));
            }
        }
        for (i, rule) in config.claim_validation_rules.iter().enumerate() {
            if !rule.expression.is_empty() {
                let path = format!("claimValidationRules[{i}].expression");
                let rule = condition(path, "claims", &rule.expression, &rule.message)?;
                mapping.claims_hold.push(rule);
            }
        }
        for (i, rule) in config.user_validation_rules.iter().enumerate() {
            if !rule.expression.is_empty() {
                let path = format!("userValidationRules[{i}].expression");
                let rule = condition(path, "user", &rule.expression, &rule.message)?;
                mapping.user_holds.push(rule);
            }
        }
        Ok(mapping)
    }

    /// The user that verified claims make.
    pub fn user(&self, claims: &Value) -> Result<UserInfo, String> {
        let mut user = UserInfo {
            name: self.name(claims)?,
            groups: self.groups(claims)?,
            uid: self.uid(claims)?,
            ..UserInfo::default()
        };
        if let Some(jti) = claims
            .get("jti")
            .and_then(Value::as_str)
            .filter(|j| !j.is_empty())
        {
            let key = "authentication.kubernetes.io/credential-id".to_owned();
            user.extra.insert(key, vec![format!("JTI={jti}")]);
        }
        for (key, expression) in &self.extra {
            let found = evaluate(expression, claims, "extra claim")?;
            let values = texts(&found)
                .map_err(|e| format!("oidc: error evaluating extra claim expression: {e}"))?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        self.check_claims(claims)?;
        self.check_user(&user)?;
        Ok(user)
    }

    fn name(&self, claims: &Value) -> Result<String, String> {
        if let Some(expression) = &self.username {
            let found = evaluate(expression, claims, "username claim")?;
            let name = found.as_str().ok_or(
                "oidc: error evaluating username claim expression: username claim expression must return a string",
            )?;
            if name.is_empty() {
                return Err("oidc: empty username via CEL expression is not allowed".to_owned());
            }
            return Ok(name.to_owned());
        }
        let mapping = &self.config.claim_mappings.username;
        let claim = mapping.claim.as_str();
        let name = text(claims, claim)
            .map_err(|e| format!("oidc: parse username claims {claim:?}: {e}"))?;
        if claim == "email" {
            match claims.get("email_verified") {
                None | Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => return Err("oidc: email not verified".to_owned()),
                Some(_) => {
                    return Err("oidc: parse 'email_verified' claim: not a boolean".to_owned());
                }
            }
        }
        Ok(format!(
            "{}{name}",
            mapping.prefix.as_deref().unwrap_or_default()
        ))
    }

    fn groups(&self, claims: &Value) -> Result<Vec<String>, String> {
        if let Some(expression) = &self.groups {
            let found = evaluate(expression, claims, "group claim")?;
            return texts(&found)
                .map_err(|e| format!("oidc: error evaluating group claim expression: {e}"));
        }
        let mapping = &self.config.claim_mappings.groups;
        let Some(found) = claims
            .get(&mapping.claim)
            .filter(|_| !mapping.claim.is_empty())
        else {
            return Ok(Vec::new());
        };
        let prefix = mapping.prefix.as_deref().unwrap_or_default();
        let groups = texts(found)
            .map_err(|e| format!("oidc: parse groups claim {:?}: {e}", mapping.claim))?;
        Ok(groups.into_iter().map(|g| format!("{prefix}{g}")).collect())
    }

    fn uid(&self, claims: &Value) -> Result<String, String> {
        if let Some(expression) = &self.uid {
            let found = evaluate(expression, claims, "uid claim")?;
            let uid = found.as_str();
            return uid.map(str::to_owned).ok_or_else(|| {
                "oidc: error evaluating uid claim expression: uid claim expression must return a string".to_owned()
            });
        }
        match self.config.claim_mappings.uid.claim.as_str() {
            "" => Ok(String::new()),
            claim => text(claims, claim)
                .map(str::to_owned)
                .map_err(|e| format!("oidc: parse uid claim {claim:?}: {e}")),
        }
    }

    fn check_claims(&self, claims: &Value) -> Result<(), String> {
        for rule in self
            .config
            .claim_validation_rules
            .iter()
            .filter(|r| !r.claim.is_empty())
        {
            let claim = &rule.claim;
            if claims.get(claim).is_none() {
                return Err(format!(
                    "oidc: required claim {claim} not present in ID token"
                ));
            }
            let found = text(claims, claim)
                .map(str::to_owned)
                .map_err(|e| format!("oidc: parse claim {claim}: {e}"))?;
            if found != rule.required_value {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {}",
                    rule.required_value
                ));
            }
        }
        for (expression, message) in &self.claims_hold {
            if evaluate(expression, claims, "claim validation")? != Value::Bool(true) {
                return Err(format!(
                    "oidc: error evaluating claim validation expression: {message}"
                ));
            }
        }
        Ok(())
    }

    fn check_user(&self, user: &UserInfo) -> Result<(), String> {
        if self.user_holds.is_empty() {
            return Ok(());
        }
        let list =
            |items: &[String]| Value::List(items.iter().map(|i| Value::from(i.as_str())).collect());
        let mut shown = Value::Map(Default::default());
        shown.set(&["username"], user.name.as_str());
        shown.set(&["uid"], user.uid.as_str());
        shown.set(&["groups"], list(&user.groups));
        shown.set(&["extra"], Value::Map(Default::default()));
        for (key, values) in &user.extra {
            shown.set(&["extra", key], list(values));
        }
        for (expression, message) in &self.user_holds {
            let holds = expression.evaluate(&shown);
            if holds
                .map_err(|e| format!("oidc: error evaluating user info validation rule: {e}"))?
                != Value::Bool(true)
            {
                return Err(format!(
                    "oidc: error evaluating user info validation rule: {message}"
                ));
            }
        }
        Ok(())
    }
}

fn evaluate(expression: &Expression, claims: &Value, what: &str) -> Result<Value, String> {
    let found = expression.evaluate(claims);
    found.map_err(|e| format!("oidc: error evaluating {what} expression: {e}"))
}

fn text<'a>(claims: &'a Value, claim: &str) -> Result<&'a str, String> {
    let found = claims.get(claim).ok_or("claim not present")?;
    found
        .as_str()
        .ok_or_else(|| "claim is not a string".to_owned())
}

/// One text or several; none for nothing.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Str(one) if one.is_empty() => Ok(Vec::new()),
        Value::Str(one) => Ok(vec![one.to_string()]),
        Value::List(many) => many
            .iter()
            .map(|v| {
                v.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| "not a list of strings".to_owned())
            })
            .collect(),
        _ => Err("neither a string nor a list of strings".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{ClaimValidationRule, PrefixedClaimOrExpression};

    fn mapping(username: &str) -> Mapping {
        let mut config = JwtAuthenticator::default();
        let prefixed = |claim: &str, prefix: &str| PrefixedClaimOrExpression {
            claim: claim.into(),
            prefix: Some(prefix.into()),
            expression: String::new(),
        };
        config.claim_mappings.username = prefixed(username, "o:");
        config.claim_mappings.groups = prefixed("groups", "g:");
        config.claim_mappings.uid.claim = "uid".into();
        config.claim_validation_rules.push(ClaimValidationRule {
            claim: "hd".into(),
            required_value: "acme".into(),
            ..ClaimValidationRule::default()
        });
        Mapping::new(&config).unwrap()
    }

    fn check(username: &str, claims: &str, expected: &str) {
        let claims = corten_codec::json::decode_value(claims.as_bytes()).unwrap();
        let got = match mapping(username).user(&claims) {
            Ok(user) => format!(
                "{} {} {:?} {:?}",
                user.name, user.uid, user.groups, user.extra
            ),
            Err(why) => why,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn expressions_make_users() {
        let json = r#"{"issuer":{"url":"https://a","audiences":["x"]},"claimMappings":{
            "username":{"expression":"'o:' + claims.sub"},"groups":{"expression":"claims.roles.split(',')"},
            "uid":{"expression":"claims.?oid.orValue('none')"},
            "extra":[{"key":"acme.io/tenant","valueExpression":"claims.tenant"}]},
            "claimValidationRules":[{"expression":"claims.hd == 'acme'","message":"wrong house"}],
            "userValidationRules":[{"expression":"!user.username.startsWith('o:system:')","message":"reserved"}]}"#;
        let config: JwtAuthenticator = serde_json::from_str(json).unwrap();
        let mapping = Mapping::new(&config).unwrap();
        let user = |claims: &str| {
            mapping.user(&corten_codec::json::decode_value(claims.as_bytes()).unwrap())
        };
        let found = user(r#"{"sub":"jane","roles":"a,b","tenant":"t","hd":"acme"}"#).unwrap();
        assert_eq!(
            (found.name.as_str(), found.uid.as_str()),
            ("o:jane", "none")
        );
        assert_eq!(
            (found.groups, &found.extra["acme.io/tenant"]),
            (vec!["a".to_owned(), "b".into()], &vec!["t".to_owned()])
        );
        let why = user(r#"{"sub":"jane","roles":"a","tenant":"t","hd":"x"}"#).unwrap_err();
        assert_eq!(
            why,
            "oidc: error evaluating claim validation expression: validation expression 'claims.hd == 'acme'' failed: wrong house"
        );
        assert!(user(r#"{"sub":"system:x","roles":"a","tenant":"t","hd":"acme"}"#).is_err());
        assert!(user(r#"{"roles":"a","tenant":"t","hd":"acme"}"#).is_err());
        let mut wrong = config.clone();
        wrong.claim_mappings.uid.expression = "nothing.x".into();
        assert!(Mapping::new(&wrong).is_err());
        let mut errors = Vec::new();
        wrong = config.clone();
        wrong.claim_mappings.username.expression = "claims.email".into();
        wrong.check("j", &[], &mut errors);
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    #[test]
    fn claims_make_users() {
        check(
            "sub",
            r#"{"sub":"jane","uid":"7","hd":"acme","groups":["a","b"],"jti":"1"}"#,
            "o:jane 7 [\"g:a\", \"g:b\"] {\"authentication.kubernetes.io/credential-id\": [\"JTI=1\"]}",
        );
        check(
            "sub",
            r#"{"sub":"jane","uid":"7","hd":"acme","groups":"a"}"#,
            "o:jane 7 [\"g:a\"] {}",
        );
        check(
            "sub",
            r#"{"sub":1}"#,
            "oidc: parse username claims \"sub\": claim is not a string",
        );
        check(
            "sub",
            r#"{"sub":"a","groups":[1]}"#,
            "oidc: parse groups claim \"groups\": not a list of strings",
        );
        check(
            "sub",
            r#"{"sub":"a","uid":"7"}"#,
            "oidc: required claim hd not present in ID token",
        );
        check(
            "sub",
            r#"{"sub":"a","uid":"7","hd":"x"}"#,
            "oidc: required claim hd value does not match. Got = x, want = acme",
        );
        check(
            "email",
            r#"{"email":"a","email_verified":false}"#,
            "oidc: email not verified",
        );
    }
}
