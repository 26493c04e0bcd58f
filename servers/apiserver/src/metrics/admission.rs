//! What admission counts.

use std::time::Duration;

use super::Metrics;
use super::text::Labels;

/// Upstream's codes end there.
const CODE_MAX: u16 = 600;

/// A part of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It may change the object.
    Admit,
    /// It may refuse it.
    Validate,
}

impl Step {
    /// Of the whole of admission.
    fn name(self) -> &'static str {
        match self {
            Step::Admit => "admit",
            Step::Validate => "validate",
        }
    }

    /// As counts of webhooks name it.
    fn of_webhooks(self) -> &'static str {
        match self {
            Step::Admit => "admit",
            Step::Validate => "validating",
        }
    }
}

/// What came of a call of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// It let the request pass.
    Allowed,
    /// It refused the request, with a code.
    Refused(u16),
    /// It could not be asked, or its answer made no sense.
    Failed,
    /// The same, and that was passed over.
    FailedOpen,
}

fn refused(called: Called) -> &'static str {
    match called {
        Called::Allowed | Called::FailedOpen => "false",
        Called::Refused(_) | Called::Failed => "true",
    }
}

impl Metrics {
    /// Counts a step of admission.
    pub(crate) fn admitted(
        &self,
        step: Step,
        operation: &'static str,
        took: Duration,
        rejected: &'static str,
    ) {
        let labels = [
            ("operation", operation),
            ("rejected", rejected),
            ("type", step.name()),
        ];
        let name = "apiserver_admission_step_admission_duration_seconds";
        self.observe(name, Labels::of(&labels), took.as_secs_f64());
    }

    /// Counts a call of a webhook.
    pub(crate) fn webhook_called(
        &self,
        (name, step): (&str, Step),
        operation: &str,
        called: Called,
        took: Duration,
    ) {
        let (kind, rejected) = (step.of_webhooks(), refused(called));
        let labels = [
            ("name", name),
            ("operation", operation),
            ("rejected", rejected),
            ("type", step.name()),
        ];
        let metric = "apiserver_admission_webhook_admission_duration_seconds";
        self.observe(metric, Labels::of(&labels), took.as_secs_f64());
        let code = match called {
            Called::Allowed => 200,
            Called::Refused(code) => code.min(CODE_MAX),
            Called::Failed | Called::FailedOpen => 0,
        };
        let code = code.to_string();
        let labels = [
            ("code", code.as_str()),
            ("name", name),
            ("operation", operation),
            ("rejected", rejected),
            ("type", kind),
        ];
        self.count("apiserver_admission_webhook_request_total", &labels);
        let (error, code) = match called {
            Called::Allowed => return,
            Called::Refused(_) => ("no_error", code.as_str()),
            Called::Failed | Called::FailedOpen => ("calling_webhook_error", "0"),
        };
        if called == Called::FailedOpen {
            let labels = [("name", name), ("type", kind)];
            self.count("apiserver_admission_webhook_fail_open_count", &labels);
        }
        let labels = [
            ("error_type", error),
            ("name", name),
            ("operation", operation),
            ("rejection_code", code),
            ("type", kind),
        ];
        self.count("apiserver_admission_webhook_rejection_count", &labels);
    }

    /// Counts a connection on which TLS was not agreed upon.
    pub(crate) fn handshake_failed(&self) {
        self.count("apiserver_tls_handshake_errors_total", &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_webhooks_are_counted_by_outcome() {
        let metrics = Metrics::default();
        let took = Duration::from_millis(3);
        for called in [Called::Allowed, Called::Refused(1000), Called::FailedOpen] {
            metrics.webhook_called(("a.b.c", Step::Validate), "CREATE", called, took);
        }
        metrics.admitted(Step::Admit, "UPDATE", took, "false");
        let text = metrics.text(&[]);
        for line in [
            "apiserver_admission_webhook_request_total{code=\"200\",name=\"a.b.c\",operation=\"CREATE\",rejected=\"false\",type=\"validating\"} 1",
            "apiserver_admission_webhook_rejection_count{error_type=\"no_error\",name=\"a.b.c\",operation=\"CREATE\",rejection_code=\"600\",type=\"validating\"} 1",
            "apiserver_admission_webhook_fail_open_count{name=\"a.b.c\",type=\"validating\"} 1",
            "apiserver_admission_step_admission_duration_seconds_count{operation=\"UPDATE\",rejected=\"false\",type=\"admit\"} 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
