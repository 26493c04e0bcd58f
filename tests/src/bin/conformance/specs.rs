//! Which specs there are and which are chosen: e2e.test itself says, in a dry run.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use corten_tests::program;
use serde_json::Value;

/// One spec of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its whole name, containers first.
    pub name: String,
}

impl Spec {
    /// The SIG that its name starts with, such as `api-machinery`.
    pub fn sig(&self) -> &str {
        sig(&self.name)
    }

    /// Whether it may not run beside others.
    pub fn is_serial(&self) -> bool {
        self.name.contains("[Serial]") || self.name.contains("[Disruptive]")
    }
}

/// The SIG in a spec's name.
pub fn sig(name: &str) -> &str {
    let named = name
        .strip_prefix("[sig-")
        .and_then(|rest| rest.split_once(']'));
    named.map_or("none", |(sig, _)| sig)
}

/// The specs that match.
pub fn choose(
    directory: &Path,
    sig: Option<&str>,
    focus: &str,
    skip: Option<&str>,
) -> Result<Vec<Spec>> {
    let list = directory.join("list.json");
    let mut dry = Command::new(program("e2e.test")?);
    dry.args(["--ginkgo.dry-run", "--ginkgo.silence-skips"])
        .arg(format!("--ginkgo.focus={focus}"))
        .arg(format!("--ginkgo.json-report={}", list.display()));
    if let Some(skip) = skip {
        dry.arg(format!("--ginkgo.skip={skip}"));
    }
    let output = dry
        .stdin(Stdio::null())
        .output()
        .context("could not start e2e.test")?;
    if !output.status.success() {
        bail!(
            "e2e.test could not list its specs: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let specs: Vec<Spec> = reports(&list)?
        .iter()
        .filter(|report| report["State"] == "passed")
        .map(|report| Spec { name: name(report) })
        .filter(|spec| sig.is_none_or(|wanted| spec.sig() == wanted))
        .collect();
    if specs.is_empty() {
        bail!("no spec matches --focus {focus:?} and --sig {sig:?}");
    }
    Ok(specs)
}

/// The reports about specs in a report of Ginkgo; not those about what surrounds them.
pub fn reports(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let suites: Value = serde_json::from_slice(&text).context("Ginkgo's report is JSON")?;
    let suites = suites.as_array().cloned().unwrap_or_default();
    let specs = suites
        .iter()
        .filter_map(|suite| suite["SpecReports"].as_array())
        .flatten();
    Ok(specs
        .filter(|report| report["LeafNodeType"] == "It")
        .cloned()
        .collect())
}

/// The whole name of a report's spec.
pub fn name(report: &Value) -> String {
    let containers = report["ContainerHierarchyTexts"].as_array();
    let texts = containers.into_iter().flatten();
    texts
        .chain([&report["LeafNodeText"]])
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_joined_and_say_their_sig() {
        let report = json!({
            "ContainerHierarchyTexts": ["[sig-cli] Kubectl client", "Guestbook application"],
            "LeafNodeText": "should work [Conformance]",
        });
        let spec = Spec {
            name: name(&report),
        };
        assert_eq!(
            spec.name,
            "[sig-cli] Kubectl client Guestbook application should work [Conformance]"
        );
        assert_eq!(spec.sig(), "cli");
        assert!(!spec.is_serial());
        assert_eq!(sig("something else"), "none");
    }
}
