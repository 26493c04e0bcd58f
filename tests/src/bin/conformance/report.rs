//! What is written about a run: totals by SIG, a JUnit file, the failures as text, a line of history and the document
//! that is made from the history.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::suite::{Finished, Outcome};

/// Passed, failed and skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// A run in numbers.
#[derive(Debug)]
pub struct Summary {
    by_sig: BTreeMap<String, Count>,
    all: Count,
    minutes: f64,
}

impl Summary {
    /// Counts results.
    pub fn of(results: &[Finished], took: Duration) -> Summary {
        let mut summary = Summary {
            by_sig: BTreeMap::new(),
            all: Count::default(),
            minutes: took.as_secs_f64() / 60.0,
        };
        for result in results {
            let of_sig = summary
                .by_sig
                .entry(result.spec.sig().to_owned())
                .or_default();
            for count in [of_sig, &mut summary.all] {
                match result.outcome {
                    Outcome::Passed => count.passed += 1,
                    Outcome::Failed => count.failed += 1,
                    Outcome::Skipped => count.skipped += 1,
                }
            }
        }
        summary
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.all.failed
    }

    /// Shows the totals.
    pub fn print(&self) {
        println!("\n{}", self.table());
        println!(
            "{} passed, {} failed, {} skipped in {:.1} minutes",
            self.all.passed, self.all.failed, self.all.skipped, self.minutes
        );
    }

    fn table(&self) -> String {
        let mut text = String::from("| SIG | passed | failed | skipped |\n|---|---|---|---|\n");
        for (sig, count) in &self.by_sig {
            row(&mut text, sig, *count);
        }
        row(&mut text, "all", self.all);
        text
    }
}

fn row(text: &mut String, name: &str, count: Count) {
    let Count {
        passed,
        failed,
        skipped,
    } = count;
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| {name} | {passed} | {failed} | {skipped} |");
}

/// Writes a JUnit file.
pub fn write_junit(file: &Path, results: &[Finished]) -> Result<()> {
    let failed = results
        .iter()
        .filter(|r| r.outcome == Outcome::Failed)
        .count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"conformance\" tests=\"{}\" failures=\"{failed}\">\n",
        results.len()
    );
    for result in results {
        let inner = match result.outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed => format!("<failure>{}</failure>", escape(&result.message)),
            Outcome::Skipped => format!("<skipped message=\"{}\"/>", escape(&result.message)),
        };
        let _ = writeln!(
            xml,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">{inner}</testcase>",
            result.spec.sig(),
            escape(&result.spec.name),
            result.duration.as_secs_f64()
        );
    }
    xml.push_str("</testsuite>\n");
    fs::write(file, xml).with_context(|| format!("writing {}", file.display()))
}

/// Writes what failed and why.
pub fn write_failures(file: &Path, results: &[Finished]) -> Result<()> {
    let mut text = String::new();
    for result in results.iter().filter(|r| r.outcome == Outcome::Failed) {
        let _ = writeln!(
            text,
            "{}\n    {}\n",
            result.spec.name,
            result.message.replace('\n', "\n    ")
        );
    }
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// Appends to the history and writes the document from it.
pub fn record(
    summary: &Summary,
    results: &[Finished],
    sig: Option<&str>,
    focus: &str,
) -> Result<()> {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let by_sig: serde_json::Map<String, Value> = summary
        .by_sig
        .iter()
        .map(|(sig, c)| (sig.clone(), json!([c.passed, c.failed, c.skipped])))
        .collect();
    let failures: Vec<&str> = results
        .iter()
        .filter(|r| r.outcome == Outcome::Failed)
        .map(|r| r.spec.name.as_str())
        .collect();
    let line = json!({
        "date": output("date", &["-u", "+%Y-%m-%d"]),
        "commit": std::env::var("CORTEN_COMMIT").unwrap_or_default(),
        "sig": sig,
        "focus": focus,
        "passed": summary.all.passed,
        "failed": summary.all.failed,
        "skipped": summary.all.skipped,
        "minutes": (summary.minutes * 10.0).round() / 10.0,
        "by_sig": by_sig,
        "failures": failures,
    });
    let directory = documents.join("conformance");
    fs::create_dir_all(&directory)?;
    let history = directory.join("history.jsonl");
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(&history)
        .with_context(|| format!("opening {}", history.display()))?;
    writeln!(file, "{line}")?;
    let lines = fs::read_to_string(&history)?;
    let page = documents.join("conformance.md");
    fs::write(&page, document(&lines)).with_context(|| format!("writing {}", page.display()))
}

/// The document: for each SIG its newest run with the specs that failed in it, then every run.
fn document(history: &str) -> String {
    let runs: Vec<Value> = history
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let mut text = String::from(INTRODUCTION);
    let mut newest: BTreeMap<&str, (&Value, &Value)> = BTreeMap::new();
    for run in &runs {
        for (sig, counts) in run["by_sig"].as_object().into_iter().flatten() {
            // A run of a few specs does not say how a SIG stands.
            if run["focus"].as_str().is_some_and(is_whole) {
                newest.insert(sig, (run, counts));
            }
        }
    }
    text.push_str(
        "| SIG | passed | failed | skipped | date | commit |\n|---|---|---|---|---|---|\n",
    );
    for (sig, (run, counts)) in &newest {
        let _ = writeln!(
            text,
            "| {sig} | {} | {} | {} | {} | {} |",
            counts[0],
            counts[1],
            counts[2],
            run["date"].as_str().unwrap_or_default(),
            run["commit"].as_str().unwrap_or_default()
        );
    }
    text.push_str("\n## What failed\n\n");
    for (sig, (run, _)) in &newest {
        let failures = run["failures"].as_array().into_iter().flatten();
        for name in failures.filter_map(Value::as_str) {
            if crate::specs::sig(name) == *sig {
                let _ = writeln!(text, "- {name}{}", reason(name));
            }
        }
    }
    text.push_str("\n## Every run\n\n| date | commit | SIG | focus | passed | failed | skipped | minutes |\n|---|---|---|---|---|---|---|---|\n");
    for run in runs.iter().rev() {
        let word = |name: &str| run[name].as_str().unwrap_or("all").replace('|', "\\|");
        let _ = writeln!(
            text,
            "| {} | {} | {} | `{}` | {} | {} | {} | {} |",
            word("date"),
            word("commit"),
            word("sig"),
            word("focus"),
            run["passed"],
            run["failed"],
            run["skipped"],
            run["minutes"]
        );
    }
    text
}

/// Whether a focus takes all of the suite, or all of some SIGs.
fn is_whole(focus: &str) -> bool {
    let sigs = focus.strip_suffix(r"\[Conformance\]");
    sigs.is_some_and(|s| s.is_empty() || s.starts_with(r"\[sig-(") && s.ends_with(r")\].*"))
}

/// Why a spec is known to fail.
fn reason(name: &str) -> &'static str {
    match name.contains("at least two untainted nodes") {
        true => " (there is one node so far)",
        false => "",
    }
}

const INTRODUCTION: &str = "\
# Conformance

`cargo xtask conformance [--sig SIG] [--focus RE] [--parallel N]` builds upstream's e2e.test, kubectl and test programs
from `tests/upstream/go.mod`, makes the suite's images on this machine under upstream's names, starts `corten up` with
its defaults in a network namespace and runs upstream's specs against it. `--record` writes this page. A spec that
upstream's own code skips on such a cluster counts as skipped.

The newest run of each SIG:

";

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_shows_the_newest_run_of_each_sig() {
        let history = concat!(
            r#"{"date":"2026-01-01","commit":"a","sig":null,"focus":"\\[Conformance\\]","passed":1,"failed":1,"skipped":0,"minutes":2,"by_sig":{"cli":[1,1,0]},"failures":["[sig-cli] old"]}"#,
            "\n",
            r#"{"date":"2026-01-02","commit":"b","sig":"cli","focus":"\\[Conformance\\]","passed":2,"failed":0,"skipped":0,"minutes":2,"by_sig":{"cli":[2,0,0]},"failures":[]}"#,
            "\n",
        );
        let page = document(history);
        assert!(
            page.contains("| cli | 2 | 0 | 0 | 2026-01-02 | b |"),
            "{page}"
        );
        assert!(!page.contains("[sig-cli] old"), "{page}");
        assert!(page.contains("| 2026-01-01 | a | all |"), "{page}");
    }

    #[test]
    fn only_whole_sigs_count() {
        assert!(is_whole(r"\[Conformance\]"));
        assert!(is_whole(r"\[sig-(auth|cli)\].*\[Conformance\]"));
        assert!(!is_whole(r"\[sig-(auth|cli)\].*Secrets.*\[Conformance\]"));
        assert!(!is_whole("Secrets"));
    }

    #[test]
    fn xml_is_escaped() {
        assert_eq!(escape("a<b & \"c\"\u{1b}"), "a&lt;b &amp; &quot;c&quot; ");
    }
}
