//! `corten store` on the real binary: backup while the cluster runs, restore, verify, looking inside, and encryption
//! at rest with key rotation, each on an API server of its own.

mod bad_input;
mod bounded;
mod buckets;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use corten_tests::{ApiAccess, LoneServer, eventually, run_corten, run_each};
use serde_json::Value;

fn main() -> ExitCode {
    run_each(vec![
        (
            "a_running_cluster_is_backed_up_and_restored",
            backup_and_restore,
        ),
        ("backups_are_scheduled_and_the_oldest_go", scheduled_backups),
        ("the_store_is_looked_into", looking_into),
        ("secrets_are_encrypted_and_keys_rotate", encryption),
        ("keys_rotate_without_a_restart", rotation),
        ("refusals_say_what_to_do", refusals),
        ("relaxed_leases_survive_the_process", relaxed_leases),
        ("fifty_kills_lose_nothing", kills),
        ("wrong_requests_are_refused", bad_input::wrong_requests),
        (
            "clients_that_go_or_do_not_read_cost_little",
            bad_input::clients_that_go_or_do_not_read,
        ),
        (
            "wrong_directories_are_refused",
            bad_input::wrong_directories,
        ),
        ("much_more_than_memory_is_served", bounded::more_than_memory),
        (
            "backups_go_to_a_bucket_and_come_back",
            buckets::there_and_back,
        ),
        ("backups_are_scheduled_into_a_bucket", buckets::scheduled),
    ])
}

fn request(access: &ApiAccess, method: &str, path: &str, body: &str) -> Result<Value> {
    let answer = access.connect()?.request(method, path, body.as_bytes())?;
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status >= 300 {
        bail!("{method} {path} answered {}: {text}", answer.status);
    }
    serde_json::from_str(&text).context("the answer is JSON")
}

fn config_map(name: &str, value: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"v":"{value}"}}}}"#
    )
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn create(access: &ApiAccess, name: &str, value: &str) -> Result<Value> {
    request(access, "POST", MAPS, &config_map(name, value))
}

/// `name=value` of every ConfigMap of the default namespace that a test made, and the list's revision.
fn maps(access: &ApiAccess) -> Result<(Vec<String>, u64)> {
    let list = request(access, "GET", MAPS, "")?;
    let items = list["items"].as_array().context("a list has items")?;
    let told = items.iter().filter_map(|item| {
        let value = item["data"]["v"].as_str()?;
        Some(format!("{}={value}", item["metadata"]["name"].as_str()?))
    });
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("");
    Ok((told.collect(), revision.parse()?))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn expect(what: &str, holds: bool) -> Result<()> {
    match holds {
        true => Ok(()),
        false => bail!("expected: {what}"),
    }
}

fn refused(arguments: &[&str], because: &str) -> Result<()> {
    match run_corten(arguments) {
        Ok(told) => bail!("{arguments:?} was not refused: {told}"),
        Err(error) if error.to_string().contains(because) => Ok(()),
        Err(error) => bail!("{arguments:?} was refused because {error}, not because {because}"),
    }
}

fn backup_and_restore() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| text(&directory.path().join(name));
    let (data, whole, next) = (path("data"), path("whole"), path("next"));
    let server = LoneServer::start(Path::new(&data), &[])?;
    for number in 0..50 {
        create(server.access(), &format!("m{number}"), "1")?;
    }
    let told = run_corten(&["store", "backup", &whole, "--data-dir", &data])?;
    expect(
        "the backup is of everything",
        told.contains(": everything up to revision "),
    )?;
    request(
        server.access(),
        "PUT",
        &format!("{MAPS}/m1"),
        &config_map("m1", "2"),
    )?;
    request(server.access(), "DELETE", &format!("{MAPS}/m2"), "")?;
    create(server.access(), "late", "3")?;
    let told = run_corten(&[
        "store",
        "backup",
        &next,
        "--since",
        &whole,
        "--data-dir",
        &data,
    ])?;
    expect(
        "the second holds only changes",
        told.contains("what changed after revision"),
    )?;
    expect(
        "the second is smaller",
        std::fs::metadata(&next)?.len() < std::fs::metadata(&whole)?.len() / 2,
    )?;
    let (before, revision) = maps(server.access())?;
    create(server.access(), "after-the-backup", "4")?;
    server.stop()?;

    let restored = path("restored");
    run_corten(&["store", "restore", &whole, &next, "--data-dir", &restored])?;
    let verified = run_corten(&["store", "verify", "--data-dir", &restored])?;
    expect(
        "a restored store is whole",
        verified.contains("every record is whole"),
    )?;
    let server = LoneServer::start(Path::new(&restored), &[])?;
    let (after, bumped) = maps(server.access())?;
    expect(
        &format!("{before:?} is restored, not {after:?}"),
        before == after,
    )?;
    expect("no client sees time go back", bumped > revision + 900_000)?;
    create(server.access(), "goes-on", "5")?;
    server.stop()?;

    misfits(directory.path(), &whole, &next)
}

/// What is no whole chain of backups, or has no empty place to go, is refused.
fn misfits(directory: &Path, whole: &str, next: &str) -> Result<()> {
    let path = |name: &str| text(&directory.join(name));
    refused(
        &["store", "restore", whole, "--data-dir", &path("restored")],
        "holds a store already",
    )?;
    refused(
        &["store", "restore", next, "--data-dir", &path("other")],
        "begin with a whole one",
    )?;
    let mut bytes = std::fs::read(whole)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(whole, bytes)?;
    refused(&["store", "verify", whole], "the backup is damaged")
}

fn scheduled_backups() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, backups) = (
        directory.path().join("data"),
        directory.path().join("backups"),
    );
    let flags = [
        "--backup-dir",
        &text(&backups),
        "--backup-interval",
        "1s",
        "--backup-keep",
        "2",
    ];
    let server = LoneServer::start(&data, &flags)?;
    let files = || -> Result<Vec<String>> {
        let found = std::fs::read_dir(&backups)?.flatten();
        let mut names: Vec<String> = found.map(|file| text(&file.path())).collect();
        names.retain(|name| name.ends_with(".backup"));
        names.sort();
        Ok(names)
    };
    let first = eventually("a first backup", || {
        files()?.first().cloned().context("none yet")
    })?;
    let mut number = 0;
    eventually("the first backup gives way to newer ones", || {
        number += 1;
        create(server.access(), &format!("m{number}"), "1")?;
        let found = files()?;
        expect(
            "two newer ones",
            found.len() == 2 && !found.contains(&first),
        )
    })?;
    for file in files()? {
        run_corten(&["store", "verify", &file])?;
    }
    server.stop()
}

fn looking_into() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = text(directory.path());
    let server = LoneServer::start(directory.path(), &[])?;
    create(server.access(), "seen", "inside")?;
    let key = "/registry/configmaps/default/seen";
    let ask = |words: &[&str]| {
        let all: Vec<&str> = ["store"].iter().chain(words).copied().collect();
        run_corten(&[&all[..], &["--data-dir", &data]].concat())
    };
    let look = || -> Result<()> {
        let shown = ask(&["get", key])?;
        expect(
            "the object as YAML",
            shown.contains("v: inside") && shown.contains("kind: ConfigMap"),
        )?;
        let listed = ask(&["list", "/registry/configmaps/default/"])?;
        expect("its key in the list", listed.contains(key))?;
        let stats = ask(&["stats"])?;
        expect(
            "its prefix in the figures",
            stats.contains("/registry/configmaps/"),
        )?;
        refused(
            &["store", "get", "/registry/nothing", "--data-dir", &data],
            "there is no object at",
        )
    };
    look().context("while the cluster runs")?;
    let (_, revision) = maps(server.access())?;
    ask(&["compact"])?;
    let path = format!(
        "{MAPS}?resourceVersion={}&resourceVersionMatch=Exact&limit=1",
        revision - 2
    );
    let gone = server.access().connect()?.request("GET", &path, b"")?;
    expect("what was compacted is gone", gone.status == 410)?;
    server.stop()?;
    look().context("while it is stopped")?;
    ask(&["compact"])?;
    ask(&["downgrade"])?;
    look().context("after compaction and downgrade")?;
    refused(
        &["store", "watch", "--data-dir", &data],
        "nothing changes there",
    )
}

fn configuration(first: &str, second: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers:\n{first}{second}  - identity: {{}}\n"
    )
}

const ONE: &str =
    "  - aesgcm: {keys: [{name: one, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}\n";
const TWO: &str =
    "  - secretbox: {keys: [{name: two, secret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=}]}\n";

fn encryption() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, file) = (
        directory.path().join("data"),
        directory.path().join("config.yaml"),
    );
    let secret = |name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}"}},"stringData":{{"v":"hush-{name}"}}}}"#
        )
    };
    let kept = |name: &str| {
        let key = format!("/registry/secrets/default/{name}");
        run_corten(&["store", "get", "--raw", &key, "--data-dir", &text(&data)])
    };
    let server = LoneServer::start(&data, &[])?;
    request(server.access(), "POST", SECRETS, &secret("plain"))?;
    server.stop()?;
    expect(
        "nothing is encrypted unless asked for",
        kept("plain")?.contains("hush-plain"),
    )?;

    std::fs::write(&file, configuration(ONE, ""))?;
    let flags = ["--encryption-provider-config", &text(&file)];
    let server = LoneServer::start(&data, &flags)?;
    request(server.access(), "POST", SECRETS, &secret("sealed"))?;
    let old = request(server.access(), "GET", &format!("{SECRETS}/plain"), "")?;
    // Written again without a change, as `kubectl replace` of all secrets does.
    request(
        server.access(),
        "PUT",
        &format!("{SECRETS}/plain"),
        &old.to_string(),
    )?;
    server.stop()?;
    for name in ["plain", "sealed"] {
        let kept = kept(name)?;
        let is_sealed = kept.starts_with("k8s:enc:aesgcm:v1:one:") && !kept.contains("hush");
        expect(&format!("{name} is encrypted"), is_sealed)?;
    }

    std::fs::write(&file, configuration(TWO, ONE))?;
    let server = LoneServer::start(&data, &flags)?;
    for name in ["plain", "sealed"] {
        let path = format!("{SECRETS}/{name}");
        let old = request(server.access(), "GET", &path, "")?;
        request(server.access(), "PUT", &path, &old.to_string())?;
    }
    server.stop()?;
    std::fs::write(&file, configuration(TWO, ""))?;
    let server = LoneServer::start(&data, &flags)?;
    let read = request(server.access(), "GET", &format!("{SECRETS}/sealed"), "")?;
    expect(
        "it reads with the new key alone",
        read["data"]["v"] == "aHVzaC1zZWFsZWQ=",
    )?;
    server.stop()?;
    expect(
        "the new key wrote it",
        kept("sealed")?.starts_with("k8s:enc:secretbox:v1:two:"),
    )?;

    wrong_configuration(&data, &file)
}

/// The file changes under the running server: what is written from then on has the new key, what was written before is
/// written again even by a write that says the same, and a file that makes no sense changes nothing.
fn rotation() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (data, file) = (
        directory.path().join("data"),
        directory.path().join("config.yaml"),
    );
    std::fs::write(&file, configuration(ONE, ""))?;
    let flags = [
        "--encryption-provider-config",
        &text(&file),
        "--encryption-provider-config-automatic-reload",
    ];
    let server = LoneServer::start(&data, &flags)?;
    let body =
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"v":"hush"}}"#;
    let mut last = request(server.access(), "POST", SECRETS, body)?;
    let again = |last: &Value| {
        let path = format!("{SECRETS}/s");
        request(server.access(), "PUT", &path, &last.to_string())
    };
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let same = again(&last)?;
    expect(
        "it says the same and is not written",
        version(&same) == version(&last),
    )?;
    std::fs::write(&file, "nonsense")?;
    std::fs::write(&file, configuration(TWO, ONE))?;
    eventually("the new key is used", || {
        let now = again(&last)?;
        let is_written = version(&now) != version(&last);
        last = now;
        expect("it is written again", is_written)
    })?;
    server.stop()?;
    let key = "/registry/secrets/default/s";
    let kept = run_corten(&["store", "get", "--raw", key, "--data-dir", &text(&data)])?;
    expect(
        "the new key wrote it",
        kept.starts_with("k8s:enc:secretbox:v1:two:"),
    )
}

fn wrong_configuration(data: &Path, file: &Path) -> Result<()> {
    let flags = ["--encryption-provider-config", &text(file)];
    std::fs::write(file, configuration("", "").replace("identity", "aescbc"))?;
    let wrong = LoneServer::start(data, &flags)
        .err()
        .context("a wrong configuration was taken")?;
    expect(
        &format!("a wrong configuration is told, not {wrong:#}"),
        wrong.to_string().contains("at least one keys is required"),
    )
}

fn refusals() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let data = text(directory.path());
    refused(
        &["store", "stats", "--data-dir", &data],
        "there is no store in",
    )?;
    refused(
        &["store", "backup", &format!("{data}/b"), "--data-dir", &data],
        "there is no store in",
    )?;
    expect(
        "no half of a backup stays",
        !directory.path().join("b.part").exists(),
    )?;
    let server = LoneServer::start(directory.path(), &[])?;
    refused(
        &["store", "restore", "x", "--data-dir", &data],
        "stop it with 'corten down' first",
    )?;
    refused(
        &["store", "downgrade", "--data-dir", &data],
        "is in use by process",
    )?;
    server.stop()
}

fn relaxed_leases() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let body = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"}}"#;
    let flags = ["--lease-durability", "relaxed"];
    let mut server = LoneServer::start(directory.path(), &flags)?;
    let made = request(server.access(), "POST", leases, body)?;
    server.kill()?;
    let server = LoneServer::start(directory.path(), &flags)?;
    let found = request(server.access(), "GET", &format!("{leases}/l"), "")?;
    expect(
        "the same lease",
        found["metadata"]["uid"] == made["metadata"]["uid"],
    )?;
    let (_, revision) = maps(server.access())?;
    let seen: u64 = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("")
        .parse()?;
    expect(
        "revisions that a power cut may take back are not given again",
        revision >= seen + 10_000,
    )?;
    server.stop()
}

fn kills() -> Result<()> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_corten-soak"))
        .args(["crash", "--rounds", "50"])
        .env("CORTEN_BIN", corten_tests::corten()?)
        .output()
        .context("running corten-soak")?;
    match output.status.success() {
        true => Ok(()),
        false => bail!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}
