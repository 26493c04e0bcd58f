//! `cargo xtask diff-api`: starts upstream's kube-apiserver and Corten's on loopback, sends one corpus of requests to
//! both and compares what they answer. Invariant: a difference is either none, or listed with its reason in
//! `docs/deviations.yaml`. The corpus is data under `tests/diff-api`; leaves out what needs a node.

mod compare;
mod corpus;
mod deviations;
mod http;
mod normal;
mod servers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::progress::Steps;
use crate::tools;
use crate::workspace::Workspace;
use corpus::{Request, Step};
use http::{Answer, Connection};
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
    let mut known = deviations::Deviations::load(&workspace.path("docs/deviations.yaml"))?;
    let mut steps = Steps::new(2);
    let servers = steps.run("Starting both API servers", |step| {
        tools::ensure(workspace, &["kube-apiserver", "etcd"], step)?;
        let corten = match &options.corten {
            Some(file) => file.clone(),
            None => workspace.target_dir()?.join("debug/corten"),
        };
        let extra = servers::Flags {
            ours: &options.corten_flag,
            theirs: &options.upstream_flag,
        };
        Servers::start(&workspace.bin_dir(), &corten, &extra)
    })?;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut asked, mut allowed) = (0_usize, 0_usize);
    let mut session = Session::open(&servers)?;
    for file in &corpus {
        session.forget();
        for step in &file.steps {
            let name = format!("{}/{}", file.name, step.name);
            let pair = session.ask(step).with_context(|| name.clone())?;
            asked += 1;
            if options
                .show
                .as_ref()
                .is_some_and(|s| name.contains(s.as_str()))
            {
                show(&name, &step.request, &pair);
            }
            for difference in compare::differences(&pair.ours, &pair.theirs) {
                if known.explains(&name, &difference) {
                    allowed += 1;
                } else {
                    let lines = found.entry(file.name.clone()).or_default();
                    lines.push(format!(
                        "{} [{}]: {difference}",
                        step.name,
                        step.request.line()
                    ));
                }
            }
        }
    }
    report(&found);
    let unexplained: usize = found.values().map(Vec::len).sum();
    println!(
        "{asked} requests to both servers, {unexplained} unexplained differences, {allowed} explained in docs/deviations.yaml"
    );
    if options.only.is_empty() {
        for unused in known.unused() {
            println!("no difference any more, take it out of docs/deviations.yaml: {unused}");
        }
    }
    if unexplained > 0 {
        bail!("{unexplained} answers differ from upstream's");
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
        let mut answers = Vec::new();
        for (connection, saved) in [&mut self.ours, &mut self.theirs] {
            let answer = connection.send(&step.request.filled(saved))?;
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            for (variable, path) in &step.save {
                let found = path
                    .split('.')
                    .fold(&body, |at, key| match key.parse::<usize>() {
                        Ok(index) => &at[index],
                        Err(_) => &at[key],
                    });
                let text = found
                    .as_str()
                    .map_or_else(|| found.to_string(), str::to_owned);
                saved.insert(variable.clone(), text);
            }
            answers.push(answer);
        }
        let theirs = answers.pop().context("two servers answered")?;
        let ours = answers.pop().context("two servers answered")?;
        Ok(Pair { ours, theirs })
    }
}
