//! The webhooks and policies that are configured, made ready once per change of their configurations: selectors parsed, conditions
//! compiled, endpoints named. Invariant: ordered by configuration name, as upstream asks them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use corten_api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use corten_core::{List, Str};
use corten_meta::Snapshot;

use super::conditions::Conditions;
use super::matching::Selectors;
use super::plugin_files::Plugins;
use super::policies::{self, Mutating, Validating};
use crate::outbound::{Endpoint, Place, Trust};
use crate::typed::View;

/// A webhook of either sort.
pub(crate) struct Hook {
    pub name: String,
    /// The name of its configuration.
    pub configuration: String,
    /// Its place in that.
    pub index: usize,
    pub rules: List<RuleWithOperations>,
    pub equivalent: bool,
    pub(super) selectors: Selectors,
    pub(super) conditions: Conditions,
    pub fails_open: bool,
    pub side_effects: Option<Str>,
    pub time_max: Duration,
    pub versions: List<Str>,
    /// Where it is, or why that cannot be said.
    pub endpoint: Result<(Endpoint, String), String>,
    /// The header that says as whom it is asked.
    pub authorization: Option<String>,
    /// Whether it wants to see an object again that others changed later.
    pub reinvoked: bool,
}

/// Everything that is configured.
#[derive(Default)]
pub(crate) struct Configured {
    pub mutating: Vec<Hook>,
    pub validating: Vec<Hook>,
    pub(super) mutating_policies: Vec<Mutating>,
    pub(super) validating_policies: Vec<Validating>,
}

/// Keeps what is configured ready.
#[derive(Default)]
pub(crate) struct Configurations {
    newest: ArcSwapOption<(u64, Configured)>,
}

impl Configurations {
    /// Whether anything is configured that changes objects.
    pub(crate) fn mutate(&self, view: &View, told: &Plugins) -> bool {
        let configured = self.of(view, told);
        !configured.1.mutating.is_empty() || !configured.1.mutating_policies.is_empty()
    }

    /// Whether anything is configured that refuses objects.
    pub(crate) fn validate(&self, view: &View, told: &Plugins) -> bool {
        let configured = self.of(view, told);
        !configured.1.validating.is_empty() || !configured.1.validating_policies.is_empty()
    }

    /// What a view has configured; webhooks are asked as the clients that the server was told to be.
    pub(crate) fn of(&self, view: &View, told: &Plugins) -> Arc<(u64, Configured)> {
        if let Some(known) = self.newest.load_full()
            && known.0 == view.admission
        {
            return known;
        }
        let mut configured = Configured::of(&view.snapshot);
        configured.introduce(told);
        let made = Arc::new((view.admission, configured));
        self.newest.store(Some(made.clone()));
        made
    }
}

/// What both sorts of webhook have.
macro_rules! hook {
    ($configuration:expr, $index:expr, $webhook:expr, $reinvoked:expr) => {
        Hook {
            name: $webhook.name.to_string(),
            configuration: $configuration.metadata.name.to_string(),
            index: $index,
            rules: $webhook.rules.clone(),
            equivalent: $webhook.match_policy.as_deref() == Some("Equivalent"),
            selectors: Selectors::new(
                $webhook.namespace_selector.as_deref(),
                $webhook.object_selector.as_deref(),
            ),
            conditions: conditions(
                &$webhook.match_conditions,
                $webhook.failure_policy.as_deref(),
            ),
            fails_open: $webhook.failure_policy.as_deref() == Some("Ignore"),
            side_effects: $webhook.side_effects.clone(),
            time_max: seconds($webhook.timeout_seconds),
            versions: $webhook.admission_review_versions.clone(),
            endpoint: endpoint(&$webhook.client_config),
            authorization: None,
            reinvoked: $reinvoked,
        }
    };
}

impl Configured {
    /// Gives webhooks the clients of their places.
    fn introduce(&mut self, told: &Plugins) {
        for (hooks, clients) in [
            (&mut self.mutating, &told.mutating_clients),
            (&mut self.validating, &told.validating_clients),
        ] {
            for hook in hooks {
                if let Ok((endpoint, _)) = &mut hook.endpoint {
                    hook.authorization = clients.introduce(endpoint);
                }
            }
        }
    }

    fn of(snapshot: &Snapshot) -> Configured {
        let mut configured = Configured {
            mutating_policies: policies::mutating(snapshot),
            validating_policies: policies::validating(snapshot),
            ..Configured::default()
        };
        for configuration in snapshot.list::<MutatingWebhookConfiguration>() {
            for (index, webhook) in configuration.webhooks.iter().enumerate() {
                let webhook: &MutatingWebhook = webhook;
                let again = webhook.reinvocation_policy.as_deref() == Some("IfNeeded");
                let hook = hook!(configuration, index, webhook, again);
                configured.mutating.push(hook);
            }
        }
        for configuration in snapshot.list::<ValidatingWebhookConfiguration>() {
            for (index, webhook) in configuration.webhooks.iter().enumerate() {
                let webhook: &ValidatingWebhook = webhook;
                let hook = hook!(configuration, index, webhook, false);
                configured.validating.push(hook);
            }
        }
        configured
    }
}

fn conditions(conditions: &[MatchCondition], failure_policy: Option<&str>) -> Conditions {
    Conditions::of_webhook(conditions, failure_policy == Some("Ignore"))
}

/// The whole request has 34 seconds upstream; a webhook's own limit is at most 30.
fn seconds(timeout: Option<i32>) -> Duration {
    Duration::from_secs(timeout.unwrap_or(10).clamp(1, 30) as u64)
}

/// Where a webhook is, and the path there.
pub(crate) fn endpoint(client: &WebhookClientConfig) -> Result<(Endpoint, String), String> {
    let bundle = Bytes::copy_from_slice(&client.ca_bundle);
    let (place, path) = match (&client.service, &client.url) {
        (Some(service), _) => (
            Place::Service {
                namespace: service.namespace.to_string(),
                name: service.name.to_string(),
                port: service.port.unwrap_or(443) as u16,
            },
            service.path.as_deref().unwrap_or_default().to_owned(),
        ),
        (None, Some(url)) => {
            let rest = url.split_once("://").map_or("", |(_, rest)| rest);
            let path = rest.find('/').map_or("", |at| &rest[at..]);
            (Place::Url(url.to_string()), path.to_owned())
        }
        (None, None) => {
            return Err("webhook configuration must have either service or URL".into());
        }
    };
    let path = match path.starts_with('/') {
        true => path,
        false => format!("/{path}"),
    };
    let trust = Trust::of(bundle);
    Ok((Endpoint { place, trust }, path))
}
