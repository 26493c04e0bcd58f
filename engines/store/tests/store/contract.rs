//! The contract in the crate's documentation: every promise names its tests, and every test that is named exists.

use std::path::Path;

/// The promises, one text each.
fn promises() -> Vec<String> {
    let text = include_str!("../../src/lib.rs");
    let lines = text.lines().filter_map(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let contract = lines
        .skip_while(|line| *line != "# The contract")
        .skip(1)
        .take_while(|line| !line.starts_with("# "));
    let mut promises: Vec<String> = Vec::new();
    for line in contract {
        match line.strip_prefix("- ") {
            Some(begin) => promises.push(begin.to_owned()),
            None => {
                if let Some(last) = promises.last_mut() {
                    last.push_str(line);
                }
            }
        }
    }
    promises
}

/// Whether a test `module::name` exists: here, in the module's own file, or in the simulation.
fn exists(module: &str, name: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = match module {
        "sim" => vec![here.join("../../sim/tests/store.rs")],
        module => vec![
            here.join(format!("tests/store/{module}.rs")),
            here.join(format!("src/{module}.rs")),
        ],
    };
    let function = format!("fn {name}(");
    let texts = places
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok());
    texts.into_iter().any(|text| text.contains(&function))
}

#[test]
fn every_promise_names_tests_that_exist() {
    let promises = promises();
    assert!(promises.len() > 20, "{}", promises.len());
    for promise in promises {
        let names: Vec<(&str, &str)> = promise
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|quoted| quoted.split_once("::"))
            .filter(|(module, _)| module.starts_with(|c: char| c.is_ascii_lowercase()))
            .collect();
        assert!(!names.is_empty(), "no test is named: {promise}");
        for (module, name) in names {
            assert!(exists(module, name), "there is no test {module}::{name}");
        }
    }
}
