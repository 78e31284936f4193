//! Every bound of the server in one place: sizes, counts, times. Nothing else in the program holds such a number.
//!
//! Each field is a flag (`--max-archive-bytes`) and a variable (`FINETUNED_MAX_ARCHIVE_BYTES`); tests shrink them.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limits of the server. Sizes in bytes, durations in seconds where the name says so.
#[derive(Clone, Debug, Args, Serialize, ToSchema)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest archive that may be uploaded
    #[arg(long, env = "FINETUNED_MAX_ARCHIVE_BYTES", default_value_t = Limits::DEFAULT.max_archive_bytes)]
    pub max_archive_bytes: u64,
    /// Largest JSON body
    #[arg(long, env = "FINETUNED_MAX_JSON_BYTES", default_value_t = Limits::DEFAULT.max_json_bytes)]
    pub max_json_bytes: usize,
    /// Largest body of a prediction request
    #[arg(long, env = "FINETUNED_MAX_PREDICT_BYTES", default_value_t = Limits::DEFAULT.max_predict_bytes)]
    pub max_predict_bytes: usize,
    /// Most images in one prediction request
    #[arg(long, env = "FINETUNED_MAX_PREDICT_IMAGES", default_value_t = Limits::DEFAULT.max_predict_images)]
    pub max_predict_images: usize,
    /// Most predictions waiting at once; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_PREDICT_QUEUE", default_value_t = Limits::DEFAULT.max_predict_queue)]
    pub max_predict_queue: usize,
    /// Longest time a prediction may take
    #[arg(long, env = "FINETUNED_PREDICT_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.predict_deadline_seconds)]
    pub predict_deadline_seconds: u64,
    /// Most previews of augmentation being drawn at once; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_PREVIEWS", default_value_t = Limits::DEFAULT.max_previews)]
    pub max_previews: usize,
    /// Longest time a preview may take
    #[arg(long, env = "FINETUNED_PREVIEW_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.preview_deadline_seconds)]
    pub preview_deadline_seconds: u64,
    /// Most exports of models being made at once; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_EXPORTS", default_value_t = Limits::DEFAULT.max_exports)]
    pub max_exports: usize,
    /// Longest time that an export may take to be made
    #[arg(long, env = "FINETUNED_EXPORT_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.export_deadline_seconds)]
    pub export_deadline_seconds: u64,
    /// Disk space for exports of models, which are made again where there is too little
    #[arg(long, env = "FINETUNED_MAX_EXPORT_BYTES", default_value_t = Limits::DEFAULT.max_export_bytes)]
    pub max_export_bytes: u64,
    /// Most downloads of datasets and models going on at once; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_DOWNLOADS", default_value_t = Limits::DEFAULT.max_downloads)]
    pub max_downloads: usize,
    /// Disk space for thumbnails, which are drawn again where there is too little
    #[arg(long, env = "FINETUNED_MAX_THUMBNAIL_BYTES", default_value_t = Limits::DEFAULT.max_thumbnail_bytes)]
    pub max_thumbnail_bytes: u64,
    /// Largest file that a model may be imported from, and largest weights in it
    #[arg(long, env = "FINETUNED_MAX_MODEL_BYTES", default_value_t = Limits::DEFAULT.max_model_bytes)]
    pub max_model_bytes: u64,
    /// Most models being imported at once; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_IMPORTS", default_value_t = Limits::DEFAULT.max_imports)]
    pub max_imports: usize,
    /// Longest time that the checking of an imported model may take
    #[arg(long, env = "FINETUNED_IMPORT_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.import_deadline_seconds)]
    pub import_deadline_seconds: u64,
    /// Most aliases of models
    #[arg(long, env = "FINETUNED_MAX_ALIASES", default_value_t = Limits::DEFAULT.max_aliases)]
    pub max_aliases: u32,
    /// Most former models that an alias remembers, to go back to
    #[arg(long, env = "FINETUNED_MAX_ALIAS_HISTORY", default_value_t = Limits::DEFAULT.max_alias_history)]
    pub max_alias_history: u32,
    /// Most jobs waiting in the queue; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_QUEUED_JOBS", default_value_t = Limits::DEFAULT.max_queued_jobs)]
    pub max_queued_jobs: i64,
    /// Longest silence of an upload before it is given up
    #[arg(long, env = "FINETUNED_UPLOAD_IDLE_SECONDS", default_value_t = Limits::DEFAULT.upload_idle_seconds)]
    pub upload_idle_seconds: u64,
    /// Most uploads being received at once; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_RECEIVING_UPLOADS", default_value_t = Limits::DEFAULT.max_receiving_uploads)]
    pub max_receiving_uploads: usize,
    /// Most resumable uploads that are unfinished; more are refused with 429
    #[arg(long, env = "FINETUNED_MAX_UNFINISHED_UPLOADS", default_value_t = Limits::DEFAULT.max_unfinished_uploads)]
    pub max_unfinished_uploads: u32,
    /// Time after which a resumable upload is removed when nothing more comes
    #[arg(long, env = "FINETUNED_UPLOAD_EXPIRY_SECONDS", default_value_t = Limits::DEFAULT.upload_expiry_seconds)]
    pub upload_expiry_seconds: u64,
    /// Disk space that is kept free: below it uploads and jobs are refused with 507
    #[arg(long, env = "FINETUNED_MIN_FREE_BYTES", default_value_t = Limits::DEFAULT.min_free_bytes)]
    pub min_free_bytes: u64,
    /// Disk space that is held back in a file, so that cancelling and deleting work when the disk is full; 0 holds none back
    #[arg(long, env = "FINETUNED_BALLAST_BYTES", default_value_t = Limits::DEFAULT.ballast_bytes)]
    pub ballast_bytes: u64,
    /// Time for which files that nothing needs any more are kept aside; where the disk is nearly full they go sooner
    #[arg(long, env = "FINETUNED_BLOB_GRACE_SECONDS", default_value_t = Limits::DEFAULT.blob_grace_seconds)]
    pub blob_grace_seconds: u64,
    /// Disk space for activations of frozen stages, which later jobs over the same images start from; 0 keeps none
    #[arg(long, env = "FINETUNED_MAX_ACTIVATION_BYTES", default_value_t = Limits::DEFAULT.max_activation_bytes)]
    pub max_activation_bytes: u64,
    /// Disk space for decoded pixels of images, which jobs start from; the least recently used go first and are made again when needed
    #[arg(long, env = "FINETUNED_MAX_PACK_BYTES", default_value_t = Limits::DEFAULT.max_pack_bytes)]
    pub max_pack_bytes: u64,
    /// Most bytes kept of a job's log
    #[arg(long, env = "FINETUNED_MAX_LOG_BYTES", default_value_t = Limits::DEFAULT.max_log_bytes)]
    pub max_log_bytes: u64,
    /// Longest time a worker may take to start and load its data before the first sign of progress
    #[arg(long, env = "FINETUNED_LOAD_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.load_deadline_seconds)]
    pub load_deadline_seconds: u64,
    /// Longest time between two signs of progress of a running worker
    #[arg(long, env = "FINETUNED_STEP_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.step_deadline_seconds)]
    pub step_deadline_seconds: u64,
    /// Time between asking a worker to stop and killing its process group, where it has something to save
    #[arg(long, env = "FINETUNED_STOP_GRACE_SECONDS", default_value_t = Limits::DEFAULT.stop_grace_seconds)]
    pub stop_grace_seconds: u64,
    /// Time between asking a worker to stop and killing its process group, where nobody wants its work any more
    #[arg(long, env = "FINETUNED_CANCEL_GRACE_SECONDS", default_value_t = Limits::DEFAULT.cancel_grace_seconds)]
    pub cancel_grace_seconds: u64,
    /// Time between two comments on a quiet event stream
    #[arg(long, env = "FINETUNED_SSE_HEARTBEAT_SECONDS", default_value_t = Limits::DEFAULT.sse_heartbeat_seconds)]
    pub sse_heartbeat_seconds: u64,
    /// Most event streams open at once
    #[arg(long, env = "FINETUNED_MAX_EVENT_STREAMS", default_value_t = Limits::DEFAULT.max_event_streams)]
    pub max_event_streams: usize,
    /// Most connections open at once; for one more, the idlest of the address with the most of them is closed
    #[arg(long, env = "FINETUNED_MAX_CONNECTIONS", default_value_t = Limits::DEFAULT.max_connections)]
    pub max_connections: usize,
    /// Largest part of all connections, and of the uploads, downloads and event streams at once, that one address may have, in percent
    #[arg(long, env = "FINETUNED_MAX_ADDRESS_SHARE_PERCENT", default_value_t = Limits::DEFAULT.max_address_share_percent, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_address_share_percent: u32,
    /// Longest time for a connection's first byte, and from a request's first byte for its head
    #[arg(long, env = "FINETUNED_HEADER_SECONDS", default_value_t = Limits::DEFAULT.header_seconds)]
    pub header_seconds: u64,
    /// Longest time between two requests of a connection
    #[arg(long, env = "FINETUNED_KEEP_ALIVE_SECONDS", default_value_t = Limits::DEFAULT.keep_alive_seconds)]
    pub keep_alive_seconds: u64,
    /// Slowest that a client may send a body or take an answer while the server waits for it; 0 for no such limit
    #[arg(long, env = "FINETUNED_MIN_BYTES_PER_SECOND", default_value_t = Limits::DEFAULT.min_bytes_per_second)]
    pub min_bytes_per_second: u64,
    /// Time over which --min-bytes-per-second is the average
    #[arg(long, env = "FINETUNED_PACE_SECONDS", default_value_t = Limits::DEFAULT.pace_seconds)]
    pub pace_seconds: u64,
    #[command(flatten)]
    pub ingest: IngestLimits,
}

/// Limits on what an archive may hold. They travel to the ingest child in its run spec.
#[derive(Clone, Debug, Args, Serialize, Deserialize, ToSchema)]
pub struct IngestLimits {
    /// Most bytes that an archive may expand to
    #[arg(long, env = "FINETUNED_MAX_EXPANDED_BYTES", default_value_t = IngestLimits::DEFAULT.max_expanded_bytes)]
    pub max_expanded_bytes: u64,
    /// Most entries in an archive
    #[arg(long, env = "FINETUNED_MAX_ENTRIES", default_value_t = IngestLimits::DEFAULT.max_entries)]
    pub max_entries: u64,
    /// Largest single file in an archive
    #[arg(long, env = "FINETUNED_MAX_FILE_BYTES", default_value_t = IngestLimits::DEFAULT.max_file_bytes)]
    pub max_file_bytes: u64,
    /// Highest expansion of an entry larger than 1 MiB, expanded : packed
    #[arg(long, env = "FINETUNED_MAX_EXPANSION_RATIO", default_value_t = IngestLimits::DEFAULT.max_expansion_ratio)]
    pub max_expansion_ratio: u64,
    /// Most pixels in an image
    #[arg(long, env = "FINETUNED_MAX_IMAGE_PIXELS", default_value_t = IngestLimits::DEFAULT.max_image_pixels)]
    pub max_image_pixels: u64,
    /// Most classes in a dataset
    #[arg(long, env = "FINETUNED_MAX_CLASSES", default_value_t = IngestLimits::DEFAULT.max_classes)]
    pub max_classes: usize,
    /// Longest path of an entry, in bytes
    #[arg(long, env = "FINETUNED_MAX_PATH_BYTES", default_value_t = IngestLimits::DEFAULT.max_path_bytes)]
    pub max_path_bytes: usize,
}

impl Limits {
    /// What holds when no flag and no variable says otherwise.
    pub const DEFAULT: Limits = Limits {
        max_archive_bytes: 8 << 30,
        max_json_bytes: 256 << 10,
        max_predict_bytes: 64 << 20,
        max_predict_images: 64,
        max_predict_queue: 256,
        predict_deadline_seconds: 30,
        max_previews: 2,
        preview_deadline_seconds: 60,
        max_exports: 2,
        export_deadline_seconds: 120,
        max_export_bytes: 4 << 30,
        max_downloads: 16,
        max_thumbnail_bytes: 1 << 30,
        max_model_bytes: 2 << 30,
        max_imports: 2,
        import_deadline_seconds: 300,
        max_aliases: 1000,
        max_alias_history: 50,
        max_queued_jobs: 1000,
        upload_idle_seconds: 60,
        max_receiving_uploads: 64,
        max_unfinished_uploads: 100,
        upload_expiry_seconds: 24 * 3600,
        min_free_bytes: 1 << 30,
        ballast_bytes: 16 << 20,
        blob_grace_seconds: 24 * 3600,
        max_activation_bytes: 16 << 30,
        max_pack_bytes: 32 << 30,
        max_log_bytes: 1 << 20,
        load_deadline_seconds: 600,
        step_deadline_seconds: 120,
        stop_grace_seconds: 20,
        cancel_grace_seconds: 3,
        sse_heartbeat_seconds: 15,
        max_event_streams: 512,
        max_connections: 2048,
        max_address_share_percent: 50,
        header_seconds: 10,
        keep_alive_seconds: 60,
        min_bytes_per_second: 1024,
        pace_seconds: 30,
        ingest: IngestLimits::DEFAULT,
    };

    pub fn predict_deadline(&self) -> Duration {
        Duration::from_secs(self.predict_deadline_seconds)
    }

    pub fn preview_deadline(&self) -> Duration {
        Duration::from_secs(self.preview_deadline_seconds)
    }

    pub fn import_deadline(&self) -> Duration {
        Duration::from_secs(self.import_deadline_seconds)
    }

    pub fn export_deadline(&self) -> Duration {
        Duration::from_secs(self.export_deadline_seconds)
    }

    pub fn load_deadline(&self) -> Duration {
        Duration::from_secs(self.load_deadline_seconds)
    }

    pub fn step_deadline(&self) -> Duration {
        Duration::from_secs(self.step_deadline_seconds)
    }

    pub fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_seconds)
    }

    pub fn cancel_grace(&self) -> Duration {
        Duration::from_secs(self.cancel_grace_seconds)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl IngestLimits {
    /// What holds when no flag and no variable says otherwise.
    pub const DEFAULT: IngestLimits = IngestLimits {
        max_expanded_bytes: 32 << 30,
        max_entries: 200_000,
        max_file_bytes: 32 << 20,
        max_expansion_ratio: 200,
        max_image_pixels: 50_000_000,
        max_classes: 1000,
        max_path_bytes: 512,
    };
}
