//! Sends spans to the collector that the environment names, by OTLP over HTTP (protobuf), and says once when that does not work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{Key, KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter as Exporter},
};
use tracing::{info, warn};

use super::{ids::Ids, spans::TRACER};
use crate::config::collector::Collector;

/// What a stopping server gives a collector that does not answer.
const GOODBYE: Duration = Duration::from_secs(3);
const SPOKEN: &str = "http/protobuf";
const SERVICE: &str = "service.name";

/// Spans are sent until it is dropped.
pub struct Sending(SdkTracerProvider);

/// None where the environment's settings cannot work, which the log then says: a server without its spans is better than none. Headers,
/// deadlines, the sampler and the size of the queue are read from the environment by the library.
pub fn start(collector: &Collector) -> Option<Sending> {
    if let Some(other) = collector
        .protocol
        .as_deref()
        .filter(|protocol| *protocol != SPOKEN)
    {
        warn!("OTEL_EXPORTER_OTLP_PROTOCOL={other} is not spoken here; spans are sent as {SPOKEN}");
    }
    // The client has no TLS of its own; what a server has installed already is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .build();
    let exporter = match exporter {
        Ok(exporter) => Telling {
            exporter,
            is_failing: AtomicBool::new(false),
        },
        Err(error) => {
            warn!(%error, "no spans are sent: the OTEL_* variables cannot be used");
            return None;
        }
    };
    let provider = SdkTracerProvider::builder()
        .with_id_generator(Ids::default())
        .with_resource(resource())
        .with_batch_exporter(exporter)
        .build();
    let _ = TRACER.set(provider.tracer("finetuned"));
    info!(endpoint = collector.endpoint, "spans are sent to OpenTelemetry");
    Some(Sending(provider))
}

impl Sending {
    /// Sends what is left, if that is possible soon. It blocks.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(GOODBYE) {
            warn!(%error, "the last spans were not sent");
        }
    }
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and who this is.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let named = given.get(&Key::new(SERVICE)).map(|name| name.to_string());
    let name = named.filter(|name| !name.starts_with("unknown_service"));
    Resource::builder()
        .with_service_name(name.unwrap_or_else(|| "finetuned".to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Says when the collector cannot be reached and when it can again, and nothing in between.
#[derive(Debug)]
struct Telling {
    exporter: SpanExporter,
    is_failing: AtomicBool,
}

impl Exporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !was_failing => warn!(
                %error,
                "spans cannot be sent and are dropped, until the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes them again"
            ),
            Ok(()) if was_failing => info!("spans are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
