//! Whether spans are to be sent to an OpenTelemetry collector. The variables are those of its specification; OpenTelemetry's own library reads
//! everything else about the collector from them (`process/traces`).

/// Such as `http://127.0.0.1:4318`; for spans alone, and for everything.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
/// How it is spoken to; for spans alone, and for everything.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// A collector that the environment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// As it is written there.
    pub endpoint: String,
    /// What it is to be spoken to in, where the environment says that.
    pub protocol: Option<String>,
}

impl Collector {
    /// None where nothing is to be sent.
    pub fn of_the_environment() -> Option<Self> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        // To the specification, an empty variable is one that is not set.
        let given = |name: &&str| variable(name).filter(|text| !text.trim().is_empty());
        let is_off = given(&"OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
            || given(&"OTEL_TRACES_EXPORTER").is_some_and(|text| text != "otlp");
        let endpoint = ENDPOINTS.iter().find_map(given).filter(|_| !is_off)?;
        let protocol = PROTOCOLS.iter().find_map(given);
        Some(Self { endpoint, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sent_only_where_an_endpoint_is_set() {
        let endpoint = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            Collector::of(|name| find(name).map(|(_, text)| (*text).to_owned())).map(|found| found.endpoint)
        };
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(endpoint(&[("OTEL_SERVICE_NAME", "images")]), None);
        assert_eq!(endpoint(&[general]).as_deref(), Some("http://collector:4318"));
        let of_spans = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://spans/v1/traces");
        assert_eq!(
            endpoint(&[general, of_spans]).as_deref(),
            Some("http://spans/v1/traces")
        );
        assert_eq!(endpoint(&[general, ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(endpoint(&[general, ("OTEL_TRACES_EXPORTER", "none")]), None);
        assert!(endpoint(&[general, ("OTEL_TRACES_EXPORTER", "otlp")]).is_some());
    }
}
