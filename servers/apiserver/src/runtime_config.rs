//! Which versions and resources are served: what upstream serves by default, changed by `--runtime-config` and
//! `--feature-gates`. Invariant: without either flag exactly upstream's defaults. Leaves out gates that change anything
//! but what is served and in which format; those are reported as having no effect.

use std::collections::BTreeMap;

use corten_api::Resource;
use corten_meta::{Feature, Features};

/// Resources that are served only while a gate is open, all closed by default.
static GATED: [(&str, &str, &str); 5] = [
    (
        "certificates.k8s.io",
        "clustertrustbundles",
        "ClusterTrustBundle",
    ),
    (
        "certificates.k8s.io",
        "podcertificaterequests",
        "PodCertificateRequest",
    ),
    ("scheduling.k8s.io", "podgroups", "GenericWorkload"),
    ("scheduling.k8s.io", "workloads", "GenericWorkload"),
    (
        "storagemigration.k8s.io",
        "storageversionmigrations",
        "StorageVersionMigrator",
    ),
];

/// Lets pods have trust bundles as files; beta, and nothing without the bundles themselves.
const PROJECTION: &str = "ClusterTrustBundleProjection";

/// Gates among them that are beta; the others are alpha.
static BETA: [&str; 4] = [
    "ClusterTrustBundle",
    PROJECTION,
    "PodCertificateRequest",
    "StorageVersionMigrator",
];

/// The gate of CBOR, alpha and closed by default.
const CBOR: &str = "CBORServingAndStorage";

/// What the two flags say.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    served: BTreeMap<String, bool>,
    gates: BTreeMap<String, bool>,
}

/// Why a flag cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// Not `name=bool`.
    #[error("{0:?} is not of the form name=true or name=false")]
    Malformed(String),
    /// `--runtime-config` names no group version.
    #[error(
        "{0:?} names no API: use api/all, api/ga, api/beta, api/alpha, group/version or group/version/resource"
    )]
    NoSuchApi(String),
}

fn pairs(text: &str) -> Result<Vec<(String, bool)>, FlagError> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    let pair = |item: &str| {
        let (name, value) = item.split_once('=').unwrap_or((item, "true"));
        let value = match value {
            "" | "true" | "True" | "1" => true,
            "false" | "False" | "0" => false,
            _ => return Err(FlagError::Malformed(item.to_owned())),
        };
        Ok((name.to_owned(), value))
    };
    items.map(pair).collect()
}

impl RuntimeConfig {
    /// From the values of `--runtime-config` and `--feature-gates`.
    ///
    /// # Errors
    /// When one of them is malformed or names an API that there is not.
    pub fn parse(served: &[String], gates: &[String]) -> Result<RuntimeConfig, FlagError> {
        let mut config = RuntimeConfig::default();
        for text in served {
            for (name, value) in pairs(text)? {
                if !is_api(&name) {
                    return Err(FlagError::NoSuchApi(name));
                }
                config.served.insert(name, value);
            }
        }
        for text in gates {
            config.gates.extend(pairs(text)?);
        }
        Ok(config)
    }

    /// Gates that are set but change nothing here.
    pub fn without_effect(&self) -> Vec<&str> {
        let known = |name: &str| {
            matches!(name, "AllAlpha" | "AllBeta" | CBOR | PROJECTION)
                || GATED.iter().any(|(_, _, gate)| *gate == name)
        };
        self.gates
            .keys()
            .map(String::as_str)
            .filter(|name| !known(name))
            .collect()
    }

    /// Whether bodies may be CBOR.
    pub(crate) fn serves_cbor(&self) -> bool {
        self.is_open(CBOR)
    }

    /// What rules must know of open gates.
    pub(crate) fn features(&self) -> Features {
        let bundles = self.is_open("ClusterTrustBundle");
        let all = [
            (Feature::ClusterTrustBundle, bundles),
            (
                Feature::ClusterTrustBundleProjection,
                bundles && self.is_open(PROJECTION),
            ),
            (
                Feature::PodCertificateRequest,
                self.is_open("PodCertificateRequest"),
            ),
            (
                Feature::StorageVersionMigrator,
                self.is_open("StorageVersionMigrator"),
            ),
        ];
        let open = all.into_iter().filter(|(_, open)| *open);
        open.map(|(feature, _)| feature).collect()
    }

    /// Whether a gate is open.
    fn is_open(&self, gate: &str) -> bool {
        let all = if BETA.contains(&gate) {
            "AllBeta"
        } else {
            "AllAlpha"
        };
        let said = self.gates.get(gate).or_else(|| self.gates.get(all));
        said.copied().unwrap_or(false)
    }

    /// Whether a built-in resource is served.
    pub(crate) fn serves(&self, resource: &Resource) -> bool {
        let gate = GATED
            .iter()
            .find(|(group, plural, _)| *group == resource.group && *plural == resource.plural);
        if gate.is_some_and(|(_, _, gate)| !self.is_open(gate)) {
            return false;
        }
        let level = match resource.version {
            v if v.contains("alpha") => "api/alpha",
            v if v.contains("beta") => "api/beta",
            _ => "api/ga",
        };
        let version = match resource.group {
            "" => format!("api/{}", resource.version),
            group => format!("{group}/{}", resource.version),
        };
        let narrow_to_wide = [
            format!("{version}/{}", resource.plural),
            version,
            level.into(),
            "api/all".into(),
        ];
        let said = narrow_to_wide.iter().find_map(|name| self.served.get(name));
        said.copied().unwrap_or_else(|| resource.default_on())
    }
}

fn is_api(name: &str) -> bool {
    if matches!(
        name,
        "api/all" | "api/ga" | "api/beta" | "api/alpha" | "api/legacy"
    ) {
        return true;
    }
    let mut parts = name.split('/');
    let group = parts.next().filter(|g| *g != "api").unwrap_or_default();
    let version = parts.next().unwrap_or_default();
    let plural = parts.next();
    corten_api::resources()
        .iter()
        .any(|r| r.group == group && r.version == version && plural.is_none_or(|p| p == r.plural))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(config: &str, gates: &str) -> Vec<String> {
        let config = RuntimeConfig::parse(&[config.into()], &[gates.into()]).unwrap();
        let all = corten_api::resources().iter().filter(|r| config.serves(r));
        all.map(|r| format!("{}/{}/{}", r.group, r.version, r.plural))
            .collect()
    }

    #[test]
    fn stable_versions_are_served_by_default() {
        let all = served("", "");
        assert_eq!(all.len(), 68, "as many as upstream v1.36 serves");
        assert!(
            all.iter()
                .all(|r| !r.contains("alpha") && !r.contains("beta"))
        );
    }

    #[test]
    fn all_and_gates_serve_what_upstream_does() {
        assert_eq!(served("api/all=true", "").len(), 89);
        assert_eq!(
            served("api/all=true", "AllAlpha=true,AllBeta=true").len(),
            95
        );
    }

    #[test]
    fn the_narrowest_flag_wins() {
        let all = served(
            "api/beta=true,networking.k8s.io/v1beta1=false,batch/v1/cronjobs=false",
            "",
        );
        assert!(all.contains(&"coordination.k8s.io/v1beta1/leasecandidates".into()));
        assert!(!all.contains(&"networking.k8s.io/v1beta1/ipaddresses".into()));
        assert!(
            !all.contains(&"batch/v1/cronjobs".into()) && all.contains(&"batch/v1/jobs".into())
        );
    }

    #[test]
    fn what_is_no_api_is_refused() {
        assert!(RuntimeConfig::parse(&["nothere/v1=true".into()], &[]).is_err());
        assert!(RuntimeConfig::parse(&["api/all=maybe".into()], &[]).is_err());
        let config = RuntimeConfig::parse(&[], &["Other=true".into()]).unwrap();
        assert_eq!(config.without_effect(), ["Other"]);
    }
}
