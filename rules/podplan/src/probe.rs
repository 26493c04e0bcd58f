//! The state machine of probes: when the next one is due, and what a row of results means.
//!
//! Invariant: liveness and readiness wait for the startup probe; a container that failed its liveness or startup probe
//! is not probed again before it was restarted.

use crate::Moment;
use corten_api::core::v1::{Container, Probe};

/// Which of a container's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// startupProbe.
    Startup,
    /// livenessProbe.
    Liveness,
    /// readinessProbe.
    Readiness,
}

impl ProbeKind {
    /// As events call it: `Readiness`.
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// What a probe said.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeResult {
    /// All is well.
    Success,
    /// It is not, for this reason.
    Failure(String),
    /// It could not be carried out.
    Error(String),
}

/// One probe of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeState {
    /// The verdict so far; nothing before the first one.
    pub verdict: Option<bool>,
    /// The last result, and how often it came in a row.
    streak: (bool, i32),
    /// When it last began.
    began: Option<Moment>,
    /// One is under way.
    busy: bool,
    /// It shall be repeated as soon as possible.
    at_once: bool,
}

/// The probes of one container, in its current instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probes {
    /// startupProbe.
    pub startup: Option<ProbeState>,
    /// livenessProbe.
    pub liveness: Option<ProbeState>,
    /// readinessProbe.
    pub readiness: Option<ProbeState>,
}

/// The probe of a kind in a spec.
pub(crate) fn spec_of(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_deref(),
        ProbeKind::Liveness => container.liveness_probe.as_deref(),
        ProbeKind::Readiness => container.readiness_probe.as_deref(),
    }
}

pub(crate) const KINDS: [ProbeKind; 3] = [
    ProbeKind::Startup,
    ProbeKind::Liveness,
    ProbeKind::Readiness,
];

fn at_least_one(value: i32) -> i32 {
    value.max(1)
}

impl Probes {
    /// Takes over which probes a container has.
    pub(crate) fn follow(&mut self, container: std::borrow::Cow<'_, Container>) {
        for kind in KINDS {
            let wanted = spec_of(&container, kind).is_some();
            let slot = self.slot(kind);
            match (wanted, slot.is_some()) {
                (true, false) => *slot = Some(ProbeState::default()),
                (false, true) => *slot = None,
                _ => {}
            }
        }
    }

    /// Forgets all results: the instance is a new one.
    pub(crate) fn reset(&mut self) {
        for kind in KINDS {
            if let Some(state) = self.slot(kind) {
                *state = ProbeState::default();
            }
        }
    }

    /// Takes over what the API said before this agent was started: a container that was ready stays so until it is
    /// probed.
    pub(crate) fn adopt(&mut self, started: bool, ready: bool) {
        if started && let Some(state) = &mut self.startup {
            state.verdict = Some(true);
        }
        if ready && let Some(state) = &mut self.readiness {
            state.verdict = Some(true);
        }
    }

    fn slot(&mut self, kind: ProbeKind) -> &mut Option<ProbeState> {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }

    /// The state of one probe.
    pub fn state(&self, kind: ProbeKind) -> Option<&ProbeState> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// Whether a running container counts as started.
    pub fn started(&self) -> bool {
        self.startup
            .as_ref()
            .is_none_or(|state| state.verdict == Some(true))
    }

    /// Whether a started container counts as ready.
    pub fn ready(&self) -> bool {
        self.readiness
            .as_ref()
            .is_none_or(|state| state.verdict == Some(true))
    }

    /// The probe because of which the container has to be killed.
    pub(crate) fn fatal(&self) -> Option<ProbeKind> {
        [ProbeKind::Liveness, ProbeKind::Startup]
            .into_iter()
            .find(|kind| {
                self.state(*kind)
                    .is_some_and(|state| state.verdict == Some(false))
            })
    }

    /// When the probe `kind` of a container running since `since` is due; nothing when it does not run now.
    pub(crate) fn due(&self, kind: ProbeKind, spec: &Probe, since: Moment) -> Option<Moment> {
        let state = self.state(kind)?;
        let held = kind != ProbeKind::Readiness && state.verdict == Some(false);
        let gated = match kind {
            ProbeKind::Startup => self.started(),
            _ => !self.started(),
        };
        if state.busy || held || gated {
            return None;
        }
        let first = since.plus_seconds(i64::from(spec.initial_delay_seconds));
        match state.began {
            Some(_) if state.at_once => Some(first),
            Some(began) => {
                Some(first.max(began.plus_seconds(i64::from(at_least_one(spec.period_seconds)))))
            }
            None => Some(first),
        }
    }

    pub(crate) fn begin(&mut self, kind: ProbeKind, now: Moment) {
        if let Some(state) = self.slot(kind) {
            (state.busy, state.began, state.at_once) = (true, Some(now), false);
        }
    }

    /// Takes a result in.
    pub(crate) fn record(&mut self, kind: ProbeKind, spec: &Probe, success: bool) {
        let Some(state) = self.slot(kind) else { return };
        state.busy = false;
        let (last, times) = state.streak;
        let times = if last == success { times + 1 } else { 1 };
        state.streak = (success, times);
        let threshold = if success {
            spec.success_threshold
        } else {
            spec.failure_threshold
        };
        if times < at_least_one(threshold) {
            return;
        }
        state.verdict = Some(success);
        if kind == ProbeKind::Startup
            && success
            && let Some(readiness) = &mut self.readiness
        {
            readiness.at_once = true;
        }
    }
}
