//! `cargo xtask diff-api`: starts upstream's kube-apiserver and Corten's on loopback, sends one corpus of requests to
//! both and compares what they answer. Invariant: a difference is either none, or listed with its reason in
//! `docs/deviations.yaml`. The corpus is data under `tests/diff-api`; leaves out what needs a node.

mod compare;
mod corpus;
mod deviations;
mod expand;
mod http;
mod normal;
mod recorded;
mod servers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::progress::Steps;
use crate::tools;
use crate::workspace::Workspace;
use corpus::{Request, Step};
use http::{Answer, Connection};
use recorded::Recorded;
use servers::{Server, Servers};

/// Flags of `cargo xtask diff-api`.
#[derive(Debug, Args)]
pub struct DiffApi {
    /// Only files of the corpus whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Print both answers of requests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    show: Option<String>,
    /// The corten program (target/debug/corten unless named).
    #[arg(long, value_name = "FILE")]
    corten: Option<PathBuf>,
    /// Keep upstream's answers in tests/diff-api/answers.tsv
    #[arg(long, conflicts_with = "replay")]
    record: bool,
    /// Compare with the kept answers instead of starting upstream
    #[arg(long)]
    replay: bool,
    /// More flags for upstream's kube-apiserver.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    upstream_flag: Vec<String>,
    /// More flags for corten apiserver.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    corten_flag: Vec<String>,
}

/// One answer of each server.
struct Pair {
    ours: Answer,
    theirs: Answer,
}

/// Runs the comparison; an unexplained difference is an error.
pub fn run(workspace: &Workspace, options: &DiffApi) -> Result<()> {
    let corpus = corpus::load(&workspace.path("tests/diff-api"), &options.only)?;
    let corten = match &options.corten {
        Some(file) => file.clone(),
        None => workspace.target_dir()?.join("debug/corten"),
    };
    if options.replay {
        return replay(workspace, options, &corpus, &corten);
    }
    let mut known = deviations::Deviations::load(&workspace.path("docs/deviations.yaml"))?;
    let mut steps = Steps::new(2);
    let servers = steps.run("Starting both API servers", |step| {
        tools::ensure(workspace, &["kube-apiserver", "etcd"], step)?;
        let extra = servers::Flags {
            ours: &options.corten_flag,
            theirs: &options.upstream_flag,
        };
        Servers::start(&workspace.bin_dir(), &corten, &extra)
    })?;
    let outcome = compare_all(&servers, &corpus, &mut known, options)?;
    report(&outcome.found);
    let unexplained: usize = outcome.found.values().map(Vec::len).sum();
    println!(
        "{} requests to both servers, {unexplained} unexplained differences, {} explained in docs/deviations.yaml",
        outcome.asked, outcome.allowed
    );
    if options.only.is_empty() {
        for unused in known.unused() {
            println!("no difference any more, take it out of docs/deviations.yaml: {unused}");
        }
    }
    if unexplained > 0 {
        bail!("{unexplained} answers differ from upstream's");
    }
    if options.record && options.only.is_empty() {
        let recorded = &outcome.recorded;
        recorded.save(&workspace.path(RECORDED))?;
        println!("{} answers recorded in {RECORDED}", recorded.len());
    }
    Ok(())
}

/// What came of a run.
#[derive(Default)]
struct Outcome {
    /// Unexplained differences, by file.
    found: BTreeMap<String, Vec<String>>,
    asked: usize,
    allowed: usize,
    /// Upstream's answers that Corten gave alike.
    recorded: Recorded,
}

fn compare_all(
    servers: &Servers,
    corpus: &[corpus::File],
    known: &mut deviations::Deviations,
    options: &DiffApi,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut session = Session::open(servers)?;
    for file in corpus {
        session.forget();
        for step in &file.steps {
            let name = format!("{}/{}", file.name, step.name);
            let pair = session.ask(step).with_context(|| name.clone())?;
            outcome.asked += 1;
            let shown = options.show.as_ref();
            if shown.is_some_and(|s| name.contains(s.as_str())) {
                show(&name, &step.request, &pair);
            }
            let place = outcome.recorded.place(&name);
            let differences = compare::differences(&pair.ours, &pair.theirs);
            if differences.is_empty() {
                outcome.recorded.keep(place, &pair.theirs);
            }
            for difference in differences {
                if known.explains(&name, &difference) {
                    outcome.allowed += 1;
                    continue;
                }
                let line = format!("{} [{}]: {difference}", step.name, step.request.line());
                outcome
                    .found
                    .entry(file.name.clone())
                    .or_default()
                    .push(line);
            }
        }
    }
    Ok(outcome)
}

const RECORDED: &str = "tests/diff-api/answers.tsv";

/// Asks Corten alone and compares with what upstream answered when it was recorded.
fn replay(
    workspace: &Workspace,
    options: &DiffApi,
    corpus: &[corpus::File],
    corten: &std::path::Path,
) -> Result<()> {
    let mut recorded = Recorded::load(&workspace.path(RECORDED))?;
    let servers = Servers::start_corten(corten, &options.corten_flag)?;
    let mut connection = Connection::new(&servers.ours);
    let (mut asked, mut differing) = (0_usize, 0_usize);
    for file in corpus {
        let mut saved = BTreeMap::new();
        for step in &file.steps {
            let name = format!("{}/{}", file.name, step.name);
            let answer = ask(&mut connection, &mut saved, step).with_context(|| name.clone())?;
            asked += 1;
            let place = recorded.place(&name);
            if let Some(difference) = recorded.difference(&place, &answer) {
                differing += 1;
                println!(
                    "{difference}\n  {}",
                    String::from_utf8_lossy(&answer.body).trim()
                );
            }
        }
    }
    println!("{asked} requests, {differing} answers unlike upstream's recorded ones");
    if differing > 0 {
        bail!(
            "{differing} answers changed; `cargo xtask diff-api` shows how they differ from upstream's"
        );
    }
    Ok(())
}

fn report(found: &BTreeMap<String, Vec<String>>) {
    for (file, lines) in found {
        println!("\n== {file}: {}", lines.len());
        for line in lines {
            println!("  {line}");
        }
    }
    println!();
}

fn show(name: &str, request: &Request, pair: &Pair) {
    println!("## {name}: {}", request.line());
    for (who, answer) in [("corten", &pair.ours), ("upstream", &pair.theirs)] {
        println!("-- {who}: {} {:?}", answer.status, answer.headers);
        println!("{}", String::from_utf8_lossy(&answer.body));
    }
}

/// Connections to both servers, and what steps have saved of each one's answers.
struct Session<'a> {
    ours: (Connection<'a>, BTreeMap<String, String>),
    theirs: (Connection<'a>, BTreeMap<String, String>),
}

impl<'a> Session<'a> {
    fn open(servers: &'a Servers) -> Result<Session<'a>> {
        let open = |server: &'a Server| (Connection::new(server), BTreeMap::new());
        Ok(Session {
            ours: open(&servers.ours),
            theirs: open(&servers.theirs),
        })
    }

    /// Drops what was saved; files do not see each other's.
    fn forget(&mut self) {
        self.ours.1.clear();
        self.theirs.1.clear();
    }

    fn ask(&mut self, step: &Step) -> Result<Pair> {
        Ok(Pair {
            ours: ask(&mut self.ours.0, &mut self.ours.1, step)?,
            theirs: ask(&mut self.theirs.0, &mut self.theirs.1, step)?,
        })
    }
}

/// Sends a request, again until its answer is as it must be, and saves what later ones use.
fn ask(
    connection: &mut Connection<'_>,
    saved: &mut BTreeMap<String, String>,
    step: &Step,
) -> Result<Answer> {
    let request = step.request.filled(saved);
    let (mut answer, mut body) = sent(connection, &request)?;
    for _ in 0..TRIES_MAX {
        let so = |(path, text): &(String, String)| found_at(&answer, &body, path) == *text;
        if step.until.iter().all(so) {
            break;
        }
        std::thread::sleep(TRY_AGAIN);
        (answer, body) = sent(connection, &request)?;
    }
    for (variable, path) in &step.save {
        saved.insert(variable.clone(), found_at(&answer, &body, path));
    }
    Ok(answer)
}

/// How often, and how long apart, a step with `until` is asked again.
const TRIES_MAX: usize = 100;
const TRY_AGAIN: Duration = Duration::from_millis(100);

fn sent(connection: &mut Connection<'_>, request: &Request) -> Result<(Answer, Value)> {
    let answer = connection.send(request)?;
    let body = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok((answer, body))
}

/// What is at a path of an answer's body, or its code, as text.
fn found_at(answer: &Answer, body: &Value, path: &str) -> String {
    if path == "code" {
        return answer.status.to_string();
    }
    let found = path
        .split('.')
        .fold(body, |at, key| match key.parse::<usize>() {
            Ok(index) => &at[index],
            Err(_) => &at[key],
        });
    let text = found.as_str().map(str::to_owned);
    text.unwrap_or_else(|| found.to_string())
}
