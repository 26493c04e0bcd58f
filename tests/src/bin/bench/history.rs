//! One JSON line for each measurement: date, commit, machine and results, printed and kept.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Prints the line and appends it to the file that `CORTEN_HISTORY` names, if any.
pub fn record(bench: &str, results: Value) -> Result<()> {
    let line = json!({
        "date": output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": std::env::var("CORTEN_COMMIT").unwrap_or_default(),
        "bench": bench,
        "machine": machine(),
        "results": results,
    });
    println!("\n{line}");
    let Some(path) = std::env::var_os("CORTEN_HISTORY") else {
        return Ok(());
    };
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.to_string_lossy()))?;
    writeln!(file, "{line}").context("writing the history")
}

/// Prints rows with columns of equal width; the first row is the header.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(at, (cell, width))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        println!("{}", cells.join("  "));
    }
}

/// Rounds for people and for the history file.
pub fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The value below which this share of the sorted values lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64) * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_string());
    // Not what this process may use: it may have pinned itself.
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    json!({ "cpu": model, "cores": cores, "kernel": output("uname", &["-r"]) })
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
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 50.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(round(1.23456, 2), 1.23);
    }
}
