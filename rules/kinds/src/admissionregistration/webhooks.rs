//! ValidatingWebhookConfigurations and MutatingWebhookConfigurations: defaults, generation, validation, table.

use super::webhook_validation::{Hook, validate_hooks};
use super::{columns, matching};
use crate::rules::{Generation, Rules};
use crate::{Column, Context, FieldError, cells};
use corten_api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use corten_core::{Time, Value};

/// The strategy of ValidatingWebhookConfigurations.
pub struct ValidatingWebhookConfigurations;
/// The strategy of MutatingWebhookConfigurations.
pub struct MutatingWebhookConfigurations;

fn hooks<'a, W>(webhooks: &'a [W]) -> Vec<Hook<'a>>
where
    Hook<'a>: From<&'a W>,
{
    webhooks.iter().map(Hook::from).collect()
}

/// The defaults that both sorts of webhook share.
macro_rules! default_webhook {
    ($webhook:expr) => {
        let webhook = $webhook;
        webhook.failure_policy.get_or_insert_with(|| "Fail".into());
        webhook
            .match_policy
            .get_or_insert_with(|| "Equivalent".into());
        webhook.namespace_selector.get_or_insert_default();
        webhook.object_selector.get_or_insert_default();
        webhook.timeout_seconds.get_or_insert(10);
        for rule in &mut webhook.rules {
            matching::default_rule(&mut rule.rule);
        }
        if let Some(service) = &mut webhook.client_config.service {
            service.port.get_or_insert(443);
        }
    };
}

impl Rules for ValidatingWebhookConfigurations {
    type Of = ValidatingWebhookConfiguration;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut ValidatingWebhookConfiguration) {
        for webhook in &mut obj.webhooks {
            default_webhook!(webhook);
        }
    }
    fn validate_create(
        &self,
        _cx: &Context,
        new: &ValidatingWebhookConfiguration,
    ) -> Vec<FieldError> {
        validate_hooks(&hooks(&new.webhooks), None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ValidatingWebhookConfiguration,
        old: &ValidatingWebhookConfiguration,
    ) -> Vec<FieldError> {
        validate_hooks(&hooks(&new.webhooks), Some(&hooks(&old.webhooks)))
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ValidatingWebhookConfiguration,
        _old: Option<&ValidatingWebhookConfiguration>,
    ) -> Vec<String> {
        matching::static_name_warnings(&new.metadata.name)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::VALIDATING_WEBHOOK_CONFIGURATION
    }
    fn cells(&self, obj: &ValidatingWebhookConfiguration, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.webhooks.len() as i64),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}

impl Rules for MutatingWebhookConfigurations {
    type Of = MutatingWebhookConfiguration;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut MutatingWebhookConfiguration) {
        for webhook in &mut obj.webhooks {
            webhook
                .reinvocation_policy
                .get_or_insert_with(|| "Never".into());
            default_webhook!(webhook);
        }
    }
    fn validate_create(
        &self,
        _cx: &Context,
        new: &MutatingWebhookConfiguration,
    ) -> Vec<FieldError> {
        validate_hooks(&hooks(&new.webhooks), None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) -> Vec<FieldError> {
        validate_hooks(&hooks(&new.webhooks), Some(&hooks(&old.webhooks)))
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &MutatingWebhookConfiguration,
        _old: Option<&MutatingWebhookConfiguration>,
    ) -> Vec<String> {
        matching::static_name_warnings(&new.metadata.name)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::MUTATING_WEBHOOK_CONFIGURATION
    }
    fn cells(&self, obj: &MutatingWebhookConfiguration, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.webhooks.len() as i64),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}
