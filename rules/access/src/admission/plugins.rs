//! The admission plugins by upstream's names, and which of them a server runs.

/// One plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Plugin {
    AlwaysAdmit,
    NamespaceAutoProvision,
    NamespaceLifecycle,
    NamespaceExists,
    LimitPodHardAntiAffinityTopology,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    AlwaysPullImages,
    ImagePolicyWebhook,
    PodSecurity,
    PodNodeSelector,
    Priority,
    DefaultTolerationSeconds,
    PodTolerationRestriction,
    EventRateLimit,
    ExtendedResourceToleration,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PodGroupProtection,
    OwnerReferencesPermissionEnforcement,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    DenyServiceExternalIPs,
    PodTopologyLabels,
    PodGroupWorkloadExists,
    NodeDeclaredFeatureValidator,
    JobValidation,
    PodResizeValidator,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
    AlwaysDeny,
}

use Plugin as P;

/// All plugins, in the order in which they run.
pub const PLUGINS: [Plugin; 41] = [
    P::AlwaysAdmit,
    P::NamespaceAutoProvision,
    P::NamespaceLifecycle,
    P::NamespaceExists,
    P::LimitPodHardAntiAffinityTopology,
    P::LimitRanger,
    P::ServiceAccount,
    P::NodeRestriction,
    P::TaintNodesByCondition,
    P::AlwaysPullImages,
    P::ImagePolicyWebhook,
    P::PodSecurity,
    P::PodNodeSelector,
    P::Priority,
    P::DefaultTolerationSeconds,
    P::PodTolerationRestriction,
    P::EventRateLimit,
    P::ExtendedResourceToleration,
    P::DefaultStorageClass,
    P::StorageObjectInUseProtection,
    P::PodGroupProtection,
    P::OwnerReferencesPermissionEnforcement,
    P::PersistentVolumeClaimResize,
    P::RuntimeClass,
    P::CertificateApproval,
    P::CertificateSigning,
    P::ClusterTrustBundleAttest,
    P::CertificateSubjectRestriction,
    P::DefaultIngressClass,
    P::DenyServiceExternalIPs,
    P::PodTopologyLabels,
    P::PodGroupWorkloadExists,
    P::NodeDeclaredFeatureValidator,
    P::JobValidation,
    P::PodResizeValidator,
    P::MutatingAdmissionPolicy,
    P::MutatingAdmissionWebhook,
    P::ValidatingAdmissionPolicy,
    P::ValidatingAdmissionWebhook,
    P::ResourceQuota,
    P::AlwaysDeny,
];

/// Off unless asked for. NodeRestriction is among these upstream; every distribution turns it on, and so does Corten.
const OFF: [Plugin; 15] = [
    P::AlwaysAdmit,
    P::NamespaceAutoProvision,
    P::NamespaceExists,
    P::LimitPodHardAntiAffinityTopology,
    P::AlwaysPullImages,
    P::ImagePolicyWebhook,
    P::PodNodeSelector,
    P::PodTolerationRestriction,
    P::EventRateLimit,
    P::ExtendedResourceToleration,
    P::OwnerReferencesPermissionEnforcement,
    P::DenyServiceExternalIPs,
    // Served only with groups that are off.
    P::PodGroupProtection,
    P::PodGroupWorkloadExists,
    P::AlwaysDeny,
];

/// Plugins that cannot be turned on because nobody has written them.
const MISSING: [Plugin; 2] = [P::PodGroupProtection, P::PodGroupWorkloadExists];

impl Plugin {
    /// The plugin of a name, as flags give it.
    pub fn named(name: &str) -> Option<Plugin> {
        PLUGINS.into_iter().find(|plugin| plugin.name() == name)
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// The plugins that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginSet(u64);

impl Default for PluginSet {
    /// Those on by default.
    fn default() -> PluginSet {
        let all = PLUGINS.into_iter().fold(0, |bits, p| bits | bit(p));
        PluginSet(OFF.into_iter().fold(all, |bits, p| bits & !bit(p)))
    }
}

const fn bit(plugin: Plugin) -> u64 {
    1 << plugin as u8
}

impl PluginSet {
    /// Those on by default, with some more and some less.
    ///
    /// # Errors
    /// Upstream's text for a name that no plugin has, or one that is in both lists.
    pub fn with<S: AsRef<str>>(enabled: &[S], disabled: &[S]) -> Result<PluginSet, String> {
        let named = |flag: &str, name: &str| {
            Plugin::named(name)
                .ok_or_else(|| format!("{flag}-admission-plugins plugin {name:?} is unknown"))
        };
        let mut set = PluginSet::default();
        for name in enabled {
            let plugin = named("enable", name.as_ref())?;
            if MISSING.contains(&plugin) {
                return Err(format!(
                    "enable-admission-plugins plugin {plugin:?} is not built in; leave it out"
                ));
            }
            set.0 |= bit(plugin);
        }
        for name in disabled {
            let name = name.as_ref();
            let plugin = named("disable", name)?;
            if enabled.iter().any(|e| e.as_ref() == name) {
                return Err(format!(
                    "[{name}] in enable-admission-plugins and disable-admission-plugins overlapped"
                ));
            }
            set.0 &= !bit(plugin);
        }
        Ok(set)
    }

    /// Whether a plugin runs.
    pub const fn has(self, plugin: Plugin) -> bool {
        self.0 & bit(plugin) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_add_and_take_away() {
        let set = PluginSet::default();
        assert!(set.has(P::LimitRanger) && !set.has(P::AlwaysPullImages));
        assert!(PLUGINS.iter().enumerate().all(|(i, p)| *p as usize == i));
        let set = PluginSet::with(&["AlwaysDeny"], &["LimitRanger"]).expect("both exist");
        assert!(!set.has(P::LimitRanger) && set.has(P::AlwaysDeny));
        assert!(PluginSet::with(&["PodGroupProtection"], &[]).is_err());
        let unknown = PluginSet::with(&["Nonsense"], &[]);
        let text = "enable-admission-plugins plugin \"Nonsense\" is unknown";
        assert_eq!(unknown, Err(text.to_owned()));
        assert!(PluginSet::with(&["LimitRanger"], &["LimitRanger"]).is_err());
    }
}
