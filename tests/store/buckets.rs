//! Backups in an S3-compatible object store, which the test serves itself and which checks every signature.

use anyhow::{Context, Result};
use corten_tests::{Bucket, LoneServer, eventually, run_corten, run_corten_with};

use crate::{MAPS, config_map, create, expect, maps, refused, request, text};

/// A store large enough for an upload in several parts, backed up, changed, backed up again and restored.
pub fn there_and_back() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let bucket = Bucket::serve()?;
    let variables = bucket.variables();
    let (data, restored) = (
        text(&directory.path().join("data")),
        text(&directory.path().join("restored")),
    );
    let url = bucket.url("clusters/one");
    let run = |words: &[&str], data: &str| {
        let words = [&["store"][..], words, &["--data-dir", data][..]].concat();
        run_corten_with(&words, &variables)
    };
    let server = LoneServer::start(directory.path().join("data").as_path(), &[])?;
    let large = "x".repeat(900_000);
    for number in 0..12 {
        create(server.access(), &format!("m{number}"), &large)?;
    }
    bucket.refuse(1);
    let told = run(&["backup", &url], &data)?;
    expect(
        &format!("the address is told: {told}"),
        told.starts_with(&format!("{url}/corten-")) && told.contains("everything up to revision"),
    )?;
    expect(
        "it came in parts, and whole",
        bucket.multipart() == (1, 0) && bucket.keys().len() == 1,
    )?;
    let next = format!("{url}/next.backup");
    request(
        server.access(),
        "PUT",
        &format!("{MAPS}/m1"),
        &config_map("m1", "changed"),
    )?;
    let (before, _) = maps(server.access())?;
    let told = run(&["backup", "--since", &url, &next], &data)?;
    expect(
        "the second holds only changes",
        told.contains("what changed after"),
    )?;
    server.stop()?;

    run(&["verify", &url], &data)?;
    run(&["restore", &url, &next], &restored)?;
    let server = LoneServer::start(restored.as_ref(), &[])?;
    let (after, _) = maps(server.access())?;
    expect("all of it is back", before == after)?;
    server.stop()?;
    let spooled = std::fs::read_dir(&restored)?.flatten();
    let left = spooled.filter(|file| file.file_name().to_string_lossy().starts_with("spool"));
    expect("no spooled file stays", left.count() == 0)?;

    let first = bucket.keys().remove(0);
    bucket.change(&first, |bytes| bytes[5000] ^= 1)?;
    let damaged = run(&["verify", &url], &data).err();
    let damaged = damaged.context("a damaged backup was taken")?.to_string();
    expect(&damaged, damaged.contains("the backup is damaged"))?;
    wrong(&bucket, &url, &data)
}

fn wrong(bucket: &Bucket, url: &str, data: &str) -> Result<()> {
    let mut variables = bucket.variables();
    variables[1].1 = "another".to_owned();
    let told = run_corten_with(&["store", "backup", url, "--data-dir", data], &variables);
    let told = told.err().context("a wrong secret was taken")?.to_string();
    expect(
        &format!("what was tried is told, not {told}"),
        told.contains(&format!("uploading {url}")) && told.contains("SignatureDoesNotMatch"),
    )?;
    let empty = bucket.url("empty");
    let told = run_corten_with(&["store", "verify", &empty], &bucket.variables());
    let told = told.err().context("nothing was verified")?.to_string();
    expect(
        &told,
        told.contains("there is no backup in s3://bucket/empty"),
    )?;
    refused(
        &["store", "verify", "s3://"],
        "is not an address such as s3://bucket/prefix",
    )
}

/// A running server writes into the bucket by itself, and removes what is too much.
pub fn scheduled() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let bucket = Bucket::serve()?;
    let url = bucket.url("nightly");
    let flags = [
        "--backup-interval",
        "1s",
        "--backup-keep",
        "2",
        "--backup-dir",
        &url,
    ];
    let server = LoneServer::start_with(directory.path(), &flags, &bucket.variables())?;
    let first = eventually("a first backup", || {
        bucket.keys().first().cloned().context("none yet")
    })?;
    let mut number = 0;
    eventually("the first backup gives way to newer ones", || {
        number += 1;
        create(server.access(), &format!("m{number}"), "1")?;
        let keys = bucket.keys();
        expect("two newer ones", keys.len() == 2 && !keys.contains(&first))
    })?;
    server.stop()?;
    run_corten_with(&["store", "verify", &url], &bucket.variables())?;
    // A file's name that merely looks like an address is a file's name.
    run_corten(&["store", "verify", "s3/none"])
        .err()
        .context("a file")?;
    Ok(())
}
