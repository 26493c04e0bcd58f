//! What a file's text must and must not have: a `//!` header, no skipped tests, no sleeping tests,
//! no clock or IO in pure crates, no vague module names, no path of the machine it was written on.

use super::scan;
use super::{Finding, SourceFile};

/// Text that pure crates leave to engines; test code may read fixtures.
const IMPURE_CALLS: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "std::env::",
    "Instant::now",
    "SystemTime::now",
];

const VAGUE_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

/// The one place of the black-box tests that waits by looking again: what it waits for gives no event.
const MAY_PAUSE: &str = "tests/src/eventually.rs";

/// Checks one Rust file.
pub fn check(file: &SourceFile) -> Vec<Finding> {
    let blanked = scan::blank(&file.text);
    let mut findings = Vec::new();
    header(file, &mut findings);
    vague_names(file, &mut findings);
    let test_lines = scan::test_lines(&blanked);
    // Programs beside the harness measure; what they time may need a pause.
    let measures = file.path.starts_with("tests/src/bin/");
    let whole_file_is_test =
        file.path.contains("/tests/") || file.path.starts_with("tests/") && !measures;
    // A build script runs inside the build and reads what cargo tells it there; nothing of it is in the product.
    let is_pure = (file.path.starts_with("rules/") || file.path.starts_with("model/"))
        && !file.path.ends_with("/build.rs");
    let measured = file.path.contains("/examples/") || file.path.contains("/benches/");
    let test_module = file.path.ends_with("/tests.rs") || file.path.ends_with("_tests.rs");
    for (number, line) in blanked.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let in_test = whole_file_is_test
            || test_module
            || test_lines.iter().any(|range| range.contains(&number));
        let mut report = |rule, message: String| {
            findings.push(Finding {
                path: file.path.clone(),
                line: number,
                rule,
                message,
            });
        };
        if line.contains("#[ignore") {
            report("tests", "a test is skipped by #[ignore]".into());
        }
        if in_test && has_call(line, "sleep(") && file.path != MAY_PAUSE {
            report("tests", "a test sleeps; wait for what should happen".into());
        }
        if is_pure && !in_test && !measured {
            for call in IMPURE_CALLS.iter().filter(|call| line.contains(**call)) {
                report("pure", format!("a pure crate uses {call}"));
            }
        }
        if line.trim_start().starts_with("pub use") && line.contains("::*") {
            report("names", "a glob re-export hides what is public".into());
        }
        if let Some(name) = defined_manager(line) {
            report(
                "names",
                format!("{name}: name what it does instead of Manager"),
            );
        }
    }
    findings
}

/// Finds paths of this machine in any text file.
pub fn machine_paths(file: &SourceFile, paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for path in paths.iter().filter(|path| line.contains(path.as_str())) {
            findings.push(Finding {
                path: file.path.clone(),
                line: number + 1,
                rule: "paths",
                message: format!("names a path of this machine: {path}"),
            });
        }
    }
    findings
}

fn header(file: &SourceFile, findings: &mut Vec<Finding>) {
    let first = file
        .text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        findings.push(Finding {
            path: file.path.clone(),
            line: 1,
            rule: "header",
            message: "does not open with a `//!` line that says what the file owns".into(),
        });
    }
}

fn vague_names(file: &SourceFile, findings: &mut Vec<Finding>) {
    for part in file.path.trim_end_matches(".rs").split('/') {
        if VAGUE_NAMES.contains(&part) {
            findings.push(Finding {
                path: file.path.clone(),
                line: 1,
                rule: "names",
                message: format!("`{part}` does not say what the module owns"),
            });
        }
    }
}

fn has_call(line: &str, call: &str) -> bool {
    line.match_indices(call).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn defined_manager(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words
        .by_ref()
        .find(|word| matches!(*word, "struct" | "enum" | "trait"))?;
    words
        .find(|word| !word.is_empty())
        .filter(|name| name.ends_with("Manager"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        let file = SourceFile {
            path: path.into(),
            text: text.into(),
        };
        check(&file)
            .into_iter()
            .map(|finding| (finding.line, finding.rule))
            .collect()
    }

    #[test]
    fn a_plain_file_passes() {
        let text = "//! Owns it.\n\nfn sleepy() { park(\"sleep(\"); }\n";
        assert_eq!(rules("engines/store/src/lib.rs", text), []);
    }

    #[test]
    fn a_missing_header_fails() {
        assert_eq!(rules("engines/x/src/a.rs", "fn a() {}\n"), [(1, "header")]);
    }

    #[test]
    fn sleeping_fails_in_tests_only() {
        let text = "//! A.\nfn a() { sleep(1); }\n#[cfg(test)]\nmod tests {\n    fn b() { sleep(1); }\n}\n";
        assert_eq!(rules("engines/x/src/a.rs", text), [(5, "tests")]);
        assert_eq!(
            rules("engines/x/tests/a.rs", "//! A.\nthread::sleep(d);\n"),
            [(2, "tests")]
        );
        assert_eq!(rules(MAY_PAUSE, "//! A.\nthread::sleep(d);\n"), []);
    }

    #[test]
    fn skipped_tests_and_glob_exports_and_managers_fail() {
        let text = "//! A.\n#[ignore = \"slow\"]\npub use a::*;\npub struct PodManager;\n";
        let found = rules("engines/x/src/a.rs", text);
        assert_eq!(found, [(2, "tests"), (3, "names"), (4, "names")]);
    }

    #[test]
    fn pure_crates_have_no_clock_or_disk_outside_tests() {
        let text =
            "//! A.\nlet now = Instant::now();\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(rules("rules/kinds/src/a.rs", text), [(2, "pure")]);
        assert_eq!(rules("engines/store/src/a.rs", text), []);
    }

    #[test]
    fn vague_names_fail() {
        assert_eq!(rules("engines/x/src/utils.rs", "//! A.\n"), [(1, "names")]);
    }

    #[test]
    fn paths_of_this_machine_fail_in_any_file() {
        let file = SourceFile {
            path: "a.md".into(),
            text: "see\n/somewhere/here/x\n".into(),
        };
        let found = machine_paths(&file, &["/somewhere/here".into()]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
    }
}
