//! Starting up: the private mount, the shim's executable, and the pods that an earlier agent left running.

use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::CWD;
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    mount, mount_change, move_mount, open_tree, unmount,
};

use super::state::{Container, Sandbox};
use super::{Core, blocking};
use crate::error::{Error, Result};
use crate::records::{self, ContainerRecord, ExitRecord, SandboxRecord};
use crate::sys;

impl Core {
    /// Makes the directories, and the tmpfs whose mounts nobody else sees.
    pub(super) fn prepare(&self) -> Result<()> {
        records::make_private(&records::sandboxes(&self.options.root))?;
        records::make_private(&self.options.run)?;
        let private = records::private_mount(&self.options.run);
        records::make_private(&private)?;
        if !is_mount_point(&private)? {
            mount(
                "tmpfs",
                &private,
                "tmpfs",
                MountFlags::NOSUID,
                Some(c"mode=0700"),
            )
            .map_err(|e| Error::io("mount tmpfs on", &private)(e.into()))?;
            mount_change(&private, MountPropagationFlags::PRIVATE)
                .map_err(|e| Error::io("make private", &private)(e.into()))?;
        }
        records::make_private(&private.join("root"))?;
        self.mount_executable()?;
        let resource = crate::process::capability_bit("SYS_RESOURCE").map_or(0, |bit| 1u64 << bit);
        if sys::permitted_capabilities().is_ok_and(|bits| bits & resource == 0) {
            tracing::warn!(
                "CAP_SYS_RESOURCE is missing: negative oom_score_adj and raised rlimits have no effect"
            );
        }
        Ok(())
    }

    /// Shims run from a read-only mount: a container that gets hold of /proc/<pid>/exe of a process on its way in
    /// cannot write the executable (CVE-2019-5736).
    fn mount_executable(&self) -> Result<()> {
        let place = self.executable();
        let _ = unmount(&place, UnmountFlags::DETACH); // an earlier agent's, perhaps another version
        fs::write(&place, "").map_err(Error::io("make file", &place))?;
        let source = &self.options.shim.0;
        let fail = |error: rustix::io::Errno| {
            Error::io("bind the shim's executable", source)(error.into())
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let copy = open_tree(CWD, source, flags).map_err(fail)?;
        let attributes = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
        sys::mount_setattr(copy.as_fd(), attributes, libc::MS_PRIVATE, sys::Depth::One)
            .map_err(Error::io("make read-only", source))?;
        move_mount(
            &copy,
            c"",
            CWD,
            &place,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(fail)
    }

    /// Where shims are executed from.
    pub(super) fn executable(&self) -> std::path::PathBuf {
        records::private_mount(&self.options.run).join("shim")
    }

    pub(super) fn unmount(&self) -> Result<()> {
        let private = records::private_mount(&self.options.run);
        let _ = unmount(self.executable(), UnmountFlags::DETACH);
        unmount(&private, UnmountFlags::DETACH)
            .map_err(|e| Error::io("unmount", &private)(e.into()))
    }

    /// Reads every record and connects to every living shim.
    pub(super) async fn adopt_all(self: &Arc<Self>) -> Result<()> {
        let core = self.clone();
        let ids = blocking(move || core.load()).await?;
        for id in ids {
            match self.connect_shim(&id).await {
                Ok(()) => tracing::debug!(sandbox = id, "adopted"),
                Err(error) => {
                    tracing::info!(sandbox = id, %error, "the shim is gone");
                    self.clone().bury(id).await;
                }
            }
        }
        Ok(())
    }

    /// Takes the records into the account; returns the sandboxes. A damaged record does not stop the others.
    fn load(&self) -> Result<Vec<String>> {
        let directory = records::sandboxes(&self.options.root);
        let entries = fs::read_dir(&directory).map_err(Error::io("list", &directory))?;
        let mut ids = Vec::new();
        for id in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            match self.load_sandbox(&id) {
                Ok(true) => ids.push(id),
                Ok(false) => tracing::warn!(sandbox = id, "no record: left alone"),
                Err(error) => tracing::error!(sandbox = id, %error, "left alone"),
            }
        }
        Ok(ids)
    }

    fn load_sandbox(&self, id: &str) -> Result<bool> {
        let places = self.places(id);
        let Some(record) = records::read::<SandboxRecord>(&places.sandbox())? else {
            return Ok(false);
        };
        let mut containers = Vec::new();
        for container in places.container_ids() {
            if let Some(record) = records::read::<ContainerRecord>(&places.container(&container))? {
                let exit = records::read::<ExitRecord>(&places.exit(&container))?;
                containers.push(Container::new(record, id, exit));
            }
        }
        let mut state = self.state();
        for container in containers {
            state
                .containers
                .insert(container.record.id.clone(), container);
        }
        state
            .sandboxes
            .insert(id.to_owned(), Sandbox::new(record, places));
        Ok(true)
    }
}

fn is_mount_point(path: &std::path::Path) -> Result<bool> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let facts = rustix::fs::statx(CWD, path, flags, rustix::fs::StatxFlags::BASIC_STATS)
        .map_err(|e| Error::io("stat", path)(e.into()))?;
    Ok(facts
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}
