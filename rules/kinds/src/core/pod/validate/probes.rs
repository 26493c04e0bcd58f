//! Probes and lifecycle handlers.

use crate::checks::{self, Errors, invalid_each, not_negative, required};
use crate::error::FieldError;
use crate::names;
use corten_api::core::v1::{
    ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, PodOS, Probe, ProbeHandler,
    SleepAction, TCPSocketAction,
};
use corten_core::Path;

/// Which probe it is: they differ in what they may set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Liveness,
    Readiness,
    Startup,
}

pub(super) fn probe(errors: &mut Errors, path: &Path, probe: &Probe, role: Role) {
    probe_handler(errors, path, &probe.probe_handler);
    for (name, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        not_negative(errors, &path.f(name), i64::from(value));
    }
    let grace = path.f("terminationGracePeriodSeconds");
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|s| *s <= 0) {
        errors.push(FieldError::invalid(
            &grace,
            seconds,
            "must be greater than 0",
        ));
    }
    if role == Role::Readiness {
        if let Some(seconds) = probe.termination_grace_period_seconds {
            errors.push(FieldError::invalid(
                &grace,
                seconds,
                "must not be set for readinessProbes",
            ));
        }
    } else if probe.success_threshold != 1 {
        errors.push(FieldError::invalid(
            path.f("successThreshold"),
            probe.success_threshold,
            "must be 1",
        ));
    }
}

/// Counts handlers: each after the first is forbidden.
struct One<'a, 'b> {
    errors: &'a mut Errors,
    path: &'a Path<'b>,
    count: usize,
}

impl One<'_, '_> {
    fn add(&mut self, key: &str, check: impl FnOnce(&mut Errors, &Path)) {
        self.count += 1;
        let at = self.path.f(key);
        if self.count > 1 {
            self.errors.push(FieldError::forbidden(
                &at,
                "may not specify more than 1 handler type",
            ));
        } else {
            check(self.errors, &at);
        }
    }
    fn finish(self) {
        if self.count == 0 {
            self.errors.push(FieldError::required(
                self.path,
                "must specify a handler type",
            ));
        }
    }
}

fn probe_handler(errors: &mut Errors, path: &Path, handler: &ProbeHandler) {
    let mut one = One {
        errors,
        path,
        count: 0,
    };
    if let Some(exec) = &handler.exec {
        one.add("exec", |e, p| exec_action(e, p, exec));
    }
    if let Some(http) = &handler.http_get {
        one.add("httpGet", |e, p| http_get(e, p, http));
    }
    if let Some(tcp) = &handler.tcp_socket {
        one.add("tcpSocket", |e, p| tcp_socket(e, p, tcp));
    }
    if let Some(grpc) = &handler.grpc {
        one.add("grpc", |e, p| {
            checks::port_number(e, &p.f("port"), i64::from(grpc.port))
        });
    }
    one.finish();
}

fn lifecycle_handler(
    errors: &mut Errors,
    path: &Path,
    handler: &LifecycleHandler,
    grace: Option<i64>,
) {
    let mut one = One {
        errors,
        path,
        count: 0,
    };
    if let Some(exec) = &handler.exec {
        one.add("exec", |e, p| exec_action(e, p, exec));
    }
    if let Some(http) = &handler.http_get {
        one.add("httpGet", |e, p| http_get(e, p, http));
    }
    if let Some(tcp) = &handler.tcp_socket {
        one.add("tcpSocket", |e, p| tcp_socket(e, p, tcp));
    }
    if let Some(sleep) = &handler.sleep {
        one.add("sleep", |e, p| sleep_action(e, p, sleep, grace));
    }
    one.finish();
}

fn exec_action(errors: &mut Errors, path: &Path, exec: &ExecAction) {
    if exec.command.is_empty() {
        errors.push(FieldError::required(path.f("command"), ""));
    }
}

fn http_get(errors: &mut Errors, path: &Path, http: &HTTPGetAction) {
    required(errors, &path.f("path"), &http.path);
    checks::port(errors, &path.f("port"), &http.port);
    checks::known(errors, &path.f("scheme"), &http.scheme, &["HTTP", "HTTPS"]);
    for header in http.http_headers.iter() {
        invalid_each(
            errors,
            &path.f("httpHeaders"),
            &header.name,
            names::header_name(&header.name),
        );
    }
}

fn tcp_socket(errors: &mut Errors, path: &Path, tcp: &TCPSocketAction) {
    checks::port(errors, &path.f("port"), &tcp.port);
}

fn sleep_action(errors: &mut Errors, path: &Path, sleep: &SleepAction, grace: Option<i64>) {
    if let Some(grace) = grace.filter(|g| sleep.seconds < 0 || sleep.seconds > *g) {
        let text =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(path, sleep.seconds, text));
    }
}

pub(super) fn lifecycle(
    errors: &mut Errors,
    path: &Path,
    lifecycle: &Lifecycle,
    grace: Option<i64>,
    os: Option<&PodOS>,
) {
    if let Some(handler) = &lifecycle.post_start {
        lifecycle_handler(errors, &path.f("postStart"), handler, grace);
    }
    if let Some(handler) = &lifecycle.pre_stop {
        lifecycle_handler(errors, &path.f("preStop"), handler, grace);
    }
    if let Some(signal) = &lifecycle.stop_signal {
        let at = path.f("stopSignal");
        match os.map(|os| os.name.as_str()) {
            None => {
                let text = "may not be set for containers with empty `spec.os.name`";
                errors.push(FieldError::forbidden(&at, text));
            }
            Some("windows") => checks::known(errors, &at, signal, &["SIGKILL", "SIGTERM"]),
            Some("linux") => {
                let all = signals();
                if !all.iter().any(|s| signal == s) {
                    errors.push(FieldError::not_supported(&at, signal, &all));
                }
            }
            Some(_) => {}
        }
    }
}

/// Names of signals, sorted.
fn signals() -> Vec<String> {
    let plain = "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL SIGPIPE \
                 SIGPOLL SIGPROF SIGPWR SIGQUIT SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU \
                 SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIGRTMIN SIGRTMAX";
    let mut all: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
    all.extend((1..=15).map(|i| format!("SIGRTMIN+{i}")));
    all.extend((1..=14).map(|i| format!("SIGRTMAX-{i}")));
    all.sort();
    all
}
