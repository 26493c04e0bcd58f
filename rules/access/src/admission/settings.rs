//! What a cluster's administrator sets for plugins, besides which of them run: the files that `AdmissionConfiguration` of
//! `apiserver.config.k8s.io` names or holds, one per plugin. Invariant: what is in use was found valid; messages are
//! upstream's. Leaves out: reading files, and plugins that keep a state or ask others (EventRateLimit, ImagePolicyWebhook),
//! of which only the settings are here.

use super::pod_security::{Exemptions, Policy};
use corten_api::core::v1::{ScopedResourceSelectorRequirement, Toleration};
use corten_core::{from_value, json_text};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What plugins are told.
#[derive(Clone, Debug, Default)]
pub struct PluginSettings {
    pub(super) node_selectors: BTreeMap<String, String>,
    pub(super) default_tolerations: Vec<Toleration>,
    pub(super) allowed_tolerations: Vec<Toleration>,
    pub(super) pod_security: Policy,
    pub(super) exemptions: Exemptions,
    pub(super) limited: Vec<LimitedResource>,
}

/// A resource that nobody may use without a quota for it.
#[derive(Clone, Debug, Default)]
pub(super) struct LimitedResource {
    pub group: String,
    pub resource: String,
    pub contains: Vec<String>,
    pub scopes: Vec<ScopedResourceSelectorRequirement>,
}

/// The file of `--admission-control-config-file`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdmissionConfiguration {
    api_version: String,
    kind: String,
    /// One entry per plugin; the first of a name counts.
    pub plugins: Vec<PluginConfiguration>,
}

/// Where a plugin's settings are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PluginConfiguration {
    /// The plugin's name.
    pub name: String,
    /// A file, relative to the one that names it.
    pub path: String,
    /// The settings themselves.
    pub configuration: Option<serde_json::Value>,
}

impl AdmissionConfiguration {
    /// Reads the file, as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(json: &str) -> Result<AdmissionConfiguration, String> {
        let config: AdmissionConfiguration =
            serde_json::from_str(json).map_err(|e| e.to_string())?;
        let versions = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"];
        is_one_of(
            &config.api_version,
            &config.kind,
            "AdmissionConfiguration",
            &versions,
        )?;
        Ok(config)
    }
}

fn is_one_of(version: &str, kind: &str, wanted: &str, versions: &[&str]) -> Result<(), String> {
    match kind == wanted && versions.contains(&version) {
        true => Ok(()),
        false => Err(format!(
            "no kind {kind:?} is registered for version {version:?}, {wanted} of {} is expected",
            versions[0]
        )),
    }
}

/// Settings with a version.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Typed {
    api_version: String,
    kind: String,
}

fn typed<T: for<'de> Deserialize<'de>>(
    json: &str,
    kind: &str,
    versions: &[&str],
) -> Result<T, String> {
    let what: Typed = serde_json::from_str(json).map_err(|e| e.to_string())?;
    is_one_of(&what.api_version, &what.kind, kind, versions)?;
    serde_json::from_str(json).map_err(|e| e.to_string())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSelectors {
    #[serde(alias = "PodNodeSelectorPluginConfig")]
    pod_node_selector_plugin_config: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tolerations {
    default: Vec<serde_json::Value>,
    whitelist: Vec<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct PodSecurity {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    defaults: BTreeMap<String, String>,
    exemptions: Exemptions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Quotas {
    limited_resources: Vec<LimitedJson>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LimitedJson {
    api_group: String,
    resource: String,
    match_contains: Vec<String>,
    match_scopes: Vec<serde_json::Value>,
}

fn message<T: corten_core::Message>(json: &serde_json::Value) -> Result<T, String> {
    let value = json_text::parse(json.to_string().as_bytes()).map_err(|e| e.to_string())?;
    from_value::<T>(&value).map_err(|e| e.to_string())
}

impl PluginSettings {
    /// PodNodeSelector: selectors by namespace, and `clusterDefaultNodeSelector`.
    ///
    /// # Errors
    /// When the text is no such file.
    pub fn read_node_selectors(&mut self, json: &str) -> Result<(), String> {
        let read: NodeSelectors = serde_json::from_str(json).map_err(|e| e.to_string())?;
        self.node_selectors = read.pod_node_selector_plugin_config;
        Ok(())
    }

    /// PodTolerationRestriction: tolerations that pods get, and those that they may have.
    ///
    /// # Errors
    /// When the text is no such file.
    pub fn read_tolerations(&mut self, json: &str) -> Result<(), String> {
        let versions = ["podtolerationrestriction.admission.k8s.io/v1alpha1"];
        let read: Tolerations = typed(json, "Configuration", &versions)?;
        type Read = Result<Vec<Toleration>, String>;
        let all = |list: &[serde_json::Value]| -> Read { list.iter().map(message).collect() };
        self.default_tolerations = all(&read.default)?;
        self.allowed_tolerations = all(&read.whitelist)?;
        Ok(())
    }

    /// PodSecurity: the standards of namespaces without labels, and who is exempt.
    ///
    /// # Errors
    /// When the text is no such file, or names what does not exist.
    pub fn read_pod_security(&mut self, json: &str) -> Result<(), String> {
        let group = "pod-security.admission.config.k8s.io";
        let versions = ["v1", "v1beta1", "v1alpha1"].map(|v| format!("{group}/{v}"));
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let read: PodSecurity = typed(json, "PodSecurityConfiguration", &versions)?;
        let mut errors = Vec::new();
        self.pod_security = Policy::of_defaults(&read.defaults, &mut errors);
        read.exemptions.check(&mut errors);
        self.exemptions = read.exemptions;
        all_right(errors)
    }

    /// ResourceQuota: what nobody may use without a quota.
    ///
    /// # Errors
    /// When the text is no such file, or an entry names no resource.
    pub fn read_quotas(&mut self, json: &str) -> Result<(), String> {
        let what: Typed = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let read: Quotas = match what.kind.as_str() {
            "Configuration" => typed(
                json,
                "Configuration",
                &[
                    "resourcequota.admission.k8s.io/v1beta1",
                    "resourcequota.admission.k8s.io/v1alpha1",
                ],
            )?,
            _ => typed(
                json,
                "ResourceQuotaConfiguration",
                &["apiserver.config.k8s.io/v1"],
            )?,
        };
        let mut errors = Vec::new();
        self.limited.clear();
        for (index, limited) in read.limited_resources.into_iter().enumerate() {
            if limited.resource.is_empty() {
                errors.push(format!(
                    "limitedResources[{index}].resource: Required value"
                ));
            }
            let scopes = limited.match_scopes.iter().map(message);
            self.limited.push(LimitedResource {
                scopes: scopes.collect::<Result<_, _>>()?,
                group: limited.api_group,
                resource: limited.resource,
                contains: limited.match_contains,
            });
        }
        all_right(errors)
    }
}

fn all_right(errors: Vec<String>) -> Result<(), String> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.concat()),
        _ => Err(format!("[{}]", errors.join(", "))),
    }
}

/// What events are counted by.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum EventLimitType {
    /// All together.
    Server,
    /// Each namespace's.
    Namespace,
    /// Each user's.
    User,
    /// Those about the same object from the same source.
    SourceAndObject,
}

/// How many events are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLimit {
    /// What is counted together.
    #[serde(rename = "type")]
    pub kind: EventLimitType,
    /// Events per second.
    #[serde(default)]
    pub qps: i32,
    /// Events at once after a pause.
    #[serde(default)]
    pub burst: i32,
    /// How many counts are kept; 4096 when 0.
    #[serde(default)]
    pub cache_size: i32,
}

/// Reads EventRateLimit's settings.
///
/// # Errors
/// When the text is no such file, or a limit is none.
pub fn event_limits(json: &str) -> Result<Vec<EventLimit>, String> {
    #[derive(Deserialize)]
    struct Limits {
        #[serde(default)]
        limits: Vec<EventLimit>,
    }
    let versions = ["eventratelimit.admission.k8s.io/v1alpha1"];
    let read: Limits = typed(json, "Configuration", &versions)?;
    let mut errors = Vec::new();
    if read.limits.is_empty() {
        errors.push("limits: Invalid value: null: must not be empty".to_owned());
    }
    for (index, limit) in read.limits.iter().enumerate() {
        let wrong = |field: &str, value: i32, why: &str| {
            format!("limits[{index}].{field}: Invalid value: {value}: {why}")
        };
        if limit.burst <= 0 {
            errors.push(wrong("burst", limit.burst, "must be positive"));
        }
        if limit.qps <= 0 {
            errors.push(wrong("qps", limit.qps, "must be positive"));
        }
        if limit.kind != EventLimitType::Server && limit.cache_size < 0 {
            errors.push(wrong("cacheSize", limit.cache_size, "must not be negative"));
        }
    }
    all_right(errors)?;
    Ok(read.limits)
}

/// Who says which images may run.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePolicy {
    /// A kubeconfig.
    pub kubeconfig: String,
    /// How long a yes is kept.
    pub allow_time: Duration,
    /// How long a no is kept.
    pub deny_time: Duration,
    /// What an answer that does not come means.
    pub allows_by_default: bool,
}

/// Reads ImagePolicyWebhook's settings.
///
/// # Errors
/// When the text is no such file, or a time is out of bounds.
pub fn image_policy(json: &str) -> Result<ImagePolicy, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        #[serde(rename = "imagePolicy")]
        policy: Webhook,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Webhook {
        kube_config_file: String,
        #[serde(rename = "allowTTL")]
        allow_ttl: i64,
        #[serde(rename = "denyTTL")]
        deny_ttl: i64,
        retry_backoff: i64,
        default_allow: bool,
    }
    let File { policy } = serde_json::from_str(json).map_err(|e| e.to_string())?;
    bounded(policy.retry_backoff, 500, 1, 300_000, ("1ns", "5m0s", "ms"))?;
    let (most, shown) = (1800, ("1s", "30m0s", "s"));
    let allow_time = bounded(policy.allow_ttl, 300, 1, most, shown)?;
    let deny_time = bounded(policy.deny_ttl, 30, 1, most, shown)?;
    Ok(ImagePolicy {
        kubeconfig: policy.kube_config_file,
        allow_time: Duration::from_secs(allow_time),
        deny_time: Duration::from_secs(deny_time),
        allows_by_default: policy.default_allow,
    })
}

/// -1 for none, 0 for what is usual, else between the bounds.
fn bounded(
    value: i64,
    usual: u64,
    least: u64,
    most: u64,
    (shown_least, shown_most, unit): (&str, &str, &str),
) -> Result<u64, String> {
    match value {
        -1 => Ok(0),
        0 => Ok(usual),
        _ => match u64::try_from(value) {
            Ok(value) if (least..=most).contains(&value) => Ok(value),
            _ => Err(format!(
                "valid value is between {shown_least} and {shown_most}, got {value}{unit}"
            )),
        },
    }
}

/// Reads the settings of both webhook plugins: the kubeconfig with the clients that the API server is to webhooks; empty for
/// none.
///
/// # Errors
/// When the text is no such file, or the path is not absolute.
pub fn webhook_kubeconfig(json: &str) -> Result<String, String> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
    struct Webhooks {
        #[serde(rename = "apiVersion")]
        _api_version: String,
        #[serde(rename = "kind")]
        _kind: String,
        kube_config_file: String,
        static_manifests_dir: String,
    }
    let what: Typed = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let read: Webhooks = match what.kind.as_str() {
        "WebhookAdmission" => typed(
            json,
            "WebhookAdmission",
            &["apiserver.config.k8s.io/v1alpha1"],
        )?,
        _ => typed(
            json,
            "WebhookAdmissionConfiguration",
            &["apiserver.config.k8s.io/v1"],
        )?,
    };
    let file = read.kube_config_file;
    if !file.is_empty() && !file.starts_with('/') {
        return Err(format!(
            "kubeConfigFile: Invalid value: {file:?}: must be an absolute file path"
        ));
    }
    if !read.static_manifests_dir.is_empty() {
        return Err(
            "staticManifestsDir: Forbidden: the ManifestBasedAdmissionControlConfig feature gate is not enabled"
                .to_owned(),
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let file = r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AdmissionConfiguration","plugins":[{"name":"PodSecurity","path":"a.yaml"}]}"#;
        let config = AdmissionConfiguration::parse(file).unwrap();
        assert_eq!(config.plugins[0].path, "a.yaml");
        assert!(AdmissionConfiguration::parse(r#"{"kind":"Pod"}"#).is_err());
        let limits = r#"{"apiVersion":"eventratelimit.admission.k8s.io/v1alpha1","kind":"Configuration","limits":[{"type":"User","qps":0,"burst":5}]}"#;
        assert_eq!(
            event_limits(limits).unwrap_err(),
            "limits[0].qps: Invalid value: 0: must be positive"
        );
        let images = image_policy(
            r#"{"imagePolicy":{"kubeConfigFile":"/k","allowTTL":60,"denyTTL":-1,"defaultAllow":true}}"#,
        );
        let images = images.unwrap();
        assert_eq!(
            (images.allow_time.as_secs(), images.deny_time.as_secs()),
            (60, 0)
        );
        let long = image_policy(r#"{"imagePolicy":{"allowTTL":9999}}"#);
        assert_eq!(
            long.unwrap_err(),
            "valid value is between 1s and 30m0s, got 9999s"
        );
        let hooks = r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"WebhookAdmissionConfiguration","kubeConfigFile":"k"}"#;
        assert_eq!(
            webhook_kubeconfig(hooks).unwrap_err(),
            "kubeConfigFile: Invalid value: \"k\": must be an absolute file path"
        );
    }

    #[test]
    fn wrong_standards_are_refused() {
        let mut settings = PluginSettings::default();
        let json = r#"{"apiVersion":"pod-security.admission.config.k8s.io/v1","kind":"PodSecurityConfiguration","defaults":{"enforce":"strict"},"exemptions":{"usernames":["",""]}}"#;
        let why = settings.read_pod_security(json).unwrap_err();
        assert_eq!(
            why,
            "[defaults.enforce: Invalid value: \"strict\": must be one of privileged, baseline, restricted, exemptions.usernames[0]: Invalid value: \"\": username must not be empty, exemptions.usernames[1]: Invalid value: \"\": username must not be empty]"
        );
    }
}
