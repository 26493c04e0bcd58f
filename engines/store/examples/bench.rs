//! Measures the store: writes per second, CPU and bytes per write, the fan-out of events, memory per object.
//!
//! `cargo run --release -p corten-store --example bench [directory]`

use bytes::Bytes;
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::*;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OBJECT_BYTES: usize = 1800;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "/tmp/corten-store-bench".to_owned());
    let directory = Path::new(&directory);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    println!("one object has {OBJECT_BYTES} bytes");
    memory(&runtime)?;
    for clients in [1, 16, 64] {
        let store = Store::open(Options::new(MemoryEngine::on(&MemoryDisk::new()), describe))?;
        report("memory", clients, &runtime, &store, 40_000);
    }
    for clients in [1, 16, 64] {
        let _ = std::fs::remove_dir_all(directory);
        let store = Store::open(Options::new(FjallEngine::open(directory)?, describe))?;
        report(
            "fjall",
            clients,
            &runtime,
            &store,
            [4_000, 20_000, 40_000][clients.ilog2() as usize / 3],
        );
    }
    let start = Instant::now();
    let store = Store::open(Options::new(FjallEngine::open(directory)?, describe))?;
    println!(
        "opened {} objects in {:?}",
        store.stats().objects,
        start.elapsed()
    );
    drop(store);
    for watchers in [1, 100, 1000] {
        fan_out(&runtime, watchers)?;
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
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
                for number in 0..writes / clients {
                    if let Err(error) = store.commit(put(client, number)).await {
                        println!("{error}");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = runtime.block_on(task);
    }
    let (elapsed, cpu, io) = (start.elapsed(), self::cpu() - cpu, disk() - io);
    let writes = (writes / clients * clients) as u32;
    let stats = store.stats();
    println!(
        "{engine:7} {clients:2} clients: {:6.0} puts/s, {:?} each, {:4.1} us CPU, {} B to the log, {} B to the disk, {:4.1} per batch",
        f64::from(writes) / elapsed.as_secs_f64(),
        elapsed * clients as u32 / writes,
        (cpu / writes).saturating_sub(making).as_nanos() as f64 / 1000.0,
        stats.bytes_written / u64::from(writes),
        io / u64::from(writes),
        f64::from(writes) / stats.batches as f64,
    );
}

fn fan_out(
    runtime: &tokio::runtime::Runtime,
    watchers: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let writes = (200_000 / watchers).min(20_000);
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
        "fan-out {watchers:4} watchers: {:.0} events/s delivered, {:.2} us CPU per delivery",
        deliveries / start.elapsed().as_secs_f64(),
        (self::cpu() - cpu).as_micros() as f64 / deliveries
    );
    Ok(())
}

fn memory(runtime: &tokio::runtime::Runtime) -> Result<(), Box<dyn std::error::Error>> {
    const OBJECTS: usize = 50_000;
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
    for number in 0..OBJECTS {
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
    let used = (resident() - before) as f64 / OBJECTS as f64;
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
