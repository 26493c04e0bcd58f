//! Rounds of load, SIGKILL and recovery over one data directory. Each client writes ConfigMaps of its own, one
//! request at a time, and remembers what it was told; what it was not told may have happened or not. What is killed
//! beside the server is in `beside`, what a run is up to in `progress`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use corten_tests::{ApiAccess, ApiClient, LoneServer, run_corten};
use serde_json::Value;

use crate::beside;
use crate::progress::{Progress, Tally};

const CLIENTS: u64 = 4;
const OBJECTS: u64 = 25;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Rounds between two lines of progress.
const TELL: u64 = 50;

/// Flags of `corten-soak crash`.
#[derive(Debug, Args)]
pub struct Crash {
    /// How many times to kill
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// Stop after so many minutes, whatever the rounds
    #[arg(long)]
    minutes: Option<u64>,
    /// Decides when and what
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the state and the count of rounds here; a run that was interrupted goes on counting, on a new store
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// More flags for `corten apiserver`
    #[arg(last = true)]
    flags: Vec<String>,
}

/// What a client knows of one object: its value (none: it is not there), and what it last asked for if that was not
/// answered.
#[derive(Clone, Debug, Default)]
struct Known {
    value: Option<u64>,
    asked: Option<Option<u64>>,
}

#[derive(Debug, Default)]
struct ClientState {
    objects: BTreeMap<String, Known>,
    revision: u64,
    next: u64,
    acknowledged: u64,
}

/// A sequence that a seed decides.
pub struct Random(u64);

impl Random {
    /// A number from 0 to below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end.max(1)
    }
}

impl Crash {
    /// Runs the rounds; the first thing lost or changed is an error.
    pub fn run(&self) -> Result<()> {
        let temporary = tempfile::tempdir()?;
        let directory = self.directory.as_deref().unwrap_or(temporary.path());
        let mut progress = Progress::begin(directory, self.seed)?;
        let data = progress.data(directory);
        let mut random = Random(self.seed ^ (progress.lives << 32));
        let mut clients: Vec<ClientState> = (0..CLIENTS).map(|_| ClientState::default()).collect();
        let started = Instant::now();
        let limit = self
            .minutes
            .map(|minutes| Duration::from_secs(minutes * 60));
        while progress.rounds < self.rounds && limit.is_none_or(|limit| started.elapsed() < limit) {
            let tally = &mut progress.tally;
            self.round(&data, &mut random, &mut clients, tally)
                .with_context(|| {
                    let seed = self.seed;
                    format!("round {} with seed {seed}", progress.rounds)
                })?;
            progress.rounds += 1;
            progress.save(directory)?;
            if progress.rounds % TELL == 0 {
                println!("{progress} ({:.0} s)", started.elapsed().as_secs_f64());
            }
        }
        let server = self.start(&data)?;
        check(server.access(), &mut clients, &mut progress.tally)?;
        server.stop()?;
        run_corten(&["store", "verify", "--data-dir", &data.to_string_lossy()])?;
        progress.end(directory)?;
        println!(
            "{progress}, nothing lost ({:.0} s)",
            started.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn start(&self, data: &Path) -> Result<LoneServer> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        LoneServer::start(data, &flags)
    }

    fn round(
        &self,
        data: &Path,
        random: &mut Random,
        clients: &mut [ClientState],
        tally: &mut Tally,
    ) -> Result<()> {
        let mut server = self.start(data)?;
        check(server.access(), clients, tally)?;
        let (over, wait) = (
            AtomicBool::new(false),
            Duration::from_millis(random.below(200)),
        );
        let beside = random.below(20);
        let access = server.access().clone();
        std::thread::scope(|scope| -> Result<()> {
            for (number, client) in clients.iter_mut().enumerate() {
                let (access, over, seed) = (&access, &over, random.below(u64::MAX));
                scope.spawn(move || {
                    // The connection ends with the server: that is what is tested.
                    let _ = load(access, number as u64, client, &mut Random(seed), over);
                });
            }
            let done = match beside {
                0..=2 => beside::back_up(data, wait, &mut server, tally),
                3..=5 => beside::compact(data, wait, &mut server, tally),
                _ => {
                    std::thread::sleep(wait);
                    server.kill()
                }
            };
            // Whatever became of it: the clients end when the server does.
            let killed = server.kill();
            over.store(true, Ordering::Relaxed);
            done.and(killed)
        })?;
        match random.below(30) {
            0 => beside::compact_stopped(data, random, tally),
            1 => beside::restore(data, random, tally),
            2 => beside::migrate(data, random, tally),
            _ => Ok(()),
        }
    }
}

fn load(
    access: &ApiAccess,
    number: u64,
    client: &mut ClientState,
    random: &mut Random,
    over: &AtomicBool,
) -> Result<()> {
    let mut connection = access.connect()?;
    while !over.load(Ordering::Relaxed) {
        let name = format!("c{number}-{}", random.below(OBJECTS));
        let known = client.objects.entry(name.clone()).or_default().clone();
        client.next += 1;
        let value = client.next;
        let (method, path, asked) = match known.value {
            None => ("POST", MAPS.to_owned(), Some(value)),
            Some(_) if random.below(4) == 0 => ("DELETE", format!("{MAPS}/{name}"), None),
            Some(_) => ("PUT", format!("{MAPS}/{name}"), Some(value)),
        };
        let padding = "x".repeat(random.below(2000) as usize);
        let body = match asked {
            Some(value) => format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"n":"{value}","p":"{padding}"}}}}"#
            ),
            None => String::new(),
        };
        let known = client.objects.entry(name).or_default();
        known.asked = Some(asked);
        let revision = ask(&mut connection, method, &path, &body)?;
        *known = Known {
            value: asked,
            asked: None,
        };
        client.revision = client.revision.max(revision);
        client.acknowledged += 1;
    }
    Ok(())
}

/// Asks, and answers with the revision of what came back.
fn ask(connection: &mut ApiClient, method: &str, path: &str, body: &str) -> Result<u64> {
    let answer = connection.request(method, path, body.as_bytes())?;
    if answer.status >= 300 {
        bail!("{method} {path} answered {}", answer.status);
    }
    let object: Value = serde_json::from_slice(&answer.body)?;
    let revision = object["metadata"]["resourceVersion"].as_str();
    Ok(revision
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(0))
}

/// Everything that was told is there, and nothing that was not asked for.
fn check(access: &ApiAccess, clients: &mut [ClientState], tally: &mut Tally) -> Result<()> {
    let answer = access.connect()?.request("GET", MAPS, b"")?;
    let list: Value = serde_json::from_slice(&answer.body).context("a list is JSON")?;
    let revision: u64 = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("")
        .parse()?;
    let items = list["items"].as_array().context("a list has items")?;
    let mut found: BTreeMap<&str, u64> = items
        .iter()
        .filter_map(|item| {
            let value = item["data"]["n"].as_str()?.parse().ok()?;
            Some((item["metadata"]["name"].as_str()?, value))
        })
        .collect();
    for client in clients {
        if revision < client.revision {
            bail!(
                "the revision is {revision}, but {} was told before",
                client.revision
            );
        }
        for (name, known) in &mut client.objects {
            let now = found.remove(name.as_str());
            if let Some(asked) = known.asked.take() {
                tally.in_doubt += 1;
                if now == asked {
                    tally.happened += 1;
                    known.value = asked;
                }
            }
            if now != known.value {
                bail!("{name} was told to be {:?} and is {now:?}", known.value);
            }
        }
        tally.acknowledged += std::mem::take(&mut client.acknowledged);
    }
    match found.first_key_value() {
        Some((name, value)) => bail!("{name} is {value}, which nobody wrote"),
        None => Ok(()),
    }
}
