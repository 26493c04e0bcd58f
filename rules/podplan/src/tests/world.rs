//! A node that does what plans say, as a script tells it to, and writes down what it did.

use crate::{
    Action, Change, Exit, Input, Instance, Life, Moment, Note, Observed, Plan, ProbeKind,
    ProbeResult, Resized, Target, Verdict, plan,
};
use corten_api::Object;
use corten_api::core::v1::{ContainerStatus, Pod, PodStatus};
use corten_core::{Quantity, Str};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

const START: i64 = 1_767_225_600_000;

pub(super) struct World {
    observed: Observed,
    now: Moment,
    out: String,
    shown: String,
    made: u32,
    /// What the next probes of `container kind` say; success without an entry.
    probes: BTreeMap<String, ProbeResult>,
    /// Containers whose processes ignore signals until they are killed.
    stubborn: Vec<String>,
    /// Containers that cannot be started, with reason.
    broken: BTreeMap<String, String>,
    missing_images: Vec<String>,
    /// Whether the node grants resizes.
    room: bool,
    /// Whether no memory limit can be lowered.
    used: bool,
    kills: BTreeMap<Str, Moment>,
    finished: bool,
}

fn decode(spec: &str) -> Pod {
    let value = corten_codec::yaml::decode_value(spec.as_bytes()).unwrap();
    let mut full = corten_core::Value::map();
    full.set(&["apiVersion"], "v1");
    full.set(&["kind"], "Pod");
    full.set(&["spec"], value);
    let object = Object::from_value(&full).unwrap();
    let mut pod = object.downcast_ref::<Pod>().unwrap().clone();
    pod.metadata.name = "p".into();
    pod.metadata.namespace = "d".into();
    pod.metadata.uid = "u".into();
    pod.metadata.generation = 1;
    if pod.spec.restart_policy.is_empty() {
        pod.spec.restart_policy = "Always".into();
    }
    pod
}

/// Lives a pod through and gives its trace.
pub(super) fn live(spec: &str, script: &str) -> String {
    let pod = Arc::new(decode(spec));
    let mut world = World {
        observed: Observed::new(pod, vec!["10.0.0.1".into()]),
        now: Moment(START),
        out: String::new(),
        shown: String::new(),
        made: 0,
        probes: BTreeMap::new(),
        stubborn: Vec::new(),
        broken: BTreeMap::new(),
        missing_images: Vec::new(),
        room: true,
        used: false,
        kills: BTreeMap::new(),
        finished: false,
    };
    let (before, after): (Vec<&str>, Vec<&str>) = script
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .partition(|l| l.starts_with("given"));
    before
        .iter()
        .for_each(|line| world.command(line.trim_start_matches("given ")));
    world.settle();
    for line in after {
        let _ = writeln!(world.out, "> {line}");
        world.command(line);
        world.settle();
    }
    world.out
}

impl World {
    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["wait", seconds] => self.wait(seconds.parse().unwrap()),
            ["exit", name, code] => self.exit(name, code.parse().unwrap()),
            ["probe", name, kind, "ok"] => {
                self.probes.remove(&format!("{name} {kind}"));
            }
            ["probe", name, kind, text] => {
                self.probes.insert(
                    format!("{name} {kind}"),
                    ProbeResult::Failure((*text).to_owned()),
                );
            }
            ["stubborn", name] => self.stubborn.push((*name).to_owned()),
            ["broken", name, reason] => {
                self.broken.insert((*name).to_owned(), (*reason).to_owned());
            }
            ["mended"] => {
                self.broken.clear();
                self.missing_images.clear();
                self.apply(Input::Retry);
            }
            ["noimage", name] => self.missing_images.push((*name).to_owned()),
            ["delete", grace] => {
                let mut pod = (*self.observed.pod).clone();
                pod.metadata.deletion_timestamp = Some(self.now.time());
                pod.metadata.deletion_grace_period_seconds = Some(grace.parse().unwrap());
                self.apply(Input::Pod(Arc::new(pod)));
            }
            ["resize", name, side, resource, amount] => self.resize(name, side, resource, amount),
            ["no", "room"] => self.room = false,
            ["room"] => {
                self.room = true;
                self.judge();
            }
            ["memory", "is", "used"] => self.used = true,
            ["memory", "is", "free"] => self.used = false,
            ["sandbox", "dies"] => {
                let names: Vec<Str> = self.observed.containers.keys().cloned().collect();
                for name in names {
                    if self
                        .observed
                        .seen(&name)
                        .is_some_and(|s| s.running().is_some())
                    {
                        self.exit(&name, 255);
                    }
                }
                let id = self.observed.sandbox.id.clone();
                self.apply(Input::SandboxDied(id));
            }
            other => panic!("no such command: {other:?}"),
        }
    }

    fn apply(&mut self, input: Input) {
        let notes = self.observed.apply(input, self.now);
        notes.iter().for_each(|note| self.note(note));
    }

    fn note(&mut self, note: &Note) {
        let _ = writeln!(
            self.out,
            "  {:?} {}: {}",
            note.kind, note.reason, note.message
        );
    }

    fn resize(&mut self, name: &str, side: &str, resource: &str, amount: &str) {
        let mut pod = (*self.observed.desired).clone();
        pod.metadata.generation += 1;
        let amount = Quantity::parse(amount).unwrap();
        for container in pod.spec.containers.iter_mut().filter(|c| c.name == *name) {
            let resources = &mut container.resources;
            let map = match side {
                "limits" => &mut resources.limits,
                _ => &mut resources.requests,
            };
            map.insert(resource, amount.clone());
        }
        self.apply(Input::Pod(Arc::new(pod)));
        self.judge();
    }

    fn judge(&mut self) {
        let pod = self.observed.desired.clone();
        let verdict = match self.room {
            _ if self.observed.allocation.covers(&pod.spec) => Verdict::Settled,
            true => Verdict::Granted(pod),
            false => Verdict::Deferred(pod, "OutOfcpu".into(), "no room".to_owned()),
        };
        self.apply(Input::Judged(verdict));
    }

    fn write_limits(&mut self, changes: Vec<Change>, lowered: &[(Target, i64)]) {
        let mut result = Resized::default();
        if self.used && !lowered.is_empty() {
            result.error = Some(format!("{} limits below what is used", lowered.len()));
        } else {
            for Change {
                target,
                knob,
                sizes,
            } in &changes
            {
                let _ = writeln!(self.out, "  write {target:?} {knob:?} {sizes:?}");
            }
            result.done = changes;
        }
        self.apply(Input::Resized(result));
    }

    fn exit(&mut self, name: &str, code: i32) {
        let current = self.observed.seen(name).and_then(|s| s.current.clone());
        let Some(mut instance) = current.filter(|c| matches!(c.life, Life::Running(_))) else {
            return;
        };
        let Life::Running(since) = instance.life else {
            return;
        };
        self.kills.remove(name);
        instance.life = Life::Exited(Exit {
            id: instance.id.clone(),
            code,
            reason: if code == 0 { "Completed" } else { "Error" }.into(),
            started: Some(since),
            finished: self.now,
            ..Exit::default()
        });
        self.apply(Input::Instance(name.into(), instance));
    }

    fn wait(&mut self, seconds: i64) {
        let end = self.now.plus_seconds(seconds);
        for _ in 0..1000 {
            let plan = self.settle();
            let kill = self.kills.values().min().copied();
            let next = [plan.wake_at, kill].into_iter().flatten().min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => break,
            }
            let due: Vec<Str> = self
                .kills
                .iter()
                .filter(|(_, at)| **at <= self.now)
                .map(|(n, _)| n.clone())
                .collect();
            due.iter().for_each(|name| self.exit(name, 137));
        }
        self.now = end;
    }

    /// Does what is planned until nothing is.
    fn settle(&mut self) -> Plan {
        for _ in 0..100 {
            let plan = plan(&self.observed, self.now);
            self.observed.settle(&plan, self.now);
            self.show(&plan.report);
            if plan.finished && !self.finished {
                self.finished = true;
                self.out.push_str("  finished\n");
            }
            if plan.actions.is_empty() {
                return plan;
            }
            for action in &plan.actions {
                self.observed.begin(action, self.now);
            }
            for action in plan.actions {
                self.carry_out(action);
            }
        }
        panic!("the plan does not come to rest:\n{}", self.out);
    }

    fn carry_out(&mut self, action: Action) {
        let mut line = |text: String| {
            let _ = writeln!(self.out, "  {text}");
        };
        match action {
            Action::MountVolumes => self.apply(Input::Volumes(Ok(()))),
            Action::CreateSandbox { attempt } => {
                line(format!("sandbox {attempt}"));
                let id = format!("s{attempt}");
                self.apply(Input::Sandbox(Ok((id.into(), vec!["10.1.0.2".into()]))));
            }
            Action::Pull { container } => {
                let lost = self.missing_images.iter().any(|name| container == *name);
                let refused = || ("ErrImagePull".into(), "not there".to_owned());
                self.apply(Input::Image(
                    container,
                    if lost { Err(refused()) } else { Ok(()) },
                ));
            }
            Action::Start { container, attempt } => self.start(container, attempt),
            Action::PreStop {
                container, note, ..
            } => {
                line(format!("preStop {container}"));
                self.note(&note);
                self.apply(Input::HookDone(container));
            }
            Action::Stop {
                container,
                grace,
                note,
                ..
            } => {
                line(format!("stop {container} within {}s", grace / 1000));
                if let Some(note) = note {
                    self.note(&note);
                }
                match self.stubborn.iter().any(|name| container == *name) {
                    true => {
                        self.kills.insert(container, Moment(self.now.0 + grace));
                    }
                    false => self.exit(&container, 143),
                }
            }
            Action::Probe {
                container,
                id,
                kind,
            } => self.probe(container, id, kind),
            Action::Tell { note, .. } => self.note(&note),
            Action::Restart { container } => line(format!("restart {container}")),
            Action::Resize { changes, lowered } => self.write_limits(changes, &lowered),
            Action::FinishResize { note } => self.note(&note),
            Action::Release => {
                line("release".to_owned());
                self.apply(Input::Released(Ok(())));
            }
            Action::Clean => {
                line("clean".to_owned());
                self.apply(Input::Cleaned(Ok(())));
            }
            Action::Delete => {
                line("delete".to_owned());
                self.apply(Input::Deleted(Ok(())));
                self.apply(Input::Removed);
            }
        }
    }

    fn start(&mut self, name: Str, attempt: u32) {
        let _ = writeln!(self.out, "  start {name} {attempt}");
        if let Some(reason) = self.broken.get(name.as_str()).cloned() {
            self.apply(Input::Started(
                name,
                Err((reason.into(), "it is broken".to_owned())),
            ));
            return;
        }
        self.made += 1;
        let instance = Instance {
            id: format!("c{}", self.made).into(),
            sandbox: self.observed.sandbox.id.clone(),
            attempt,
            life: Life::Running(self.now),
            ..Instance::default()
        };
        self.apply(Input::Instance(name.clone(), instance));
        self.apply(Input::Started(name, Ok(())));
    }

    fn probe(&mut self, name: Str, id: Str, kind: ProbeKind) {
        let key = format!("{name} {}", kind.name().to_lowercase());
        let result = self
            .probes
            .get(&key)
            .cloned()
            .unwrap_or(ProbeResult::Success);
        self.apply(Input::Probed(name, id, kind, result));
    }

    /// Writes the status down if it reads differently from the last time.
    fn show(&mut self, status: &PodStatus) {
        let mut text = status.phase.to_string();
        let held = status
            .conditions
            .iter()
            .filter(|c| c.status == "True" && c.type_ != "PodScheduled");
        let names: Vec<String> = held
            .map(|c| match c.type_.starts_with("PodResize") {
                true => format!("{}={}@{}", c.type_, c.reason, c.observed_generation),
                false => c.type_.to_string(),
            })
            .collect();
        let _ = write!(text, " [{}]", names.join(" "));
        for part in [&status.reason, &status.message] {
            if !part.is_empty() {
                let _ = write!(text, " {part:?}");
            }
        }
        for one in status
            .init_container_statuses
            .iter()
            .chain(status.container_statuses.iter())
        {
            let _ = write!(text, "; {}", container(one));
        }
        if text != self.shown {
            let seconds = self.now.millis_since(Moment(START)) / 1000;
            let _ = writeln!(self.out, "{seconds}s {text}");
            self.shown = text;
        }
    }
}

fn container(status: &ContainerStatus) -> String {
    let mut text = status.name.to_string();
    let state = &status.state;
    if state.running.is_some() {
        text.push_str(" runs");
    }
    if let Some(waiting) = &state.waiting {
        let _ = write!(text, " {}", waiting.reason);
        if !waiting.message.is_empty() {
            let _ = write!(text, " {:?}", waiting.message.as_str());
        }
    }
    if let Some(ended) = &state.terminated {
        let _ = write!(text, " {} {}", ended.reason, ended.exit_code);
    }
    if let Some(last) = &status.last_termination_state.terminated {
        let _ = write!(text, " (last {} {})", last.reason, last.exit_code);
    }
    if status.restart_count > 0 {
        let _ = write!(text, " x{}", status.restart_count);
    }
    if status.ready {
        text.push_str(" ready");
    }
    let resources = status.resources.as_deref().cloned().unwrap_or_default();
    for (what, map) in [
        ("requests", &resources.requests),
        ("limits", &resources.limits),
    ] {
        if !map.is_empty() {
            let all: Vec<String> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let _ = write!(text, " {what} {}", all.join(","));
        }
    }
    text
}
