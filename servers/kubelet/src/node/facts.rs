//! What the machine is: processors, memory, disk, kernel, and what of it pods may use.

use crate::options::{Engines, KubeletOptions};
use corten_api::core::v1::NodeSystemInfo;
use corten_core::{Map, Quantity, QuantityFormat};

/// Memory that is kept from pods so that the node stays alive, in bytes.
const MEMORY_KEPT: i64 = 100 << 20;

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn memory_total() -> i64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Bytes of free memory as the kernel estimates it.
pub(crate) fn memory_available() -> i64 {
    let text = read("/proc/meminfo");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What the node has.
pub(crate) fn capacity(options: &KubeletOptions, engines: &Engines) -> Map<Quantity> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get()) as i64;
    let disk = engines
        .images
        .disk_usage()
        .map_or(0, |usage| usage.capacity as i64);
    let mut map = Map::default();
    map.insert("cpu", Quantity::new(cpus, QuantityFormat::DecimalSi));
    map.insert(
        "ephemeral-storage",
        Quantity::new(disk / 1024 * 1024, QuantityFormat::BinarySi),
    );
    map.insert(
        "memory",
        Quantity::new(memory_total(), QuantityFormat::BinarySi),
    );
    map.insert(
        "pods",
        Quantity::new(i64::from(options.max_pods), QuantityFormat::DecimalSi),
    );
    for size in ["1Gi", "2Mi"] {
        let kib = if size == "1Gi" { 1_048_576 } else { 2048 };
        let directory = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB");
        if std::path::Path::new(&directory).exists() {
            let pages: i64 = read(&format!("{directory}/nr_hugepages"))
                .parse()
                .unwrap_or(0);
            let bytes = Quantity::new(pages * kib * 1024, QuantityFormat::BinarySi);
            map.insert(format!("hugepages-{size}"), bytes);
        }
    }
    map
}

/// What pods may use of it.
pub(crate) fn allocatable(capacity: &Map<Quantity>) -> Map<Quantity> {
    let mut map = capacity.clone();
    if let Some(memory) = capacity.get("memory") {
        let left = (memory.value() - MEMORY_KEPT).max(0);
        map.insert("memory", Quantity::new(left, QuantityFormat::BinarySi));
    }
    if let Some(disk) = capacity.get("ephemeral-storage") {
        // Upstream keeps the tenth that its eviction threshold would.
        let left = Quantity::new(disk.value() / 10 * 9, QuantityFormat::DecimalSi);
        map.insert("ephemeral-storage", left);
    }
    map
}

/// As Go names the machine.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Identities and versions of the machine.
pub(crate) fn system_info(options: &KubeletOptions, engines: &Engines) -> NodeSystemInfo {
    let version = engines.runtime.version();
    let os = read("/etc/os-release");
    let pretty = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let uname = rustix::system::uname();
    let machine_id = read("/etc/machine-id");
    let product = read("/sys/class/dmi/id/product_uuid");
    NodeSystemInfo {
        system_uuid: if product.is_empty() {
            machine_id.as_str().into()
        } else {
            product.into()
        },
        machine_id: machine_id.into(),
        boot_id: read("/proc/sys/kernel/random/boot_id").into(),
        kernel_version: uname.release().to_string_lossy().into_owned().into(),
        os_image: pretty.map_or("Linux", |name| name.trim_matches('"')).into(),
        container_runtime_version: format!("{}://{}", version.name, version.version).into(),
        kubelet_version: options.version.as_str().into(),
        operating_system: "linux".into(),
        architecture: architecture().into(),
        ..NodeSystemInfo::default()
    }
}
