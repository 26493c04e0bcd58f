//! Measures the embedded store: writes per second, CPU and bytes per write, the fan-out of events, memory and opening
//! with a million objects, disk space after rewriting, and how long compaction holds the writer.
//!
//! `cargo xtask bench engine [DIRECTORY [PART…]] [--objects N]`; parts: floor puts fan-out memory million rewrite sweep.
//! All sizes follow the number of objects, a million unless given.

use bytes::Bytes;
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::*;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const OBJECT_BYTES: usize = 1024;
const MILLION: usize = 1_000_000;
const PARTS: [&str; 7] = [
    "floor", "puts", "fan-out", "memory", "million", "rewrite", "sweep",
];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Outcome {
    let mut words = std::env::args().skip(1);
    let directory = words
        .next()
        .unwrap_or_else(|| "/tmp/corten-store-bench".to_owned());
    let directory = Path::new(&directory);
    let mut asked: Vec<String> = words.collect();
    let mut objects = MILLION;
    if let Some(flag) = asked.iter().position(|word| word == "--objects") {
        objects = asked
            .get(flag + 1)
            .ok_or("--objects needs a number")?
            .parse()?;
        asked.drain(flag..flag + 2);
    }
    let parts: Vec<&str> = match asked.is_empty() {
        true => PARTS.to_vec(),
        false => asked.iter().map(String::as_str).collect(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    println!("one object has {OBJECT_BYTES} bytes");
    for part in parts {
        match part {
            "floor" => floor(directory)?,
            "puts" => puts(&runtime, directory, objects)?,
            "fan-out" => {
                for watchers in [1, 100, 10_000] {
                    fan_out(&runtime, watchers, scaled(1_000_000, objects))?;
                }
            }
            "memory" => memory(&runtime, scaled(50_000, objects))?,
            "million" => million(&runtime, directory, objects)?,
            "open" => open(directory)?,
            "rewrite" => rewrite(&runtime, directory, scaled(100_000, objects))?,
            "sweep" => sweep(&runtime, scaled(200_000, objects))?,
            other => println!("{other} is none of {PARTS:?}"),
        }
    }
    Ok(())
}

/// As much of what a million objects are measured with as there are objects.
fn scaled(full: usize, objects: usize) -> usize {
    (full / 1000 * objects / 1000).max(1000)
}

/// What the disk takes for one small durable write.
fn floor(directory: &Path) -> Outcome {
    use std::os::unix::fs::FileExt;
    std::fs::create_dir_all(directory)?;
    let path = directory.join("floor");
    let file = std::fs::File::create(&path)?;
    file.set_len(16 << 20)?;
    file.sync_all()?;
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..500u64 {
        let start = Instant::now();
        file.write_all_at(&[number as u8; 1200], number * 1200)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    took.sort();
    println!(
        "floor: write and fdatasync {:?} median, {:?} p99",
        took[250], took[495]
    );
    std::fs::remove_file(path)?;
    Ok(())
}

fn puts(runtime: &tokio::runtime::Runtime, directory: &Path, objects: usize) -> Outcome {
    for clients in [64, 1000] {
        let store = Store::open(Options::new(MemoryEngine::on(&MemoryDisk::new()), describe))?;
        report("memory", clients, runtime, &store, scaled(100_000, objects));
    }
    for (clients, writes) in [(1, 4_000), (16, 30_000), (64, 60_000), (1000, 100_000)] {
        let _ = std::fs::remove_dir_all(directory);
        let store = Store::open(Options::new(FjallEngine::open(directory)?, describe))?;
        report("fjall", clients, runtime, &store, scaled(writes, objects));
        store.close();
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

fn fill(runtime: &tokio::runtime::Runtime, store: &Store, objects: usize) {
    const CLIENTS: usize = 512;
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = store.clone();
            runtime.spawn(async move {
                for number in (client..objects).step_by(CLIENTS) {
                    let (namespace, name) = (
                        format!("namespace-{}", number / 1000),
                        format!("pod-{number}"),
                    );
                    let key = Key::new(&Resource::new("pods"), &namespace, &name);
                    let put = Put::new(key, object(number as u64), header());
                    if let Err(error) = store.commit(put.into()).await {
                        println!("{error}");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = runtime.block_on(task);
    }
}

/// A million objects: filled here, opened in a process of its own.
fn million(runtime: &tokio::runtime::Runtime, directory: &Path, objects: usize) -> Outcome {
    let _ = std::fs::remove_dir_all(directory);
    let store = Store::open(Options::new(FjallEngine::open(directory)?, describe))?;
    let start = Instant::now();
    fill(runtime, &store, objects);
    println!(
        "million: {objects} objects filled in {:.1} s, {} MiB resident then, {} MiB on disk",
        start.elapsed().as_secs_f64(),
        resident() >> 20,
        size_of(directory) >> 20
    );
    store.close();
    drop(store);
    std::process::Command::new(std::env::current_exe()?)
        .arg(directory)
        .arg("open")
        .status()?;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

fn open(directory: &Path) -> Outcome {
    let start = Instant::now();
    let store = Store::open(Options::new(FjallEngine::open(directory)?, describe))?;
    let (elapsed, used) = (start.elapsed(), resident());
    let objects = store.stats().objects;
    let key = Key::new(&Resource::new("pods"), "namespace-0", "pod-0");
    let bytes = objects * (OBJECT_BYTES + key.path().len());
    let beside = (used as f64 - 1.6 * bytes as f64) / objects as f64;
    println!(
        "open: {objects} objects in {elapsed:?}, {} MiB resident: {:.2} per stored byte, or 1.6 and {beside:.0} B per object",
        used >> 20,
        used as f64 / bytes as f64
    );
    store.close();
    Ok(())
}

/// Everything written ten times: what the files take then, and after they were compacted.
fn rewrite(runtime: &tokio::runtime::Runtime, directory: &Path, objects: usize) -> Outcome {
    let _ = std::fs::remove_dir_all(directory);
    let store = Store::open(Options::new(FjallEngine::open(directory)?, describe))?;
    let io = disk();
    for _ in 0..10 {
        fill(runtime, &store, objects);
    }
    let written = (disk() - io) as f64 / (10 * objects) as f64;
    store.close();
    drop(store);
    let live = (objects * OBJECT_BYTES) as f64;
    let before = size_of(directory) as f64 / live;
    let mut engine = FjallEngine::open(directory)?;
    engine::Engine::compact(&mut engine)?;
    drop(engine);
    let after = size_of(directory) as f64 / live;
    println!(
        "rewrite: 10 times {objects} objects: {before:.2} of the live bytes on disk, {after:.2} compacted, {written:.0} B written per put"
    );
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// How long the writer is held while history goes.
fn sweep(runtime: &tokio::runtime::Runtime, events: usize) -> Outcome {
    for how in ["by age", "on demand"] {
        let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
        let mut options = Options::new(MemoryEngine::on(&MemoryDisk::new()), describe);
        options.clock = clock.clone();
        options.retention.bytes = usize::MAX;
        let (store, mut core) = Store::open_manual(options)?;
        let write = |core: &mut Core, number: usize| {
            let store = store.clone();
            let task = runtime.spawn(async move { store.commit(put(0, number)).await.map(drop) });
            let mut longest = Duration::ZERO;
            while !task.is_finished() {
                let start = Instant::now();
                core.step();
                longest = longest.max(start.elapsed());
            }
            longest
        };
        for number in 0..events {
            write(&mut core, number);
        }
        match how {
            "by age" => clock.advance(Duration::from_secs(400)),
            _ => store.compact(store.revision())?,
        }
        let (mut longest, mut slices) = (Duration::ZERO, 0);
        // With writers in the midst, who are not to wait for all of it; more of them than slices.
        for number in 0..events / 10 {
            longest = longest.max(write(&mut core, number));
            slices += 1;
        }
        let left = store.stats().window_bytes >> 10;
        println!(
            "sweep {how}: {events} events gone beside {slices} writes, the longest step took {longest:?}; {left} KiB left"
        );
    }
    Ok(())
}

fn size_of(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |file: std::fs::DirEntry| match file.metadata() {
        Ok(found) if found.is_dir() => size_of(&file.path()),
        Ok(found) => std::os::unix::fs::MetadataExt::blocks(&found) * 512,
        Err(_) => 0,
    };
    files.map(size).sum()
}

fn describe(_: &Key, _: &Bytes) -> Result<Header, String> {
    Ok(header())
}

fn header() -> Header {
    Header::of("0b9cf5a3-6a0c-4b8e-9a55-2f0f1f6b2a11")
        .label("app", "web")
        .label("pod-template-hash", "6d4b75cb6d")
        .owner("7d3c2a10-0c5b-4a7e-8d11-9a1b2c3d4e5f")
        .field("spec.nodeName", "node-1")
        .field("status.phase", "Running")
        .build()
}

/// Bytes that do not compress to nothing.
fn object(mut seed: u64) -> Bytes {
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        b'a' + (seed >> 60) as u8
    };
    (0..OBJECT_BYTES).map(|_| next()).collect()
}

fn put(client: usize, number: usize) -> Transaction {
    let key = Key::new(
        &Resource::new("pods"),
        &format!("namespace-{client}"),
        &format!("pod-{}", number % 1000),
    );
    Put::new(key, object(number as u64), header()).into()
}

fn report(
    engine: &str,
    clients: usize,
    runtime: &tokio::runtime::Runtime,
    store: &Store,
    writes: usize,
) {
    // What the callers do by themselves is not the store's.
    let idle = Instant::now();
    (0..2000).for_each(|number| drop(std::hint::black_box(put(0, number))));
    let making = idle.elapsed() / 2000;
    let (cpu, io, start) = (cpu(), disk(), Instant::now());
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = store.clone();
            runtime.spawn(async move {
                let mut took = Vec::with_capacity(writes / clients);
                for number in 0..writes / clients {
                    let start = Instant::now();
                    if let Err(error) = store.commit(put(client, number)).await {
                        println!("{error}");
                    }
                    took.push(start.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        took.extend(runtime.block_on(task).unwrap_or_default());
    }
    took.sort();
    let (elapsed, cpu, io) = (start.elapsed(), self::cpu() - cpu, disk() - io);
    let writes = (writes / clients * clients) as u32;
    let stats = store.stats();
    println!(
        "{engine:7} {clients:4} clients: {:6.0} puts/s, {:?} median, {:?} p99, {:4.1} us CPU, {} B to the log, {} B to the disk, {:4.1} per batch",
        f64::from(writes) / elapsed.as_secs_f64(),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        (cpu / writes).saturating_sub(making).as_nanos() as f64 / 1000.0,
        stats.bytes_written / u64::from(writes),
        io / u64::from(writes),
        f64::from(writes) / stats.batches as f64,
    );
}

fn fan_out(runtime: &tokio::runtime::Runtime, watchers: usize, deliveries: usize) -> Outcome {
    let writes = (deliveries / watchers).clamp(10, 20_000);
    let store = Store::open(Options::new(MemoryEngine::on(&MemoryDisk::new()), describe))?;
    let pods = Resource::new("pods");
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut watch = store.watch(&pods, Scope::All, store.revision())?;
        tasks.push(runtime.spawn(async move {
            let mut events = Vec::new();
            while events.len() < writes {
                if watch.next_batch(&mut events, 64).await.is_err() {
                    return;
                }
            }
        }));
    }
    let (cpu, start) = (cpu(), Instant::now());
    for number in 0..writes {
        runtime.block_on(store.commit(put(0, number)))?;
    }
    for task in tasks {
        runtime.block_on(task)?;
    }
    let deliveries = (writes * watchers) as f64;
    println!(
        "fan-out {watchers:5} watchers: {:.0} events/s delivered, {:.2} us CPU per delivery",
        deliveries / start.elapsed().as_secs_f64(),
        (self::cpu() - cpu).as_micros() as f64 / deliveries
    );
    Ok(())
}

fn memory(runtime: &tokio::runtime::Runtime, objects: usize) -> Outcome {
    // An engine that keeps nothing, so that only the store is measured.
    struct Nothing;
    impl engine::Engine for Nothing {
        fn load(
            &mut self,
            _: &mut dyn FnMut(&[u8], &[u8]),
        ) -> Result<engine::Loaded, engine::EngineError> {
            Ok(engine::Loaded {
                identity: None,
                revision: Revision(1),
                notes: Vec::new(),
                damage: Vec::new(),
            })
        }
        fn append(&mut self, _: &engine::Batch) -> Result<(), engine::EngineError> {
            Ok(())
        }
        fn reopen(&mut self) -> Result<(), engine::EngineError> {
            Ok(())
        }
        fn rebuild(
            &mut self,
            _: &mut dyn Iterator<Item = Result<engine::Batch, engine::EngineError>>,
        ) -> Result<(), engine::EngineError> {
            Ok(())
        }
        fn bytes_written(&self) -> u64 {
            0
        }
    }
    let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
    let mut options = Options::new(Nothing, describe);
    options.clock = clock.clone();
    let (store, mut core) = Store::open_manual(options)?;
    let before = resident();
    for number in 0..objects {
        let task = runtime.spawn({
            let store = store.clone();
            async move { store.commit(put(number / 1000, number)).await.map(drop) }
        });
        while !task.is_finished() {
            core.step();
        }
        clock.advance(Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(400));
    while core.step().more == Again::Now {}
    let used = (resident() - before) as f64 / objects as f64;
    println!(
        "memory: {used:.0} B per object of {OBJECT_BYTES} B, so {:.0} B beside its bytes",
        used - OBJECT_BYTES as f64
    );
    Ok(())
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn disk() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
        .unwrap_or(0)
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}
