//! The corpus: YAML files under `tests/diff-api`. A file with `kind` describes one kind and becomes its requests in
//! every verb (`expand`); a file with `requests` lists them one by one. See `tests/diff-api/README.md` for the form.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use serde_json::Value;

use super::expand::Expansion;

/// One file.
#[derive(Debug)]
pub struct File {
    /// Its name without ending.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// One request with a name, and what of its answer later ones use.
#[derive(Clone, Debug)]
pub struct Step {
    /// Unique within its file.
    pub name: String,
    /// What is sent.
    pub request: Request,
    /// Variable and path into the answer.
    pub save: Vec<(String, String)>,
    /// Path into the answer (or `code`) and text: it is asked again until they are so.
    pub until: Vec<(String, String)>,
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// With query.
    pub path: String,
    /// An empty value leaves a default header out.
    pub headers: Vec<(String, String)>,
    /// May be empty.
    pub body: Vec<u8>,
}

impl Request {
    /// A GET.
    pub fn get(path: &str) -> Request {
        Request {
            method: "GET".into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// As reports name it.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// With `${variable}` replaced.
    pub fn filled(&self, saved: &BTreeMap<String, String>) -> Request {
        let mut request = self.clone();
        for (name, value) in saved {
            let name = format!("${{{name}}}");
            request.path = request.path.replace(&name, value);
            if let Ok(text) = std::str::from_utf8(&request.body)
                && text.contains(&name)
            {
                request.body = text.replace(&name, value).into_bytes();
            }
        }
        request
    }

    /// With a body of this type.
    pub(super) fn with_body(method: &str, path: &str, content_type: &str, body: &Value) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            headers: vec![("Content-Type".into(), content_type.into())],
            body: body.to_string().into_bytes(),
        }
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// All files, or those whose name contains one of the texts. `setup` always comes first.
pub fn load(directory: &Path, only: &[String]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    for path in paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let wanted =
            only.is_empty() || name.starts_with("0-") || only.iter().any(|o| name.contains(o));
        if !wanted {
            continue;
        }
        let text = std::fs::read(&path)?;
        for document in corten_codec::yaml::decode_documents(&text).with_context(|| name.clone())? {
            let bytes = corten_codec::json::encode_value(&document);
            let document: Value = serde_json::from_slice(&bytes)?;
            let steps = steps(&document).with_context(|| name.clone())?;
            files.push(File {
                name: name.clone(),
                steps,
            });
        }
    }
    Ok(files)
}

fn steps(document: &Value) -> Result<Vec<Step>> {
    let mut all = Vec::new();
    if document.get("object").is_some() {
        all.extend(Expansion::of(document)?.steps());
    }
    for request in document["requests"].as_array().into_iter().flatten() {
        all.push(listed(request)?);
    }
    if all.is_empty() {
        bail!("no requests");
    }
    Ok(all)
}

fn listed(given: &Value) -> Result<Step> {
    let line = given["do"]
        .as_str()
        .with_context(|| format!("no `do` in {given}"))?;
    let (method, path) = line
        .split_once(' ')
        .with_context(|| format!("no path in {line:?}"))?;
    let content_type = given["type"].as_str().unwrap_or(match method {
        "PATCH" => MERGE,
        _ => JSON,
    });
    let body = match (
        &given["body"],
        given["raw"].as_str(),
        given["base64"].as_str(),
    ) {
        (_, Some(raw), _) => raw.as_bytes().to_vec(),
        (_, _, Some(text)) => base64::engine::general_purpose::STANDARD.decode(text)?,
        (Value::Null, _, _) => Vec::new(),
        (body, _, _) => body.to_string().into_bytes(),
    };
    let mut headers: Vec<(String, String)> = texts(&given["headers"]);
    if !body.is_empty() {
        headers.push(("Content-Type".into(), content_type.into()));
    }
    Ok(Step {
        name: given["name"].as_str().unwrap_or(line).to_owned(),
        request: Request {
            method: method.into(),
            path: path.into(),
            headers,
            body,
        },
        save: texts(&given["save"]),
        until: texts(&given["until"]),
    })
}

fn texts(map: &Value) -> Vec<(String, String)> {
    let members = map.as_object().into_iter().flatten();
    members
        .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kind_becomes_requests_in_every_verb() {
        let kind = json!({"path": "/api/v1/things", "object": {"metadata": {"name": "x"}, "a": 1},
            "variants": {"no a": {"a": null}}});
        let all = steps(&kind).unwrap();
        let of = |method: &str| all.iter().filter(|s| s.request.method == method).count();
        assert!(
            of("POST") > 5 && of("GET") > 5 && of("PUT") > 3 && of("PATCH") > 5 && of("DELETE") > 2
        );
        let variant = all.iter().find(|s| s.name == "variant no a").unwrap();
        assert_eq!(variant.request.body, br#"{"metadata":{"name":"v-x"}}"#);
    }

    #[test]
    fn saved_values_fill_later_requests() {
        let request = Request {
            path: "/a/${uid}".into(),
            body: b"{\"u\":\"${uid}\"}".to_vec(),
            ..Request::get("")
        };
        let saved = BTreeMap::from([("uid".to_owned(), "7".to_owned())]);
        let filled = request.filled(&saved);
        assert_eq!(
            (filled.path.as_str(), filled.body.as_slice()),
            ("/a/7", &b"{\"u\":\"7\"}"[..])
        );
    }
}
