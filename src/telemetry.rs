//! Traces for OpenTelemetry: spans of runs, steps, batches and HTTP requests, with ids and counts only. It owns where they
//! go and when; which spans there are is said where the work is done. Off unless the configuration names a collector.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{DynFilterFn, FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Layer};

use crate::config::TelemetryConfig;

/// How long a collector may take to answer, and how long the process waits for the last spans when it ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a collector takes spans below its base address.
const PATH: &str = "/v1/traces";

/// What our own events and spans are told by.
const OWN: &str = "retentiond";

static TRACES: OnceLock<OpenTelemetryLayer<Registry, SdkTracer>> = OnceLock::new();

/// Carries out work whose spans go to the collector that the configuration names; whatever becomes of them, the work is
/// done. What is left to be sent at its end is sent, for a few seconds.
pub async fn during<T>(config: &TelemetryConfig, work: impl Future<Output = T>) -> T {
    let Some(address) = config.otlp.clone() else { return work.await };
    // The exporter makes a client that blocks, and may not be made or ended where the runtime works.
    let provider = match tokio::task::spawn_blocking(move || provider(&address)).await {
        Ok(Ok(provider)) => provider,
        Ok(Err(error)) => {
            tracing::warn!(%error, "failed to begin tracing; the work is done without it");
            return work.await;
        }
        Err(_) => return work.await,
    };
    let layer = OpenTelemetryLayer::new(provider.tracer(OWN))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    if TRACES.set(layer).is_ok() {
        tracing::callsite::rebuild_interest_cache();
    }
    let done = work.await;
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::warn!("failed to send the last spans to the collector");
    }
    done
}

/// The layer that makes spans of ours into spans of OpenTelemetry, from [`during`] on. Events are not sent: only names,
/// ids and counts leave.
pub fn layer() -> impl Layer<Registry> {
    let is_ours = |metadata: &Metadata<'_>, _: &Context<'_, Registry>| {
        TRACES.get().is_some() && metadata.is_span() && is_own(metadata)
    };
    Switch.with_filter(DynFilterFn::new(is_ours).with_max_level_hint(LevelFilter::DEBUG))
}

/// Lets through what we say ourselves, and of the libraries only warnings: below that they print keys, addresses and
/// whole requests, and no log may hold those, whatever an operator asks for. Guarded by `tests/canaries.rs`.
pub fn ours_or_warnings() -> FilterFn {
    FilterFn::new(|metadata| is_own(metadata) || *metadata.level() <= Level::WARN)
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().split("::").next() == Some(OWN)
}

fn provider(address: &str) -> Result<SdkTracerProvider, String> {
    // Where another part of the process chose one before, that one is used.
    drop(rustls::crypto::ring::default_provider().install_default());
    let base = address.trim_end_matches('/');
    let endpoint = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    let resource = Resource::builder().with_service_name(OWN).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Passes everything on once there is somebody to pass it to.
struct Switch;

impl Layer<Registry> for Switch {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, Registry>) {
        if let Some(traces) = TRACES.get() {
            traces.on_new_span(attributes, id, context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, Registry>) {
        if let Some(traces) = TRACES.get() {
            traces.on_record(id, values, context);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, Registry>) {
        if let Some(traces) = TRACES.get() {
            traces.on_follows_from(id, follows, context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, Registry>) {
        if let Some(traces) = TRACES.get() {
            traces.on_enter(id, context);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, Registry>) {
        if let Some(traces) = TRACES.get() {
            traces.on_exit(id, context);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, Registry>) {
        if let Some(traces) = TRACES.get() {
            traces.on_close(id, context);
        }
    }
}
