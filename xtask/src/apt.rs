//! Debian packages that tests and test images take from the distribution: a static busybox and
//! bash, and the programs that serve as oracles. Nothing of this is needed to run Corten.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{on_path, run_quiet};

/// A package, and the file by which it is known to be there.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Debian's name.
    pub name: &'static str,
    /// A file that the package installs.
    pub file: &'static str,
}

/// What test images are made from.
pub const FOR_IMAGES: &[Package] = &[
    Package {
        name: "busybox-static",
        file: "/bin/busybox",
    },
    Package {
        name: "bash-static",
        file: "/bin/bash-static",
    },
];

/// What upstream's agnhost image holds beside agnhost.
pub const FOR_SUITE: &[Package] = &[
    Package {
        name: "curl",
        file: "/usr/bin/curl",
    },
    Package {
        name: "netcat-openbsd",
        file: "/bin/nc.openbsd",
    },
    Package {
        name: "bind9-dnsutils",
        file: "/usr/bin/dig",
    },
    Package {
        name: "iproute2",
        file: "/sbin/ip",
    },
];

/// What tests compare with or look through.
pub const FOR_TESTS: &[Package] = &[
    Package {
        name: "iproute2",
        file: "/sbin/ip",
    },
    Package {
        name: "nftables",
        file: "/usr/sbin/nft",
    },
    Package {
        name: "runc",
        file: "/usr/sbin/runc",
    },
    Package {
        name: "docker-registry",
        file: "/usr/bin/docker-registry",
    },
];

/// Installs what is missing and says so; does nothing when all is there.
pub fn ensure(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !Path::new(package.file).exists())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if on_path("apt-get").is_none() {
        bail!(
            "these Debian packages are needed and apt-get is not here: {list}; install their like"
        );
    }
    eprintln!("      installing Debian packages for tests: {list}");
    run_quiet(Command::new("apt-get").args(["update", "-qq"]))
        .context("apt-get update: is the network there, and is this root?")?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing);
    // RUNLEVEL=1 keeps a package's own service from being started.
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    run_quiet(&mut install).with_context(|| format!("could not install {list}"))?;
    Ok(())
}
