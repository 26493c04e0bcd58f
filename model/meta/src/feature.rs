//! Features of upstream's that are off unless their gate is opened, as far as rules must know of them.
//!
//! Invariant: a set that nobody filled holds nothing, as upstream's defaults have it. Leaves out what gates are called on
//! a command line and which of them open others: the API server's.

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// ClusterTrustBundles are served and one is published for the API server's own certificate.
    ClusterTrustBundle,
    /// Pods may have them as files.
    ClusterTrustBundleProjection,
    /// PodCertificateRequests are served, and pods may have certificates as files.
    PodCertificateRequest,
    /// StorageVersionMigrations are served and carried out.
    StorageVersionMigrator,
}

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u8);

impl Features {
    /// The set with one more.
    pub fn with(self, feature: Feature) -> Features {
        Features(self.0 | 1 << feature as u8)
    }

    /// Whether the feature is on.
    pub fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Features {
        let all = features.into_iter();
        all.fold(Features::default(), Features::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_put_in_is_on() {
        let set = Features::from_iter([Feature::PodCertificateRequest]);
        assert!(set.has(Feature::PodCertificateRequest));
        assert!(!set.has(Feature::ClusterTrustBundle) && !set.has(Feature::StorageVersionMigrator));
    }
}
