//! Garbage collection of images: which to remove is decided by plain functions over what was observed; the rest
//! removes them. The rules and their order are kubelet's (high and low disk threshold, minimum and maximum age).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{ImageStore, InUse};
use crate::error::{Error, Result};
use crate::image::{Image, ImageId};

/// When to collect images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionPolicy {
    /// Disk usage in percent from which images are collected (`imageGCHighThresholdPercent`).
    pub high_percent: u64,
    /// Disk usage in percent to come down to (`imageGCLowThresholdPercent`).
    pub low_percent: u64,
    /// Images are kept at least this long (`imageMinimumGCAge`).
    pub age_min: Duration,
    /// Images unused this long go whatever the disk usage (`imageMaximumGCAge`); `None` keeps them.
    pub unused_max: Option<Duration>,
}

impl Default for CollectionPolicy {
    fn default() -> CollectionPolicy {
        CollectionPolicy {
            high_percent: 85,
            low_percent: 80,
            age_min: Duration::from_secs(120),
            unused_max: None,
        }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// The images removed.
    pub removed: Vec<ImageId>,
    /// Bytes freed.
    pub freed: u64,
}

/// The file system of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// Its size in bytes.
    pub capacity: u64,
    /// Bytes free for ordinary use.
    pub available: u64,
    /// Its inodes.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Bytes that images take, shared layers counted once.
    pub images: u64,
}

/// When each image was first seen and last used, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct UseTimes {
    since: Option<SystemTime>,
    seen: HashMap<ImageId, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    first: SystemTime,
    used: Option<SystemTime>,
}

impl UseTimes {
    pub(super) fn observe(&mut self, images: &[Arc<Image>], now: SystemTime, in_use: &InUse) {
        self.since.get_or_insert(now);
        self.seen
            .retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let seen = self.seen.entry(image.id).or_insert(Seen {
                first: now,
                used: None,
            });
            if in_use(&image.id) {
                seen.used = Some(now);
            }
        }
    }

    /// Images that may go, the longest unused first.
    fn candidates(&self, images: &[Arc<Image>], now: SystemTime) -> Vec<(ImageId, Seen)> {
        let mut out: Vec<(ImageId, Seen)> = images
            .iter()
            .filter(|image| !image.pinned)
            .filter_map(|image| Some((image.id, *self.seen.get(&image.id)?)))
            .filter(|(_, seen)| seen.used.is_none_or(|used| used < now))
            .collect();
        out.sort_by_key(|(id, seen)| (seen.used, seen.first, *id));
        out
    }

    /// True when `unused_max` has passed since anything was observed, so that "never used" means something.
    fn knows(&self, unused_max: Duration, now: SystemTime) -> bool {
        self.since
            .and_then(|since| now.duration_since(since).ok())
            .is_some_and(|age| age > unused_max)
    }
}

impl DiskUsage {
    /// Usage in percent, as kubelet rounds it.
    pub fn percent(&self) -> u64 {
        let available = self.available.min(self.capacity);
        match self.capacity {
            0 => 0,
            capacity => 100 - (u128::from(available) * 100 / u128::from(capacity)) as u64,
        }
    }

    /// Bytes to free to come from at least `high_percent` down to `low_percent`; 0 below the high threshold.
    fn excess(&self, policy: &CollectionPolicy) -> u64 {
        if self.percent() < policy.high_percent {
            return 0;
        }
        let wanted =
            u128::from(self.capacity) * u128::from(100 - policy.low_percent.min(100)) / 100;
        (wanted as u64).saturating_sub(self.available.min(self.capacity))
    }
}

pub(super) fn disk_usage(root: &Path, images: &[Arc<Image>]) -> Result<DiskUsage> {
    let stat =
        rustix::fs::statvfs(root).map_err(|error| Error::disk("measure", root)(error.into()))?;
    let layers: BTreeMap<_, _> = images
        .iter()
        .flat_map(|image| &image.layers)
        .map(|layer| (layer.chain_id, layer.size))
        .collect();
    Ok(DiskUsage {
        capacity: stat.f_blocks * stat.f_frsize,
        available: stat.f_bavail * stat.f_frsize,
        inodes: stat.f_files,
        inodes_free: stat.f_favail,
        images: layers.values().sum(),
    })
}

impl ImageStore {
    pub(super) fn collect_blocking(
        &self,
        policy: &CollectionPolicy,
        now: SystemTime,
        in_use: &InUse,
    ) -> Result<CollectReport> {
        self.observe_use(now, in_use)?;
        let mut report = CollectReport::default();
        if let Some(unused_max) = policy.unused_max {
            let times = self.use_times();
            let candidates = if times.knows(unused_max, now) {
                times.candidates(&self.list()?, now)
            } else {
                Vec::new()
            };
            drop(times);
            for (id, seen) in candidates {
                let unused = seen
                    .used
                    .map_or(Some(Duration::MAX), |used| now.duration_since(used).ok());
                if unused.is_some_and(|unused| unused > unused_max) {
                    self.remove_one(&id, in_use, &mut report)?;
                }
            }
        }
        let usage = self.disk_usage()?;
        let wanted = usage.excess(policy);
        if wanted == 0 {
            return Ok(report);
        }
        let before = report.freed;
        self.free(wanted, policy.age_min, now, in_use, &mut report)?;
        let freed = report.freed - before;
        if freed < wanted {
            let (usage_percent, capacity) = (usage.percent(), usage.capacity);
            return Err(Error::NotEnoughFreed {
                usage_percent,
                capacity,
                freed,
            });
        }
        Ok(report)
    }

    pub(super) fn remove_unused_blocking(
        &self,
        now: SystemTime,
        in_use: &InUse,
    ) -> Result<CollectReport> {
        self.observe_use(now, in_use)?;
        let mut report = CollectReport::default();
        self.free(u64::MAX, Duration::ZERO, now, in_use, &mut report)?;
        Ok(report)
    }

    fn free(
        &self,
        wanted: u64,
        age_min: Duration,
        now: SystemTime,
        in_use: &InUse,
        report: &mut CollectReport,
    ) -> Result<()> {
        let candidates = self.use_times().candidates(&self.list()?, now);
        let before = report.freed;
        for (id, seen) in candidates {
            if report.freed - before >= wanted {
                break;
            }
            if now.duration_since(seen.first).unwrap_or_default() >= age_min {
                self.remove_one(&id, in_use, report)?;
            }
        }
        Ok(())
    }

    fn remove_one(&self, id: &ImageId, in_use: &InUse, report: &mut CollectReport) -> Result<()> {
        // Asked again: a container may have started since the images were observed.
        if in_use(id) {
            return Ok(());
        }
        match self.remove_blocking(&id.to_string(), in_use) {
            Ok(removed) => {
                report.freed += removed.freed;
                report.removed.extend(removed.deleted);
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::image::ImageConfig;
    use crate::oci::Platform;
    use std::time::UNIX_EPOCH;

    fn image(n: u8, pinned: bool) -> Arc<Image> {
        let id = ImageId(Digest::of(&[n]));
        Arc::new(Image {
            id,
            manifest: id.0,
            tags: Vec::new(),
            digests: Vec::new(),
            config: ImageConfig::default(),
            platform: Platform::host(),
            layers: Vec::new(),
            size: 1,
            pinned,
            added_at: 0,
        })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn longest_unused_first_without_pinned_and_used_ones() {
        let images = [
            image(1, false),
            image(2, false),
            image(3, true),
            image(4, false),
        ];
        let ids: Vec<ImageId> = images.iter().map(|image| image.id).collect();
        let using = |wanted: Vec<ImageId>| -> InUse { Arc::new(move |id| wanted.contains(id)) };
        let mut times = UseTimes::default();
        times.observe(&images[..3], at(10), &using(vec![ids[0]]));
        times.observe(&images, at(20), &using(vec![ids[3]]));
        let order = |now| {
            times
                .candidates(&images, now)
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(at(20)), [ids[1], ids[0]]);
        assert_eq!(order(at(21)), [ids[1], ids[0], ids[3]]);
        assert!(!times.knows(Duration::from_secs(10), at(20)));
        assert!(times.knows(Duration::from_secs(10), at(21)));
    }

    #[test]
    fn thresholds() {
        let usage = |available| DiskUsage {
            capacity: 1000,
            available,
            inodes: 0,
            inodes_free: 0,
            images: 0,
        };
        let policy = CollectionPolicy::default();
        assert_eq!(usage(160).excess(&policy), 0);
        assert_eq!(usage(150).percent(), 85);
        assert_eq!(usage(150).excess(&policy), 50);
        assert_eq!(usage(0).excess(&policy), 200);
        assert_eq!(usage(2000).percent(), 0);
    }
}
