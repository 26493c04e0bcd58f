//! Who a container's process is: numbers from the pod, names looked up in the image's /etc/passwd and /etc/group.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::config::{IdGroups, RunAs, SecurityConfig, SupplementalGroupsPolicy};

/// Numeric identity and what the process's environment says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub ids: IdGroups,
    /// Home directory; `/` when the image does not know the user.
    pub home: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(User {
            name: fields[0],
            uid: number(2)?,
            gid: number(3)?,
            home: fields.get(5).copied().unwrap_or_default(),
        })
    })
}

/// Group name, number and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        Some((name, number, fields.next().unwrap_or_default()))
    })
}

/// Looks the user up below `root`, a descriptor of the container's root directory.
pub fn resolve(
    root: BorrowedFd<'_>,
    security: &SecurityConfig,
    image_user: &str,
) -> Result<Identity, String> {
    decide(
        security,
        image_user,
        &read(root, "etc/passwd"),
        &read(root, "etc/group"),
    )
}

/// A file below `root` with symlinks kept inside; empty when there is none. 1 MiB are plenty.
fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut text = Vec::new();
    if let Ok(file) = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        let _ = File::from(file).take(1 << 20).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn decide(
    security: &SecurityConfig,
    image_user: &str,
    passwd: &str,
    group: &str,
) -> Result<Identity, String> {
    let (user_text, group_text) = match &security.run_as {
        RunAs::Uid(uid) => (uid.to_string(), None),
        RunAs::Name(name) => (name.clone(), None),
        RunAs::Image => match image_user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group)),
            None => (image_user.to_owned(), None),
        },
    };
    let user_text = if user_text.is_empty() {
        "0".to_owned()
    } else {
        user_text
    };
    let (uid, known) = match user_text.parse::<u32>() {
        Ok(uid) => (uid, users(passwd).find(|user| user.uid == uid)),
        Err(_) => {
            let user = users(passwd)
                .find(|user| user.name == user_text)
                .ok_or_else(|| {
                    format!("unable to find user {user_text}: no matching entries in passwd file")
                })?;
            (user.uid, Some(user))
        }
    };
    let gid = match (
        security.run_as_group,
        group_text.filter(|text| !text.is_empty()),
    ) {
        (Some(gid), _) => gid,
        (None, Some(text)) => find_group(text, group)?,
        (None, None) => known.as_ref().map_or(0, |user| user.gid),
    };
    let mut all = vec![gid];
    if let (SupplementalGroupsPolicy::Merge, Some(user)) =
        (security.supplemental_groups_policy, &known)
    {
        let member = |list: &str| list.split(',').any(|name| name.trim() == user.name);
        all.extend(
            groups(group)
                .filter(|(_, _, members)| member(members))
                .map(|(_, gid, _)| gid),
        );
    }
    all.extend(&security.supplemental_groups);
    all.sort_unstable();
    all.dedup();
    let home = known.map_or(
        "/",
        |user| if user.home.is_empty() { "/" } else { user.home },
    );
    Ok(Identity {
        ids: IdGroups {
            uid,
            gid,
            groups: all,
        },
        home: home.to_owned(),
    })
}

fn find_group(text: &str, group: &str) -> Result<u32, String> {
    if let Ok(gid) = text.parse() {
        return Ok(gid);
    }
    groups(group)
        .find(|(name, _, _)| *name == text)
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| format!("unable to find group {text}: no matching entries in group file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwww:x:40:other,web\nextra:x:41:web\nweb:x:34:\n";

    fn check(security: &SecurityConfig, image_user: &str, expected: &str) {
        let text = match decide(security, image_user, PASSWD, GROUP) {
            Ok(Identity { ids, home }) => {
                format!("{}:{} {:?} {home}", ids.uid, ids.gid, ids.groups)
            }
            Err(error) => error,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn users_come_from_the_image_or_the_pod() {
        let none = SecurityConfig::default();
        check(&none, "", "0:0 [0] /root");
        check(&none, "web", "33:34 [34, 40, 41] /srv");
        check(&none, "33", "33:34 [34, 40, 41] /srv");
        check(&none, "web:www", "33:40 [40, 41] /srv");
        check(&none, "1000:7", "1000:7 [7] /");
        check(
            &none,
            "nobody",
            "unable to find user nobody: no matching entries in passwd file",
        );
        check(
            &none,
            "0:nogroup",
            "unable to find group nogroup: no matching entries in group file",
        );
        let uid = SecurityConfig {
            run_as: RunAs::Uid(33),
            supplemental_groups: vec![1000, 5],
            ..SecurityConfig::default()
        };
        check(&uid, "root", "33:34 [5, 34, 40, 41, 1000] /srv");
        let strict = SecurityConfig {
            supplemental_groups_policy: SupplementalGroupsPolicy::Strict,
            run_as_group: Some(77),
            ..uid
        };
        check(&strict, "root", "33:77 [5, 77, 1000] /srv");
    }
}
