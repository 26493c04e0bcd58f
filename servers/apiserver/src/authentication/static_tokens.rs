//! Tokens with a fixed user, from a file: `token,user,uid[,"group1,group2"]` per line, as CSV.

use std::collections::HashMap;

use corten_access::UserInfo;

/// Tokens and whom each stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct StaticTokens(HashMap<String, UserInfo>);

impl StaticTokens {
    /// From pairs that are given otherwise.
    pub(crate) fn new(tokens: HashMap<String, UserInfo>) -> StaticTokens {
        StaticTokens(tokens)
    }

    /// Adds the tokens of a file's text. `Err` says what is wrong with it.
    pub(crate) fn add_file(&mut self, name: &str, text: &str) -> Result<(), String> {
        for record in records(text)? {
            if record.len() < 3 {
                return Err(format!(
                    "token file '{name}' must have at least 3 columns (token, user name, user uid), found {}",
                    record.len()
                ));
            }
            if record[0].is_empty() {
                tracing::warn!(name, "empty token in the token file");
                continue;
            }
            let groups = record.get(3).map_or_else(Vec::new, |groups| {
                groups.split(',').map(str::to_owned).collect()
            });
            let user = UserInfo {
                name: record[1].clone(),
                uid: record[2].clone(),
                groups,
                ..UserInfo::default()
            };
            if self.0.insert(record[0].clone(), user).is_some() {
                tracing::warn!(name, "duplicate token in the token file");
            }
        }
        Ok(())
    }

    /// Whom a token stands for.
    pub(crate) fn user(&self, token: &str) -> Option<&UserInfo> {
        self.0.get(token)
    }
}

/// The records of a CSV text; empty lines count for nothing.
fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err("parse error: bare \" in non-quoted-field".to_owned()),
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("parse error: extraneous or missing \" in quoted-field".to_owned());
    }
    record.push(field);
    records.push(record);
    records.retain(|r| r.len() > 1 || !r[0].is_empty());
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token() {
        let mut tokens = StaticTokens::default();
        let text = "t1,jane,7\n\nt2,\"joe \"\"x\"\"\",8,\"a,b\"\r\nt3,k,9,c";
        tokens.add_file("f", text).unwrap();
        assert_eq!(tokens.user("t1").unwrap().name, "jane");
        assert!(tokens.user("t1").unwrap().groups.is_empty());
        let joe = tokens.user("t2").unwrap();
        assert_eq!((joe.name.as_str(), joe.uid.as_str()), ("joe \"x\"", "8"));
        assert_eq!(joe.groups, ["a", "b"]);
        assert_eq!(tokens.user("t3").unwrap().groups, ["c"]);
        assert!(tokens.user("").is_none());
    }

    #[test]
    fn too_few_columns_are_refused() {
        let refused = StaticTokens::default().add_file("f", "a,b\n").unwrap_err();
        assert_eq!(
            refused,
            "token file 'f' must have at least 3 columns (token, user name, user uid), found 2"
        );
        assert!(StaticTokens::default().add_file("f", "a,\"b,c\n").is_err());
    }
}
