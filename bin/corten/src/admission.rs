//! The flags that choose admission plugins, under upstream's names.

use anyhow::{Result, anyhow};
use clap::Args;
use corten_apiserver::{Config, PluginSet};
use std::path::PathBuf;

/// Flags of `corten up` and `corten apiserver`.
#[derive(Clone, Debug, Default, Args)]
pub struct AdmissionFlags {
    /// Admission plugins that run in addition to those on by default, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that do not run although they are on by default, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// What admission plugins are told: an AdmissionConfiguration.
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
}

impl AdmissionFlags {
    /// Puts the choice into a configuration; names that no plugin has are refused.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        let (enabled, disabled) = (
            &self.enable_admission_plugins,
            &self.disable_admission_plugins,
        );
        config.plugins_file = self.admission_control_config_file.clone();
        config.plugins = PluginSet::with(enabled, disabled).map_err(|why| anyhow!(why))?;
        Ok(())
    }
}
