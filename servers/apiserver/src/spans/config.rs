//! `TracingConfiguration` of `apiserver.config.k8s.io`.

use serde::Deserialize;

use super::otlp::{Collector, Place};

/// OTLP's usual port, on this machine.
const USUAL: &str = "localhost:4317";

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct TracingConfiguration {
    api_version: String,
    kind: String,
    endpoint: Option<String>,
    sampling_rate_per_million: Option<i64>,
}

impl TracingConfiguration {
    /// Reads the file, as JSON. `Err` is upstream's text.
    pub(crate) fn parse(json: &str) -> Result<TracingConfiguration, String> {
        let config: TracingConfiguration = serde_json::from_str(json)
            .map_err(|e| format!("failed to read tracing config: {e}"))?;
        let version = config.api_version.strip_prefix("apiserver.config.k8s.io/");
        if config.kind != "TracingConfiguration"
            || !matches!(version, Some("v1" | "v1beta1" | "v1alpha1"))
        {
            return Err(format!(
                "failed to read tracing config: no kind {:?} is registered for version {:?}",
                config.kind, config.api_version
            ));
        }
        let mut errors = Vec::new();
        if let Some(rate) = config.sampling_rate_per_million {
            let wrong =
                |why: &str| format!("tracing.samplingRatePerMillion: Invalid value: {rate}: {why}");
            if rate < 0 {
                errors.push(wrong("sampling rate must be positive"));
            }
            if rate > 1_000_000 {
                errors.push(wrong(
                    "sampling rate per million must be less than or equal to one million",
                ));
            }
        }
        if let Err(why) = config.collector() {
            let endpoint = config.endpoint.as_deref().unwrap_or_default();
            errors.push(format!(
                "tracing.endpoint: Invalid value: {endpoint:?}: {why}"
            ));
        }
        match errors.as_slice() {
            [] => Ok(config),
            [one] => Err(format!("failed to validate tracing configuration: {one}")),
            many => Err(format!(
                "failed to validate tracing configuration: [{}]",
                many.join(", ")
            )),
        }
    }

    /// Of a million requests without a sampled parent, how many get a span.
    pub(super) fn per_million(&self) -> u32 {
        let rate = self.sampling_rate_per_million.unwrap_or(0);
        u32::try_from(rate).unwrap_or(0)
    }

    /// Where spans go.
    pub(super) fn collector(&self) -> Result<Collector, String> {
        let endpoint = match self.endpoint.as_deref() {
            None | Some("") => USUAL,
            Some(endpoint) => endpoint,
        };
        let place = match endpoint.split_once(':') {
            Some(("unix", path)) => Place::Unix(path.trim_start_matches("//").into()),
            Some(("dns", rest)) => {
                let rest = rest.trim_start_matches('/');
                // `dns://authority/host:port` names a resolver, which is not asked.
                Place::Tcp(rest.rsplit('/').next().unwrap_or(rest).to_owned())
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                return Err(format!(
                    "unsupported scheme: {scheme}.  Options are none, dns, unix, or unix-abstract"
                ));
            }
            _ => Place::Tcp(endpoint.to_owned()),
        };
        Ok(Collector::at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<TracingConfiguration, String> {
        TracingConfiguration::parse(&format!(
            r#"{{"apiVersion":"apiserver.config.k8s.io/v1","kind":"TracingConfiguration"{rest}}}"#
        ))
    }

    #[test]
    fn files_are_checked() {
        let fine = parse(r#","endpoint":"collector:4317","samplingRatePerMillion":500"#).unwrap();
        assert_eq!(fine.per_million(), 500);
        assert_eq!(parse("").unwrap().per_million(), 0);
        let why = parse(r#","samplingRatePerMillion":2000000,"endpoint":"http://x""#).unwrap_err();
        assert_eq!(
            why,
            "failed to validate tracing configuration: [tracing.samplingRatePerMillion: Invalid value: 2000000: \
             sampling rate per million must be less than or equal to one million, tracing.endpoint: Invalid value: \
             \"http://x\": unsupported scheme: http.  Options are none, dns, unix, or unix-abstract]"
        );
        assert!(parse(r#","color":1"#).is_err());
    }
}
