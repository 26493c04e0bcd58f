//! Progress of a chore that has several steps: a line per step, with a spinner and the time spent
//! where standard error is a terminal, and plain lines where it is a log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// The numbered steps of one chore.
#[derive(Debug)]
pub struct Steps {
    done: usize,
    total: usize,
}

/// One step while it runs.
#[derive(Debug)]
pub struct Step {
    label: String,
    spinner: Option<ProgressBar>,
}

impl Steps {
    /// A chore of `total` steps.
    pub fn new(total: usize) -> Steps {
        Steps { done: 0, total }
    }

    /// Runs a step that prints nothing itself.
    pub fn run<T>(&mut self, title: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        let label = self.label(title);
        let spinner = std::io::stderr().is_terminal().then(|| spinner(&label));
        if spinner.is_none() {
            eprintln!("{label}");
        }
        let step = Step {
            label: label.clone(),
            spinner,
        };
        let started = Instant::now();
        let outcome = work(&step);
        if let Some(spinner) = &step.spinner {
            spinner.finish_and_clear();
            if outcome.is_ok() {
                eprintln!("{label}  {:.1} s", started.elapsed().as_secs_f64());
            }
        }
        outcome.with_context(|| format!("step failed: {title}"))
    }

    /// Runs a step whose own output the user reads, such as cargo's.
    pub fn run_loud<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let label = self.label(title);
        eprintln!("{label}");
        work().with_context(|| format!("step failed: {title}"))
    }

    fn label(&mut self, title: &str) -> String {
        self.done += 1;
        format!("[{}/{}] {title}", self.done, self.total.max(self.done))
    }
}

impl Step {
    /// Says what the step is at.
    pub fn say(&self, what: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(format!("{}: {what}", self.label)),
            None => eprintln!("      {what}"),
        }
    }
}

fn spinner(label: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        spinner.set_style(style);
    }
    spinner.set_message(label.to_string());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
