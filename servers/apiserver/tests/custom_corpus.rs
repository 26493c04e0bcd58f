//! Definitions and custom resources, good and bad, as upstream answered the same requests: `custom_corpus/steps.jsonl`
//! holds one request a line with the code, the causes of a refusal, and what became of the object.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;
use support::Cluster;

/// `kubectl proxy`, which makes plain HTTP of the server's.
struct Proxy {
    child: Child,
    address: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    code: u64,
    warning: String,
    body: Value,
}

impl Proxy {
    fn start(cluster: &Cluster) -> Proxy {
        let mut child = cluster
            .command(&["proxy", "--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Proxy { child, address }
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let warning = head
            .lines()
            .filter_map(|l| l.split_once(": "))
            .filter(|(name, _)| name.eq_ignore_ascii_case("warning"))
            .map(|(_, text)| text.to_owned())
            .next();
        Answer {
            code,
            warning: warning.unwrap_or_default(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }
}

fn causes(status: &Value) -> Vec<String> {
    let list = status["details"]["causes"].as_array();
    let mut all: Vec<String> = list
        .into_iter()
        .flatten()
        .map(|c| {
            let text = |name: &str| c[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("field"), text("message"))
        })
        .collect();
    all.sort();
    // A cause that upstream says twice is said once here.
    all.dedup();
    all
}

/// What is different from what upstream answered.
fn differences(step: &Value, answer: &Answer) -> Vec<String> {
    let mut all = Vec::new();
    let mut expect = |what: &str, wanted: String, found: String| {
        if wanted != found {
            all.push(format!("{what}: wanted {wanted}\n    found {found}"));
        }
    };
    expect("code", step["code"].to_string(), answer.code.to_string());
    let wanted = step["warning"].as_str().unwrap_or_default();
    expect("warning", wanted.to_owned(), answer.warning.clone());
    if let Some(wanted) = step["causes"].as_array() {
        let wanted: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
        expect(
            "causes",
            wanted.join("\n      "),
            causes(&answer.body).join("\n      "),
        );
    }
    for name in ["message", "spec", "status"] {
        if !step[name].is_null() {
            expect(name, step[name].to_string(), answer.body[name].to_string());
        }
    }
    all
}

#[test]
fn definitions_and_resources_are_answered_as_upstream_does() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(&cluster);
    let (mut wrong, mut count, mut plural) = (Vec::new(), 0, String::new());
    for line in include_str!("custom_corpus/steps.jsonl").lines() {
        let step: Value = serde_json::from_str(line).unwrap();
        let name = step["step"].as_str().unwrap();
        let path = step["path"].as_str().unwrap();
        let mut body = step["body"].clone();
        if name == "crd-stricter" {
            let current = proxy.send("GET", path, &Value::Null).body;
            let spec = body["spec"].take();
            body = current;
            body["spec"] = spec;
        }
        let answer = proxy.send(step["method"].as_str().unwrap(), path, &body);
        count += 1;
        for difference in differences(&step, &answer) {
            wrong.push(format!("{name}: {difference}"));
        }
        if name == "crd-good" {
            plural = body["spec"]["names"]["plural"].as_str().unwrap().to_owned();
            let served = format!("/apis/e.io/v1/namespaces/default/{plural}");
            let fine = (0..1000).any(|_| proxy.send("GET", &served, &Value::Null).code == 200);
            assert!(fine, "{plural} are not served");
        }
    }
    assert!(count >= 130 && !plural.is_empty());
    assert!(
        wrong.is_empty(),
        "{} differences in {count} answers:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
