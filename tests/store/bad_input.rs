//! What the API server and its store are not to swallow: each is refused in words that say what is wrong, and the
//! server goes on as before.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use corten_tests::{ApiAccess, LoneServer, corten};

use crate::{MAPS, config_map, create, expect, maps, request};

/// Watches opened and dropped.
const WATCHES: usize = 500;

fn answered(access: &ApiAccess, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let answer = access.connect()?.request(method, path, body.as_bytes())?;
    Ok((
        answer.status,
        String::from_utf8_lossy(&answer.body).into_owned(),
    ))
}

fn refused_with(what: (u16, String), code: u16, words: &str) -> Result<()> {
    let (status, text) = what;
    expect(
        &format!("{code} with {words:?}, not {status} with {text}"),
        status == code && text.contains(words),
    )
}

/// Requests that are too large, of the future or of the past.
pub fn wrong_requests() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = LoneServer::start(directory.path(), &[])?;
    let access = server.access();
    create(access, "first", "1")?;
    let (_, then) = maps(access)?;
    let long = "x".repeat(5_000);
    refused_with(
        answered(access, "POST", MAPS, &config_map(&long, "1"))?,
        422,
        "must be no more than 253",
    )?;
    let large = config_map("large", &"x".repeat(3 << 20));
    match answered(access, "POST", MAPS, &large) {
        Ok(answer) => refused_with(answer, 413, "too large")?,
        // It is refused by its length: the answer may come before the end of the request is taken.
        Err(error) => expect(
            &format!("{error:#}"),
            error.to_string().contains("sending the request"),
        )?,
    }
    let ahead = format!("{MAPS}?resourceVersion=99999999&resourceVersionMatch=NotOlderThan");
    refused_with(
        answered(access, "GET", &ahead, "")?,
        504,
        "Too large resource version",
    )?;
    create(access, "second", "2")?;
    corten_tests::run_corten(&[
        "store",
        "compact",
        "--data-dir",
        &directory.path().to_string_lossy(),
    ])?;
    let past = format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact&limit=1");
    refused_with(answered(access, "GET", &past, "")?, 410, "too old")?;
    let past = format!("{MAPS}?watch=1&resourceVersion={then}&timeoutSeconds=5");
    let (status, text) = answered(access, "GET", &past, "")?;
    expect(
        &format!("a watch of the past is ended with 410, not {status} {text}"),
        status == 410 || text.contains("\"code\":410"),
    )?;
    expect("it goes on as before", maps(access)?.0.len() == 2)?;
    server.stop()
}

/// Clients that ask for watches and go, or that never read what they asked for.
pub fn clients_that_go_or_do_not_read() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = LoneServer::start(directory.path(), &[])?;
    let large = "x".repeat(200_000);
    create(server.access(), "first", &large)?;
    // They ask and read nothing: what they do not read is not kept for them.
    let path = format!("{MAPS}?watch=1");
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut client = server.access().connect()?;
        client.send_only("GET", &path)?;
        deaf.push(client);
    }
    for _ in 0..WATCHES / 100 {
        let mut gone = Vec::new();
        for _ in 0..100 {
            let mut client = server.access().connect()?;
            client.send_only("GET", &path)?;
            gone.push(client);
        }
    }
    let before = corten_tests::Sample::of(&[server.process()]).resident_kib;
    for number in 0..150 {
        let body = config_map("first", &format!("{number}{large}"));
        request(server.access(), "PUT", &format!("{MAPS}/first"), &body)?;
    }
    let after = corten_tests::Sample::of(&[server.process()]).resident_kib;
    // 150 versions of 200 KB are history; 20 copies of them would be 600 MB.
    expect(
        &format!("{before} KiB before, {after} KiB after"),
        after < before + (200 << 10),
    )?;
    drop(deaf);
    server.stop()
}

/// Data directories that are not this program's to use.
pub fn wrong_directories() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    let server = LoneServer::start(&data, &[])?;
    create(server.access(), "kept", "1")?;
    server.stop()?;
    if rustix::process::geteuid().is_root() {
        of_another_user(directory.path(), &data)?;
        on_a_full_disk(directory.path())?;
    }
    Ok(())
}

/// What a program says that must not start, run by this user.
fn complaint(data: &Path, user: u32) -> Result<String> {
    let output = Command::new(corten()?)
        .args(["store", "stats", "--data-dir"])
        .arg(data)
        .uid(user)
        .gid(user)
        .output()?;
    expect("it is refused", !output.status.success())?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn of_another_user(above: &Path, data: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const OTHER: u32 = 54_321;
    for directory in [above, data, &data.join("store")] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    }
    let told = complaint(data, OTHER)?;
    expect(
        &told,
        told.contains("belongs to user 0, this process runs as user 54321; run it as that user"),
    )
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// The disk fills up under a running server: writes are refused, reads go on, and writes come back with the space.
fn on_a_full_disk(above: &Path) -> Result<()> {
    let data = above.join("small");
    std::fs::create_dir(&data)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=96m", "small"])
        .arg(&data)
        .status()?;
    expect("a small disk", mounted.success())?;
    let _mounted = Mounted(&data);
    let server = LoneServer::start(&data, &["--store-memory", "4MiB"])?;
    create(server.access(), "kept", &"k".repeat(500_000))?;
    let ballast = data.join("ballast");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", "status=none"])
        .arg(format!("of={}", ballast.display()))
        .stderr(std::process::Stdio::null())
        .status()?;
    expect("the disk is full", !filled.success())?;
    let large = "x".repeat(900_000);
    let mut refused = None;
    for number in 0..200 {
        let body = config_map(&format!("m{number}"), &large);
        let (status, text) = answered(server.access(), "POST", MAPS, &body)?;
        if status >= 500 {
            refused = Some(text);
            break;
        }
    }
    let refused = refused.context("a full disk took everything")?;
    expect(&refused, refused.contains("no space left on the device"))?;
    let kept = request(server.access(), "GET", &format!("{MAPS}/kept"), "")?;
    expect(
        "reads go on",
        kept["data"]["v"].as_str().map(str::len) == Some(500_000),
    )?;
    std::fs::remove_file(&ballast)?;
    corten_tests::eventually("writes come back with the space", || {
        create(server.access(), "later", "1")
    })?;
    server.stop()
}
