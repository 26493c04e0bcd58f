//! The size ratchet: a file has at most 800 lines and a function at most 70. What was larger when
//! the rule came is listed in `xtask/tidy-exceptions.txt`, where numbers and lines may only go down.

use super::scan;
use super::{Finding, SourceFile};

/// Lines a file may have.
const FILE_LINES_MAX: usize = 800;
/// Lines a function may have.
const FUNCTION_LINES_MAX: usize = 70;
/// Entries the list of exceptions may have: lower this when the list shrinks, never raise it.
const EXCEPTIONS_MAX: usize = 0;

/// Where exceptions are listed, as lines of `path[::function] lines`.
pub const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

#[derive(Debug)]
struct Exception {
    line: usize,
    what: String,
    lines: usize,
}

/// Checks all files against the limits and the list of exceptions.
pub fn check(files: &[SourceFile], exceptions: &str) -> Vec<Finding> {
    check_with(files, exceptions, EXCEPTIONS_MAX)
}

fn check_with(files: &[SourceFile], exceptions: &str, exceptions_max: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let allowed = parse(exceptions, &mut findings);
    if allowed.len() > exceptions_max {
        findings.push(in_list(
            0,
            format!(
                "{} exceptions, {exceptions_max} allowed: the list may only shrink",
                allowed.len()
            ),
        ));
    }
    let mut used = vec![false; allowed.len()];
    for file in files {
        let lines = file.text.lines().count();
        judge(
            &file.path,
            &file.path,
            1,
            lines,
            FILE_LINES_MAX,
            &allowed,
            &mut used,
            &mut findings,
        );
        for function in scan::functions(&scan::blank(&file.text)) {
            let what = format!("{}::{}", file.path, function.name);
            let (line, lines) = (function.line, function.lines);
            let max = FUNCTION_LINES_MAX;
            judge(
                &what,
                &file.path,
                line,
                lines,
                max,
                &allowed,
                &mut used,
                &mut findings,
            );
        }
    }
    for (exception, used) in allowed.iter().zip(used) {
        if !used {
            findings.push(in_list(
                exception.line,
                format!("{} needs no exception", exception.what),
            ));
        }
    }
    findings
}

fn judge(
    what: &str,
    path: &str,
    line: usize,
    lines: usize,
    max: usize,
    allowed: &[Exception],
    used: &mut [bool],
    findings: &mut Vec<Finding>,
) {
    if lines <= max {
        return;
    }
    let found = allowed.iter().position(|exception| exception.what == what);
    let limit = found.map_or(max, |at| allowed[at].lines);
    if let Some(at) = found {
        used[at] = true;
        if lines < limit {
            findings.push(in_list(
                allowed[at].line,
                format!("{what} has {lines} lines now: lower it"),
            ));
        }
    }
    if lines > limit {
        findings.push(Finding {
            path: path.to_string(),
            line,
            rule: "size",
            message: format!("{what} has {lines} lines, at most {limit}: split it by what it owns"),
        });
    }
}

fn parse(text: &str, findings: &mut Vec<Finding>) -> Vec<Exception> {
    let mut list = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line
            .rsplit_once(' ')
            .and_then(|(what, lines)| Some((what.trim().to_string(), lines.parse().ok()?)));
        match parsed {
            Some((what, lines)) => list.push(Exception {
                line: at + 1,
                what,
                lines,
            }),
            None => findings.push(in_list(at + 1, format!("not `path lines`: {line}"))),
        }
    }
    list
}

fn in_list(line: usize, message: String) -> Finding {
    Finding {
        path: EXCEPTIONS.to_string(),
        line,
        rule: "size",
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: "//\n".repeat(lines),
        }
    }

    fn messages(files: &[SourceFile], exceptions: &str, max: usize) -> Vec<String> {
        check_with(files, exceptions, max)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn limits_hold() {
        assert!(messages(&[file("a.rs", 800)], "", 0).is_empty());
        let found = messages(&[file("a.rs", 801)], "", 0);
        assert_eq!(
            found,
            ["a.rs has 801 lines, at most 800: split it by what it owns"]
        );
        let long = SourceFile {
            path: "b.rs".into(),
            text: format!("fn f() {{\n{}}}\n", "x();\n".repeat(69)),
        };
        let found = messages(&[long], "", 0);
        assert_eq!(
            found,
            ["b.rs::f has 71 lines, at most 70: split it by what it owns"]
        );
    }

    #[test]
    fn exceptions_only_shrink() {
        assert!(messages(&[file("a.rs", 900)], "# why\na.rs 900\n", 1).is_empty());
        let grown = messages(&[file("a.rs", 901)], "a.rs 900\n", 1);
        assert_eq!(
            grown,
            ["a.rs has 901 lines, at most 900: split it by what it owns"]
        );
        let shrunk = messages(&[file("a.rs", 850)], "a.rs 900\n", 1);
        assert_eq!(shrunk, ["a.rs has 850 lines now: lower it"]);
        let gone = messages(&[file("a.rs", 10)], "a.rs 900\n", 1);
        assert_eq!(gone, ["a.rs needs no exception"]);
        let more = messages(&[file("a.rs", 900)], "a.rs 900\n", 0);
        assert_eq!(more, ["1 exceptions, 0 allowed: the list may only shrink"]);
        assert_eq!(messages(&[], "a.rs\n", 1), ["not `path lines`: a.rs"]);
    }
}
