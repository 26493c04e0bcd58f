//! `cargo xtask tidy`: the rules of the code that the compiler does not check. Reads the tree and
//! `cargo metadata`, changes nothing. Generated code (`*/generated/*`) is exempt from sizes and text.

mod invariants;
mod layers;
mod scan;
mod sizes;
mod text;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// One broken rule at one place.
#[derive(Debug)]
pub struct Finding {
    /// The file, from the root.
    pub path: String,
    /// Its line, from 1; 0 for the whole file.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// A text file of the project.
#[derive(Debug)]
pub struct SourceFile {
    /// The path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Prints every finding; an error if there is one.
pub fn run(workspace: &Workspace) -> Result<()> {
    let findings = check(workspace.root())?;
    for finding in &findings {
        eprintln!(
            "{}:{}: [{}] {}",
            finding.path, finding.line, finding.rule, finding.message
        );
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: nothing to say");
    Ok(())
}

/// All findings in the tree under `root`.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    let mut findings = layers::Graph::read(root)?.check();
    let paths = machine_paths(root);
    for file in &files {
        findings.extend(text::machine_paths(file, &paths));
    }
    if let Some(document) = files.iter().find(|file| file.path == invariants::DOCUMENT) {
        findings.extend(invariants::check(document, &files));
    }
    files.retain(|file| file.path.ends_with(".rs") && !file.path.contains("/generated/"));
    for file in &files {
        findings.extend(text::check(file));
    }
    let exceptions = fs::read_to_string(root.join(sizes::EXCEPTIONS)).unwrap_or_default();
    findings.extend(sizes::check(&files, &exceptions));
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

/// Paths that mean something on this machine only: the checkout and the user's own directories.
fn machine_paths(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    if root.components().count() > 2 {
        paths.push(root.to_string_lossy().into_owned());
    }
    if let Some(home) = std::env::var_os("HOME").filter(|home| home.len() > 1) {
        paths.extend(
            [".cargo", ".cache", ".config", "go/"]
                .map(|part| Path::new(&home).join(part).to_string_lossy().into_owned()),
        );
    }
    paths
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
    const SKIP: &[&str] = &["target", "node_modules"];
    const READ: &[&str] = &[
        "rs", "md", "toml", "yaml", "yml", "json", "jsonl", "txt", "sh", "go", "mod", "html",
    ];
    let entries =
        fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
        if hidden || kind.is_symlink() || SKIP.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if !READ.contains(&extension) && directory != root.join(".ci") {
            continue;
        }
        // Fixtures need not be text; what is not UTF-8 has no rules.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let below = path.strip_prefix(root).unwrap_or(&path);
        files.push(SourceFile {
            path: below.to_string_lossy().into_owned(),
            text,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"model/a\"]\n";
        let package = "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        let base = [("Cargo.toml", manifest), ("model/a/Cargo.toml", package)];
        for (path, text) in base.iter().chain(files) {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    fn found(files: &[(&str, &str)]) -> Vec<(String, &'static str)> {
        let tree = fixture(files);
        let root = tree.path().canonicalize().unwrap();
        check(&root)
            .unwrap()
            .into_iter()
            .map(|f| (f.path, f.rule))
            .collect()
    }

    #[test]
    fn a_tidy_tree_has_no_findings() {
        assert_eq!(found(&[("model/a/src/lib.rs", "//! Owns nothing.\n")]), []);
    }

    #[test]
    fn an_untidy_tree_has_findings_and_generated_code_has_none() {
        let long = format!("//! Long.\n{}", "// x\n".repeat(800));
        let findings = found(&[
            ("model/a/src/lib.rs", "fn a() { let t = Instant::now(); }\n"),
            ("model/a/src/long.rs", &long),
            ("model/a/src/generated/long.rs", &long[10..]),
            ("target/debug/x.rs", "fn x() {}"),
        ]);
        let expected = [
            ("model/a/src/lib.rs".to_string(), "header"),
            ("model/a/src/lib.rs".to_string(), "pure"),
            ("model/a/src/long.rs".to_string(), "size"),
        ];
        assert_eq!(findings, expected);
    }

    #[test]
    fn this_workspace_is_tidy() {
        let workspace = Workspace::find().unwrap();
        let findings = check(workspace.root()).unwrap();
        let text: Vec<String> = findings
            .iter()
            .map(|f| format!("{}:{}: [{}] {}", f.path, f.line, f.rule, f.message))
            .collect();
        assert!(text.is_empty(), "\n{}", text.join("\n"));
    }
}
