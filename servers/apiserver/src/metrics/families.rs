//! Which metrics there are: name, kind and meaning of each, once.

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Debug)]
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

impl Family {
    /// The upper bounds of its buckets.
    pub(super) fn buckets(&self) -> &'static [f64] {
        match self.kind {
            Kind::Histogram(buckets) => buckets,
            _ => &[],
        }
    }
}

const LATENCY: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
const SLI: &[f64] = &[
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
];
const SIZES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const DOUBLING: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384,
];

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        help,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        help,
    }
}

const fn histogram(name: &'static str, buckets: &'static [f64], help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Histogram(buckets),
        help,
    }
}

const STEP: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOK: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// Every metric, by name.
pub(super) const ALL: &[Family] = &[
    histogram(
        "apiserver_admission_step_admission_duration_seconds",
        STEP,
        "Time of a step of admission in seconds, by operation, type (admit or validate) and whether it refused.",
    ),
    histogram(
        "apiserver_admission_webhook_admission_duration_seconds",
        WEBHOOK,
        "Time of calls of webhooks in seconds, by name, operation, type and whether they refused.",
    ),
    counter(
        "apiserver_admission_webhook_fail_open_count",
        "Calls of webhooks that failed and were passed over, by name and type.",
    ),
    counter(
        "apiserver_admission_webhook_rejection_count",
        "Refusals by webhooks, by name, operation, type, kind of error and code.",
    ),
    counter(
        "apiserver_admission_webhook_request_total",
        "Calls of webhooks by name, operation, type, code and whether they refused.",
    ),
    counter(
        "apiserver_audit_error_total",
        "Audit events that were lost, by backend.",
    ),
    counter(
        "apiserver_audit_event_total",
        "Audit events sent to backends.",
    ),
    counter(
        "apiserver_audit_level_total",
        "Requests by the level at which they are audited.",
    ),
    counter(
        "apiserver_audit_requests_rejected_total",
        "Requests refused because their audit event could not be kept.",
    ),
    counter(
        "apiserver_authorization_decisions_total",
        "Final decisions of authorizers by type, name and decision.",
    ),
    gauge(
        "apiserver_current_inflight_requests",
        "Requests being executed, by kind.",
    ),
    counter(
        "apiserver_impersonation_attempts_total",
        "Attempts to act as somebody else, by mode and decision.",
    ),
    gauge(
        "apiserver_longrunning_requests",
        "Requests that go on for as long as the client likes.",
    ),
    histogram(
        "apiserver_request_duration_seconds",
        LATENCY,
        "Time to answer requests in seconds, by verb, dry run, group, version, resource, subresource, scope and component.",
    ),
    histogram(
        "apiserver_request_sli_duration_seconds",
        SLI,
        "Time to answer requests in seconds without the time spent in webhooks, queues and authentication.",
    ),
    counter(
        "apiserver_request_total",
        "Requests by verb, dry run, group, version, resource, scope, component and HTTP code.",
    ),
    gauge(
        "apiserver_requested_deprecated_apis",
        "1 for each deprecated API that was asked for, by group, version, resource, subresource and the release that drops it.",
    ),
    gauge(
        "apiserver_resource_objects",
        "Stored objects by group and resource.",
    ),
    histogram(
        "apiserver_response_sizes",
        SIZES,
        "Sizes of answers in bytes.",
    ),
    gauge("apiserver_storage_objects", "Stored objects by resource."),
    counter(
        "apiserver_tls_handshake_errors_total",
        "Connections that were dropped because TLS was not agreed upon.",
    ),
    counter(
        "authenticated_user_requests",
        "Authenticated requests by kind of user name.",
    ),
    counter(
        "authentication_attempts",
        "Attempts to authenticate by result.",
    ),
    histogram(
        "authentication_duration_seconds",
        DOUBLING,
        "Time to authenticate requests in seconds, by result.",
    ),
    counter(
        "authorization_attempts_total",
        "Attempts to authorize by result.",
    ),
    histogram(
        "authorization_duration_seconds",
        DOUBLING,
        "Time to authorize requests in seconds, by result.",
    ),
    gauge(
        "kubernetes_build_info",
        "Always 1, with the version that is served as labels.",
    ),
    counter(
        "serviceaccount_invalid_legacy_auto_token_uses_total",
        "Uses of tokens in secrets that are marked invalid.",
    ),
    counter(
        "serviceaccount_legacy_auto_token_uses_total",
        "Uses of tokens in secrets that were made with their account.",
    ),
    counter(
        "serviceaccount_legacy_manual_token_uses_total",
        "Uses of tokens in secrets that were made by hand.",
    ),
    counter(
        "serviceaccount_legacy_tokens_total",
        "Uses of tokens kept in secrets.",
    ),
    counter(
        "serviceaccount_stale_tokens_total",
        "Uses of tokens that should have been read again.",
    ),
    counter(
        "serviceaccount_valid_tokens_total",
        "Uses of tokens in time.",
    ),
];

/// A metric by name.
pub(super) fn find(name: &str) -> &'static Family {
    let index = ALL.binary_search_by(|family| family.name.cmp(name));
    &ALL[index.expect("every metric that is counted is in the table")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(ALL.windows(2).all(|w| w[0].name < w[1].name));
    }
}
