//! The numbers that are asked for when somebody looks, as metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use super::{Metrics, devices::Use};
use crate::{
    data_dir::Size, domain::time::Timestamp, error::Result, http::App, inference::ModelCounts,
    jobs::DeviceState, process::lives, store::JobCensus,
};

/// Everything that has to be waited for.
pub struct Gathered {
    jobs: JobCensus,
    pending_deliveries: u64,
    pending_runs: u64,
    sizes: Arc<[Size]>,
    free_bytes: u64,
    devices: Vec<DeviceState>,
    uses: Vec<Use>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfJobs {
    kind: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCommand {
    command: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEnd {
    command: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlace {
    place: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDevice {
    device: String,
}

impl OfDevice {
    fn named(name: &str) -> Self {
        Self {
            device: name.to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPart {
    part: &'static str,
}

impl Gathered {
    /// # Errors
    /// The database or the disk cannot be read.
    pub async fn of(app: &App, metrics: &Metrics) -> Result<Self> {
        let devices = app.jobs().devices();
        let known = devices.iter().map(|state| state.device.clone()).collect();
        Ok(Self {
            uses: metrics.devices.uses(known).await?,
            devices,
            jobs: app.store().job_census().await?,
            pending_deliveries: app.store().pending_deliveries().await?,
            pending_runs: app.store().pending_runs().await?,
            sizes: metrics.disk.sizes(&app.config().data_dir).await?,
            free_bytes: app.blobs().free_bytes()?,
        })
    }

    pub fn register(&self, app: &App, metrics: &Metrics, registry: &mut Registry) {
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        self.register_jobs(registry);
        register_workers(registry);
        register_predictions(app, registry);
        let streams = gauge(app.event_streams().taken() as u64);
        registry.register("event_streams_open", "Event streams that are open", streams);
        let connections = gauge(metrics.connections.load(Ordering::Relaxed) as u64);
        registry.register("connections_open", "Connections that are open", connections);
        self.register_disk(registry);
        self.register_devices(registry);
        let waiting = gauge(self.pending_deliveries);
        let help = "Messages to webhooks that are still to be delivered";
        registry.register("webhook_deliveries_pending", help, waiting);
        let waiting = gauge(self.pending_runs);
        let help = "Ended jobs that are still to be logged to MLflow";
        registry.register("mlflow_pending", help, waiting);
        register_audit(app, registry);
        let (acts, took) = app.store().write_times();
        let help = "Acts that wrote to the database, whether they were done or refused";
        registry.register("database_writes", help, counter(acts));
        let seconds = Counter::<f64, AtomicU64>::default();
        seconds.inc_by(took.as_secs_f64());
        let help = "Time of these acts, with their wait for each other";
        registry.register_with_unit("database_write", help, Unit::Seconds, seconds);
    }

    fn register_jobs(&self, registry: &mut Registry) {
        let jobs = Family::<OfJobs, Gauge>::default();
        for (kind, status, count) in &self.jobs.jobs {
            let labels = OfJobs {
                kind: kind.as_str(),
                status: status.as_str(),
            };
            jobs.get_or_create(&labels).set(whole(*count));
        }
        registry.register("jobs", "Jobs that there are, by their kind and status", jobs);
        let waits = self.jobs.oldest_queued.map_or(0, |since| {
            (Timestamp::now().0.saturating_sub(since.0)).max(0) as u64 / 1000
        });
        let help = "Age of the oldest job in the queue; 0 if it is empty";
        registry.register_with_unit("queue_oldest_job_age", help, Unit::Seconds, gauge(waits));
    }

    fn register_disk(&self, registry: &mut Registry) {
        let disk = Family::<OfPart, Gauge>::default();
        for size in self.sizes.iter() {
            disk.get_or_create(&OfPart { part: size.part })
                .set(whole(size.bytes));
        }
        let help = "Size of the parts of the data directory, at most 30 seconds old";
        registry.register_with_unit("disk_used", help, Unit::Bytes, disk);
        let free = gauge(self.free_bytes);
        registry.register_with_unit(
            "disk_free",
            "Free space on the data directory's disk",
            Unit::Bytes,
            free,
        );
    }

    fn register_devices(&self, registry: &mut Registry) {
        let (jobs, working) = (
            Family::<OfDevice, Gauge>::default(),
            Family::<OfDevice, Gauge>::default(),
        );
        for state in &self.devices {
            let labels = OfDevice::named(&state.device.name);
            jobs.get_or_create(&labels).set(i64::from(state.job.is_some()));
            working
                .get_or_create(&labels)
                .set(i64::from(state.failed_since.is_none()));
        }
        registry.register("device_jobs", "Jobs that run on a device: one, or none", jobs);
        let help = "Whether a device works; one that failed gets no jobs until it does again";
        registry.register("device_working", help, working);
        let [total, used] = [(); 2].map(|()| Family::<OfDevice, Gauge>::default());
        let busy = Family::<OfDevice, Gauge<f64, AtomicU64>>::default();
        for of in &self.uses {
            let labels = OfDevice::named(&of.device);
            total.get_or_create(&labels).set(whole(of.memory_total));
            if let Some(bytes) = of.memory_used {
                used.get_or_create(&labels).set(whole(bytes));
            }
            if let Some(share) = of.busy {
                busy.get_or_create(&labels).set(share);
            }
        }
        let help = "Memory of a device";
        registry.register_with_unit("device_memory", help, Unit::Bytes, total);
        let help = "Memory of a device that is used, by whomever";
        registry.register_with_unit("device_memory_used", help, Unit::Bytes, used);
        let help = "Share of a device's time in which it computed, for whomever";
        registry.register("device_busy_ratio", help, busy);
    }
}

fn register_workers(registry: &mut Registry) {
    let started = Family::<OfCommand, Counter>::default();
    let ended = Family::<OfEnd, Counter>::default();
    for (command, counts) in lives::counts() {
        started
            .get_or_create(&OfCommand { command })
            .inc_by(counts.started);
        for (end, count) in [
            ("success", counts.ended),
            ("failure", counts.failed),
            ("killed", counts.killed),
        ] {
            ended.get_or_create(&OfEnd { command, end }).inc_by(count);
        }
    }
    registry.register(
        "workers_started",
        "Workers that were started, by their command",
        started,
    );
    registry.register(
        "workers_ended",
        "Workers that ended, by their command and how",
        ended,
    );
}

fn register_predictions(app: &App, registry: &mut Registry) {
    let predictions = Family::<OfModel, Counter>::default();
    for ModelCounts {
        model,
        answered,
        failed,
    } in app.inference().counts()
    {
        let model = if model.is_empty() {
            "other".to_owned()
        } else {
            model
        };
        for (outcome, count) in [("answered", answered), ("failed", failed)] {
            let labels = OfModel {
                model: model.clone(),
                outcome,
            };
            predictions.get_or_create(&labels).inc_by(count);
        }
    }
    let help = "Images that models were asked about, by model (the first hundred) and outcome";
    registry.register("predictions", help, predictions);
    let help = "Images that the network computed together, each time that it did";
    registry.register("prediction_batch_images", help, app.inference().batches());
    let waiting = gauge(app.inference().waiting() as u64);
    registry.register(
        "predictions_waiting",
        "Images that are being answered or wait for it",
        waiting,
    );
}

fn register_audit(app: &App, registry: &mut Registry) {
    let counts = app.journal().counts();
    let lost = Family::<OfPlace, Counter>::default();
    for (place, count) in [("database", &counts.lost_rows), ("file", &counts.lost_lines)] {
        let lost = lost.get_or_create(&OfPlace { place });
        lost.inc_by(count.load(Ordering::Relaxed));
    }
    let help = "Records of the audit log that could not be written, by where to";
    registry.register("audit_lost", help, lost);
    let skipped = counter(counts.skipped.load(Ordering::Relaxed));
    let help = "Refused requests that were too many for the audit log";
    registry.register("audit_skipped", help, skipped);
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(whole(value));
    gauge
}

fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
