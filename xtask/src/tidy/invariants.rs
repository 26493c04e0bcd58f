//! `ARCHITECTURE.md` stays short, and each of its `Invariant:` lines names a test that exists, as
//! `` `path/to/file.rs::test_name` ``.

use super::{Finding, SourceFile};

/// The document.
pub const DOCUMENT: &str = "ARCHITECTURE.md";
const LINES_MAX: usize = 400;

/// Checks the document against the files that it names.
pub fn check(document: &SourceFile, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line: usize, message: String| {
        findings.push(Finding {
            path: document.path.clone(),
            line,
            rule: "invariants",
            message,
        });
    };
    let lines = document.text.lines().count();
    if lines > LINES_MAX {
        report(1, format!("has {lines} lines, at most {LINES_MAX}"));
    }
    for (at, line) in document.text.lines().enumerate() {
        if !line
            .trim_start_matches(['-', ' '])
            .starts_with("Invariant:")
        {
            continue;
        }
        let tests: Vec<(&str, &str)> = line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|code| code.split_once(".rs::"))
            .collect();
        if tests.is_empty() {
            report(
                at + 1,
                "an invariant names no test (`file.rs::test`)".to_string(),
            );
        }
        for (file, test) in tests {
            let path = format!("{file}.rs");
            let found = files.iter().find(|known| known.path == path);
            if !found.is_some_and(|file| defines(&file.text, test)) {
                report(at + 1, format!("no test {test} in {path}"));
            }
        }
    }
    findings
}

/// A function of this name, or a test that is listed under it.
fn defines(text: &str, test: &str) -> bool {
    text.contains(&format!("fn {test}(")) || text.contains(&format!("\"{test}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str) -> Vec<String> {
        let document = SourceFile {
            path: DOCUMENT.into(),
            text: document.into(),
        };
        let files = [SourceFile {
            path: "a/b.rs".into(),
            text: "fn holds() {}\n".into(),
        }];
        check(&document, &files)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn invariants_name_tests_that_exist() {
        assert!(found("- Invariant: it holds. `a/b.rs::holds`\n").is_empty());
        assert_eq!(
            found("Invariant: it holds. `a/b.rs::nope`\nInvariant: so be it.\n"),
            [
                "no test nope in a/b.rs",
                "an invariant names no test (`file.rs::test`)"
            ]
        );
        assert_eq!(found(&"x\n".repeat(401)), ["has 401 lines, at most 400"]);
    }
}
