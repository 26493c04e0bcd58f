//! Where things are: the checkout, Cargo's target directory and `.cache`, which holds what the
//! project builds for itself (upstream's commands in `bin`, image archives in `images`).
//! Leaves out what is put there: `tools` and `images` own that.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The checkout that a chore works on.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub fn find() -> Result<Workspace> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask lies in the workspace's root")?;
        if !root.join("Cargo.toml").exists() {
            bail!(
                "no Cargo.toml in {}: run chores as `cargo xtask` inside the checkout",
                root.display()
            );
        }
        Ok(Workspace {
            root: root.to_path_buf(),
        })
    }

    /// The checkout's root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Programs that the project builds for itself.
    pub fn bin_dir(&self) -> PathBuf {
        self.path(".cache/bin")
    }

    /// Image archives that the project builds for itself.
    pub fn images_dir(&self) -> PathBuf {
        self.path(".cache/images")
    }

    /// Cargo, told to work in the root.
    pub fn cargo(&self) -> Command {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        // What `cargo run` told this program about itself is wrong for the crates built next.
        for name in [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_PATH",
            "CARGO_PKG_NAME",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Cargo's target directory.
    pub fn target_dir(&self) -> Result<PathBuf> {
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(self.path("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata names the target directory")?;
        Ok(metadata.target_directory.into_std_path_buf())
    }
}

/// Runs a command whose output nobody needs unless it fails; the error then carries it.
pub fn run_quiet(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("could not start {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}):\n{text}{said}",
            show(command),
            output.status
        );
    }
    Ok(text)
}

/// Runs a command that talks to the user itself.
pub fn run_loud(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("could not start {name}"))?;
    if !status.success() {
        bail!("{} failed ({status})", show(command));
    }
    Ok(())
}

/// Whether a program of this name is on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
