//! Which directories a volume needs because other volumes are mounted inside of it. Pure.

use crate::error::{Error, Result};

/// One entry of a container's `volumeMounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerMount {
    /// The name of the volume.
    pub volume: String,
    /// The path in the container.
    pub mount_path: String,
}

/// The directories to make in the volume `name`, relative to it, for all `containers` of its pod. Only the outermost of
/// nested mounts count: the ones inside are made by the volume that is mounted there.
pub fn nested_mount_points(name: &str, containers: &[Vec<ContainerMount>]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for mounts in containers {
        let mut all: Vec<String> = mounts
            .iter()
            .map(|mount| clean(&mount.mount_path))
            .collect();
        all.sort();
        for mount in mounts.iter().filter(|mount| mount.volume == name) {
            let own = clean(&mount.mount_path);
            if own.starts_with("../") {
                return Err(Error::MountPoint(own));
            }
            let prefix = format!("{own}/");
            let mut outer: Vec<String> = Vec::new();
            for other in &all {
                let Some(inside) = other.strip_prefix(&prefix) else {
                    continue;
                };
                if outer.iter().any(|outer| other.starts_with(outer)) {
                    continue;
                }
                outer.push(format!("{other}/"));
                found.push(inside.to_owned());
            }
        }
    }
    Ok(found)
}

/// The shortest equal path, without looking at the disk.
fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(list: &[(&str, &str)]) -> Vec<ContainerMount> {
        list.iter()
            .map(|(volume, path)| ContainerMount {
                volume: (*volume).to_owned(),
                mount_path: (*path).to_owned(),
            })
            .collect()
    }

    #[test]
    fn only_the_outermost_count() {
        let container = mounts(&[
            ("v", "/dir"),
            ("a", "/dir/nested/"),
            ("b", "/dir/nested/double"),
            ("c", "/dir/nested-vol"),
            ("d", "/dir/./nested.vol"),
            ("e", "/dir2/x"),
            ("f", "/other"),
        ]);
        assert_eq!(
            nested_mount_points("v", std::slice::from_ref(&container)).unwrap(),
            ["nested", "nested-vol", "nested.vol"]
        );
        assert_eq!(
            nested_mount_points("a", std::slice::from_ref(&container)).unwrap(),
            ["double"]
        );
        assert!(nested_mount_points("f", &[container]).unwrap().is_empty());
    }

    #[test]
    fn containers_cannot_reach_out() {
        let container = mounts(&[("v", "../../etc"), ("a", "../../etc/x")]);
        let error = nested_mount_points("v", &[container]).unwrap_err();
        assert_eq!(error.to_string(), "invalid container mount point ../../etc");
    }

    #[test]
    fn every_container_counts() {
        let one = mounts(&[("v", "/a"), ("w", "/a/x")]);
        let two = mounts(&[("v", "/b"), ("w", "/b/y")]);
        assert_eq!(nested_mount_points("v", &[one, two]).unwrap(), ["x", "y"]);
    }
}
