//! The life of one pod as its watch shows it: each write to the object with the fields it changed.
//! Values that differ from run to run (times, addresses, ids, versions) are left out.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::kubectl::{Kubectl, Running};

/// A watch on one pod that is not created yet.
#[derive(Debug)]
pub struct PodTrace {
    watch: Running,
    last: BTreeMap<String, String>,
    steps: Vec<Step>,
    /// The object's fields after each step.
    states: Vec<BTreeMap<String, String>>,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// create, bind, status, update or delete, by the fields that changed.
    pub verb: &'static str,
    /// The changed fields, list items by their name or type.
    pub fields: Vec<String>,
}

impl PodTrace {
    /// Watches `pod` from now on.
    pub fn start(kubectl: &Kubectl, pod: &str) -> Result<PodTrace> {
        let namespace = kubectl.namespace();
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let list = kubectl.run(&format!("get --raw {pods}"))?;
        let list: Value = serde_json::from_str(&list).context("a list of pods is JSON")?;
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .context("a list's version")?;
        let query = format!("watch=1&fieldSelector=metadata.name={pod}&resourceVersion={version}");
        let watch = kubectl.start(&format!("get --raw {pods}?{query}"))?;
        Ok(PodTrace {
            watch,
            last: BTreeMap::new(),
            steps: Vec::new(),
            states: Vec::new(),
        })
    }

    /// Follows the pod until it is Ready; all writes up to then.
    pub fn until_ready(&mut self) -> Result<Vec<Step>> {
        loop {
            let object = self.next_event()?;
            let conditions = object["status"]["conditions"].as_array();
            let is_ready = conditions
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            if is_ready {
                return Ok(self.steps.clone());
            }
        }
    }

    /// The writes so far with neighbours of one verb as one: how many status writes it takes depends on
    /// how fast the machine is, what they come to does not.
    pub fn merged(&self) -> Vec<Step> {
        let mut merged: Vec<Step> = Vec::new();
        let mut before = BTreeMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            let goes_on = self
                .steps
                .get(at + 1)
                .is_some_and(|next| next.verb == step.verb);
            if goes_on {
                continue;
            }
            let fields = match step.verb {
                "create" => Vec::new(),
                _ => changes(&before, &self.states[at]),
            };
            before = self.states[at].clone();
            let verb = step.verb;
            merged.push(Step { verb, fields });
        }
        merged
    }

    fn next_event(&mut self) -> Result<Value> {
        let line = self.watch.any()?;
        let event: Value =
            serde_json::from_str(&line).with_context(|| format!("a watch event: {line}"))?;
        let mut fields = BTreeMap::new();
        flatten("", &event["object"], &mut fields);
        let changed: Vec<String> = changes(&self.last, &fields);
        let verb = match event["type"].as_str() {
            Some("ADDED") => "create",
            Some("DELETED") => "delete",
            Some("MODIFIED") if changed.iter().any(|field| field == "spec.nodeName") => "bind",
            Some("MODIFIED") if changed.iter().all(|field| is_status(field)) => "status",
            Some("MODIFIED") => "update",
            _ => bail!("an event that is no change of a pod: {line}"),
        };
        let fields_shown = if verb == "create" {
            Vec::new()
        } else {
            changed
        };
        self.steps.push(Step {
            verb,
            fields: fields_shown,
        });
        self.states.push(fields.clone());
        self.last = fields;
        Ok(event["object"].clone())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb)?;
        for field in &self.fields {
            write!(f, "\n  {field}")?;
        }
        Ok(())
    }
}

/// A changed or removed field of the status.
fn is_status(change: &str) -> bool {
    change.trim_start_matches('-').starts_with("status.")
}

/// Fields that every write touches or that only repeat who wrote.
fn is_noise(path: &str) -> bool {
    path.starts_with("metadata.managedFields")
        || matches!(path, "metadata.resourceVersion" | "metadata.generation")
}

fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let join = |name: &str| match path {
        "" => name.to_string(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                flatten(&join(name), value, fields);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let key = ["name", "type", "ip"]
                    .iter()
                    .find_map(|key| item[*key].as_str());
                let key = match key {
                    Some(key) if key.starts_with("kube-api-access-") => "kube-api-access".into(),
                    Some(key) if !key.starts_with(|c: char| c.is_ascii_digit()) => key.to_string(),
                    _ => at.to_string(),
                };
                flatten(&format!("{path}[{key}]"), item, fields);
            }
        }
        value if !is_noise(path) => {
            fields.insert(path.to_string(), value.to_string());
        }
        _ => {}
    }
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let changed = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(*value));
    let removed = before.keys().filter(|path| !after.contains_key(*path));
    let mut paths: Vec<String> = changed
        .map(|(path, _)| path.clone())
        .chain(removed.map(|path| format!("-{path}")))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_name_list_items_and_skip_noise() {
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        let old = json!({ "metadata": { "resourceVersion": "1" }, "status": {
            "conditions": [{ "type": "Ready", "status": "False", "reason": "x" }] } });
        let new = json!({ "metadata": { "resourceVersion": "2" }, "status": {
            "conditions": [{ "type": "Ready", "status": "True" }], "podIPs": [{ "ip": "10.0.0.1" }] } });
        flatten("", &old, &mut before);
        flatten("", &new, &mut after);
        let expected = [
            "-status.conditions[Ready].reason",
            "status.conditions[Ready].status",
            "status.podIPs[0].ip",
        ];
        assert_eq!(changes(&before, &after), expected);
    }
}
