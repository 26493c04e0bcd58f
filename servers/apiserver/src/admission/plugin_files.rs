//! What `--admission-control-config-file` says, read once at the start: settings of built-in plugins, limits of events, who
//! says which images may run, and the clients that the server is to webhooks. Invariant: a file that cannot be used, or a
//! plugin that runs without the settings it needs, keeps the server from starting.

use std::path::Path;

use corten_access::admission::{self, AdmissionConfiguration, Plugin, PluginSet, PluginSettings};

use super::event_rate::EventLimits;
use super::hook_clients::HookClients;
use super::image_policy::ImageChecks;
use crate::Error;
use crate::access;

/// The plugins as one server has them.
#[derive(Default)]
pub(crate) struct Plugins {
    /// What built-in ones are told.
    pub settings: PluginSettings,
    /// When events are limited.
    pub events: Option<EventLimits>,
    /// When images are asked about.
    pub images: Option<ImageChecks>,
    /// For mutating webhooks.
    pub mutating_clients: HookClients,
    /// For validating webhooks.
    pub validating_clients: HookClients,
}

impl Plugins {
    /// Reads the file, if there is one.
    pub(crate) fn read(enabled: PluginSet, file: Option<&Path>) -> Result<Plugins, Error> {
        let files = match file {
            None => Files::default(),
            Some(path) => Files::read(path)?,
        };
        let mut plugins = Plugins::default();
        let settings = &mut plugins.settings;
        let on = |plugin: Plugin| Some(plugin).filter(|p| enabled.has(*p));
        let told = |plugin: Plugin| -> Result<Option<String>, Error> {
            on(plugin).map_or(Ok(None), |plugin| files.of(plugin))
        };
        if let Some(json) = told(Plugin::PodNodeSelector)? {
            used(Plugin::PodNodeSelector, settings.read_node_selectors(&json))?;
        }
        if let Some(json) = told(Plugin::PodTolerationRestriction)? {
            used(
                Plugin::PodTolerationRestriction,
                settings.read_tolerations(&json),
            )?;
        }
        if let Some(json) = told(Plugin::PodSecurity)? {
            used(Plugin::PodSecurity, settings.read_pod_security(&json))?;
        }
        if let Some(json) = told(Plugin::ResourceQuota)? {
            used(Plugin::ResourceQuota, settings.read_quotas(&json))?;
        }
        if let Some(plugin) = on(Plugin::EventRateLimit) {
            let none = || Err("limits: Invalid value: null: must not be empty".to_owned());
            let limits = told(plugin)?.map_or_else(none, |json| admission::event_limits(&json));
            plugins.events = Some(EventLimits::new(&used(plugin, limits)?));
        }
        if let Some(plugin) = on(Plugin::ImagePolicyWebhook) {
            let none = || Err("no config specified".to_owned());
            let policy = told(plugin)?.map_or_else(none, |json| admission::image_policy(&json));
            plugins.images = Some(ImageChecks::new(used(plugin, policy)?)?);
        }
        if let Some(json) = told(Plugin::MutatingAdmissionWebhook)? {
            plugins.mutating_clients = clients(Plugin::MutatingAdmissionWebhook, &json)?;
        }
        if let Some(json) = told(Plugin::ValidatingAdmissionWebhook)? {
            plugins.validating_clients = clients(Plugin::ValidatingAdmissionWebhook, &json)?;
        }
        Ok(plugins)
    }
}

/// What a plugin made of its settings, in upstream's words when it made nothing.
fn used<T>(plugin: Plugin, outcome: Result<T, String>) -> Result<T, Error> {
    let name = plugin.name();
    outcome.map_err(|why| Error::Flag(format!("couldn't init admission plugin {name:?}: {why}")))
}

fn clients(plugin: Plugin, json: &str) -> Result<HookClients, Error> {
    match used(plugin, admission::webhook_kubeconfig(json))?.as_str() {
        "" => Ok(HookClients::default()),
        path => HookClients::read(Path::new(path)),
    }
}

/// The settings of every plugin, as JSON.
#[derive(Default)]
struct Files(Vec<(String, Source)>);

enum Source {
    Inside(String),
    File(std::path::PathBuf),
}

impl Files {
    fn read(path: &Path) -> Result<Files, Error> {
        let json = access::json(path)?;
        let config = AdmissionConfiguration::parse(&json).map_err(|why| Error::Settings {
            path: path.to_owned(),
            why,
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let sources = config.plugins.into_iter().filter_map(|plugin| {
            let source = match (plugin.configuration, plugin.path.as_str()) {
                (Some(inside), _) => Source::Inside(inside.to_string()),
                (None, "") => return None,
                (None, path) => Source::File(base.join(path)),
            };
            Some((plugin.name, source))
        });
        Ok(Files(sources.collect()))
    }

    /// What a plugin is told; nothing when nothing is.
    fn of(&self, plugin: Plugin) -> Result<Option<String>, Error> {
        let name = plugin.name();
        match self.0.iter().find(|(n, _)| *n == name) {
            None => Ok(None),
            Some((_, Source::Inside(json))) => Ok(Some(json.clone())),
            Some((_, Source::File(path))) => access::json(path).map(Some),
        }
    }
}
