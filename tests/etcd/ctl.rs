//! etcd's own command line client against `corten store serve`.

use crate::process::Killed;
use crate::serve::start;
use anyhow::{Context, Result, ensure};
use corten_tests::program;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// etcdctl, told where the server is.
struct Ctl {
    url: String,
}

impl Ctl {
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("etcdctl")?);
        command
            .arg(format!("--endpoints={}", self.url))
            .args(arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }

    fn with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = self.command(arguments)?.stdin(Stdio::piped()).spawn()?;
        child
            .stdin
            .take()
            .context("no stdin")?
            .write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "etcdctl {arguments:?}: {complaint}"
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a line.
    fn run(&self, line: &str) -> Result<String> {
        self.with(&line.split_whitespace().collect::<Vec<_>>(), "")
    }

    fn json(&self, line: &str) -> Result<Value> {
        let text = self.run(&format!("{line} -w json"))?;
        serde_json::from_str(&text).with_context(|| format!("{line} says {text:?}"))
    }

    fn is(&self, line: &str, wanted: &str) -> Result<()> {
        let said = self.run(line)?;
        ensure!(
            said.trim() == wanted,
            "etcdctl {line} says {said:?}, not {wanted:?}"
        );
        Ok(())
    }

    fn refused(&self, line: &str, why: &str) -> Result<()> {
        let output = self
            .command(&line.split_whitespace().collect::<Vec<_>>())?
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            !output.status.success() && complaint.contains(why),
            "etcdctl {line} says {complaint:?}, not {why:?}"
        );
        Ok(())
    }
}

pub fn etcdctl_is_answered() -> Result<()> {
    let data = TempDir::new()?;
    let (_server, url) = start(data.path(), "http", &[])?;
    let ctl = Ctl { url };
    keys(&ctl)?;
    transactions(&ctl)?;
    watches(&ctl)?;
    leases(&ctl)?;
    history(&ctl)?;
    maintenance(&ctl, data.path())
}

fn keys(ctl: &Ctl) -> Result<()> {
    ctl.is("put a 1", "OK")?;
    ctl.is("put b 2", "OK")?;
    ctl.is("put b/c 3", "OK")?;
    ctl.is("get a", "a\n1")?;
    ctl.is("get --prefix b --keys-only", "b\n\nb/c")?;
    ctl.is("get a c --print-value-only", "1\n2\n3")?;
    ctl.is(
        "get --prefix --limit=1 --order=DESCEND --sort-by=MODIFY b",
        "b/c\n3",
    )?;
    ctl.is("put --prev-kv a 4", "OK\na\n1")?;
    ctl.is("get a --rev=2", "a\n1")?;
    ctl.is("del --prev-kv a", "1\na\n4")?;
    ctl.is("del --prefix b", "2")?;
    ctl.is("get --from-key a", "")?;
    Ok(())
}

fn transactions(ctl: &Ctl) -> Result<()> {
    ctl.is("put t 1", "OK")?;
    let yes = ctl.with(
        &["txn"],
        "value(\"t\") = \"1\"\nmod(\"none\") = \"0\"\n\nput t 2\nget t\n\nput t wrong\n\n",
    )?;
    let words: Vec<&str> = yes.split_whitespace().collect();
    ensure!(words == ["SUCCESS", "OK", "t", "2"], "txn says {words:?}");
    let no = ctl.with(&["txn"], "version(\"t\") > \"7\"\n\ndel t\n\nget t\n\n")?;
    let words: Vec<&str> = no.split_whitespace().collect();
    ensure!(words == ["FAILURE", "t", "2"], "txn says {words:?}");
    Ok(())
}

fn watches(ctl: &Ctl) -> Result<()> {
    let made = ctl.json("put w 1")?;
    let revision = made["header"]["revision"].as_i64().context("no revision")?;
    let from = format!("--rev={revision}");
    let mut child = ctl.command(&["watch", "w", &from, "--prev-kv"])?.spawn()?;
    let said = child.stdout.take().context("no stdout")?;
    let _watch = Killed(child);
    let mut lines = BufReader::new(said).lines();
    let mut next = |count: usize| -> Result<Vec<String>> {
        (0..count)
            .map(|_| Ok(lines.next().context("the watch ended")??))
            .collect()
    };
    let first = next(3)?;
    ensure!(first == ["PUT", "w", "1"], "{first:?}");
    ctl.run("put w 2")?;
    ctl.run("del w")?;
    let changed = next(5)?;
    ensure!(changed == ["PUT", "w", "1", "w", "2"], "{changed:?}");
    let deleted = next(4)?;
    ensure!(deleted[..3] == ["DELETE", "w", "2"], "{deleted:?}");
    Ok(())
}

fn leases(ctl: &Ctl) -> Result<()> {
    let granted = ctl.json("lease grant 600")?;
    let id = format!("{:016x}", granted["ID"].as_i64().context("no lease")?);
    ctl.is(&format!("put --lease={id} l 1"), "OK")?;
    let left = ctl.run(&format!("lease timetolive --keys {id}"))?;
    ensure!(
        left.contains("granted with TTL(600s)") && left.contains("attached keys([l])"),
        "{left:?}"
    );
    let alive = ctl.run(&format!("lease keep-alive --once {id}"))?;
    ensure!(alive.contains("keepalived with TTL(600)"), "{alive:?}");
    ensure!(ctl.run("lease list")?.contains(&id));
    ctl.is(
        &format!("lease revoke {id}"),
        &format!("lease {id} revoked"),
    )?;
    ctl.is("get l", "")?;
    ctl.refused(
        &format!("put --lease={id} l 1"),
        "requested lease not found",
    )
}

fn history(ctl: &Ctl) -> Result<()> {
    ctl.run("put h 1")?;
    let now = ctl.json("put h 2")?;
    let revision = now["header"]["revision"].as_i64().context("no revision")?;
    ctl.is(
        &format!("compaction {revision}"),
        &format!("compacted revision {revision}"),
    )?;
    let before = revision - 1;
    ctl.refused(
        &format!("get h --rev={before}"),
        "required revision has been compacted",
    )?;
    ctl.refused(&format!("compaction {before}"), "has been compacted")?;
    ctl.is(&format!("get h --rev={revision}"), "h\n2")?;
    ctl.refused("get h --rev=999999", "future revision")
}

fn maintenance(ctl: &Ctl, data: &Path) -> Result<()> {
    let status = ctl.json("endpoint status")?;
    let status = &status[0]["Status"];
    ensure!(
        status["version"].is_string() && status["leader"] == status["header"]["member_id"],
        "endpoint status says {status}"
    );
    ctl.json("endpoint health")?;
    let hash = |line: &str| -> Result<Value> { Ok(ctl.json(line)?[0]["HashKV"].clone()) };
    let (first, second) = (hash("endpoint hashkv")?, hash("endpoint hashkv")?);
    ensure!(
        first["hash"].is_u64() && first["hash"] == second["hash"],
        "{first} {second}"
    );
    ctl.run("put x 1")?;
    ensure!(
        hash("endpoint hashkv")?["hash"] != first["hash"],
        "a write changed no hash"
    );
    let members = ctl.json("member list")?;
    let members = members["members"].as_array().context("no members")?;
    ensure!(
        members.len() == 1 && members[0]["clientURLs"].is_array(),
        "{members:?}"
    );
    ctl.is("alarm list", "")?;
    ctl.run("defrag")?;
    let file = data.join("saved");
    let saved = ctl.run(&format!("snapshot save {}", file.display()))?;
    ensure!(saved.contains("Snapshot saved at"), "{saved:?}");
    restored(&file)
}

/// What was saved is a store: without the checksum at its end, under the name of a first log.
fn restored(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let directory = TempDir::new()?;
    let log = bytes
        .get(..bytes.len() - 32)
        .context("it has no checksum")?;
    std::fs::write(directory.path().join("00000001-00000001.log"), log)?;
    let (_server, url) = start(directory.path(), "http", &[])?;
    let ctl = Ctl { url };
    ctl.is("get x", "x\n1")?;
    ctl.is("get h", "h\n2")
}
