//! All limits of the server: sizes, counts and times. No other code defines such a number.
//!
//! Each field has a flag (`--max-archive-bytes`) and an environment variable (`FINETUNED_MAX_ARCHIVE_BYTES`). Tests use smaller values.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limits of the server. Sizes are in bytes; durations are in seconds where the name says so.
#[derive(Clone, Debug, Args, Serialize, ToSchema)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest archive that can be uploaded
    #[arg(long, env = "FINETUNED_MAX_ARCHIVE_BYTES", default_value_t = Limits::DEFAULT.max_archive_bytes)]
    pub max_archive_bytes: u64,
    /// Largest JSON request body
    #[arg(long, env = "FINETUNED_MAX_JSON_BYTES", default_value_t = Limits::DEFAULT.max_json_bytes)]
    pub max_json_bytes: usize,
    /// Largest body of a prediction request
    #[arg(long, env = "FINETUNED_MAX_PREDICT_BYTES", default_value_t = Limits::DEFAULT.max_predict_bytes)]
    pub max_predict_bytes: usize,
    /// Most images per prediction request
    #[arg(long, env = "FINETUNED_MAX_PREDICT_IMAGES", default_value_t = Limits::DEFAULT.max_predict_images)]
    pub max_predict_images: usize,
    /// Most predictions waiting at once; further requests are refused with 429
    #[arg(long, env = "FINETUNED_MAX_PREDICT_QUEUE", default_value_t = Limits::DEFAULT.max_predict_queue)]
    pub max_predict_queue: usize,
    /// Longest time a prediction may take
    #[arg(long, env = "FINETUNED_PREDICT_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.predict_deadline_seconds)]
    pub predict_deadline_seconds: u64,
    /// Most augmentation previews being computed at once; further requests are refused with 429
    #[arg(long, env = "FINETUNED_MAX_PREVIEWS", default_value_t = Limits::DEFAULT.max_previews)]
    pub max_previews: usize,
    /// Longest time a preview may take
    #[arg(long, env = "FINETUNED_PREVIEW_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.preview_deadline_seconds)]
    pub preview_deadline_seconds: u64,
    /// Most model exports being written at once; further requests are refused with 429
    #[arg(long, env = "FINETUNED_MAX_EXPORTS", default_value_t = Limits::DEFAULT.max_exports)]
    pub max_exports: usize,
    /// Longest time an export may take
    #[arg(long, env = "FINETUNED_EXPORT_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.export_deadline_seconds)]
    pub export_deadline_seconds: u64,
    /// Disk space for cached model exports; evicted ones are written again on demand
    #[arg(long, env = "FINETUNED_MAX_EXPORT_BYTES", default_value_t = Limits::DEFAULT.max_export_bytes)]
    pub max_export_bytes: u64,
    /// Most dataset and model downloads at once; further requests are refused with 429
    #[arg(long, env = "FINETUNED_MAX_DOWNLOADS", default_value_t = Limits::DEFAULT.max_downloads)]
    pub max_downloads: usize,
    /// Disk space for cached thumbnails; evicted ones are computed again on demand
    #[arg(long, env = "FINETUNED_MAX_THUMBNAIL_BYTES", default_value_t = Limits::DEFAULT.max_thumbnail_bytes)]
    pub max_thumbnail_bytes: u64,
    /// Largest model file that can be imported, and largest weights in it
    #[arg(long, env = "FINETUNED_MAX_MODEL_BYTES", default_value_t = Limits::DEFAULT.max_model_bytes)]
    pub max_model_bytes: u64,
    /// Most models being imported at once; further requests are refused with 429
    #[arg(long, env = "FINETUNED_MAX_IMPORTS", default_value_t = Limits::DEFAULT.max_imports)]
    pub max_imports: usize,
    /// Longest time an import's checks may take
    #[arg(long, env = "FINETUNED_IMPORT_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.import_deadline_seconds)]
    pub import_deadline_seconds: u64,
    /// Most model aliases
    #[arg(long, env = "FINETUNED_MAX_ALIASES", default_value_t = Limits::DEFAULT.max_aliases)]
    pub max_aliases: u32,
    /// Most previous models that an alias keeps in its history, for rollbacks
    #[arg(long, env = "FINETUNED_MAX_ALIAS_HISTORY", default_value_t = Limits::DEFAULT.max_alias_history)]
    pub max_alias_history: u32,
    /// Most keys that are not revoked
    #[arg(long, env = "FINETUNED_MAX_KEYS", default_value_t = Limits::DEFAULT.max_keys)]
    pub max_keys: u32,
    /// Most answers that are kept for requests with an Idempotency-Key, of each key in 24 hours; further ones are refused with 429
    #[arg(long, env = "FINETUNED_MAX_IDEMPOTENCY_KEYS", default_value_t = Limits::DEFAULT.max_idempotency_keys)]
    pub max_idempotency_keys: u32,
    /// Most records of the audit log in the database; the oldest make room
    #[arg(long, env = "FINETUNED_MAX_AUDIT_RECORDS", default_value_t = Limits::DEFAULT.max_audit_records)]
    pub max_audit_records: u64,
    /// Time after which a record of the audit log is removed from the database
    #[arg(long, env = "FINETUNED_MAX_AUDIT_AGE_SECONDS", default_value_t = Limits::DEFAULT.max_audit_age_seconds)]
    pub max_audit_age_seconds: u64,
    /// Most jobs waiting in the queue; further jobs are refused with 429
    #[arg(long, env = "FINETUNED_MAX_QUEUED_JOBS", default_value_t = Limits::DEFAULT.max_queued_jobs)]
    pub max_queued_jobs: i64,
    /// Longest time an upload may receive no bytes before it is aborted
    #[arg(long, env = "FINETUNED_UPLOAD_IDLE_SECONDS", default_value_t = Limits::DEFAULT.upload_idle_seconds)]
    pub upload_idle_seconds: u64,
    /// Most uploads being received at once; further requests are refused with 429
    #[arg(long, env = "FINETUNED_MAX_RECEIVING_UPLOADS", default_value_t = Limits::DEFAULT.max_receiving_uploads)]
    pub max_receiving_uploads: usize,
    /// Most unfinished resumable uploads; further ones are refused with 429
    #[arg(long, env = "FINETUNED_MAX_UNFINISHED_UPLOADS", default_value_t = Limits::DEFAULT.max_unfinished_uploads)]
    pub max_unfinished_uploads: u32,
    /// Time after which a resumable upload that receives no more bytes is removed
    #[arg(long, env = "FINETUNED_UPLOAD_EXPIRY_SECONDS", default_value_t = Limits::DEFAULT.upload_expiry_seconds)]
    pub upload_expiry_seconds: u64,
    /// Disk space to keep free; below it, uploads and jobs are refused with 507
    #[arg(long, env = "FINETUNED_MIN_FREE_BYTES", default_value_t = Limits::DEFAULT.min_free_bytes)]
    pub min_free_bytes: u64,
    /// Disk space reserved in a file, so that cancelling and deleting still work when the disk is full; 0 reserves none
    #[arg(long, env = "FINETUNED_BALLAST_BYTES", default_value_t = Limits::DEFAULT.ballast_bytes)]
    pub ballast_bytes: u64,
    /// Time that unreferenced files stay in the trash; they are removed sooner if the disk is nearly full
    #[arg(long, env = "FINETUNED_BLOB_GRACE_SECONDS", default_value_t = Limits::DEFAULT.blob_grace_seconds)]
    pub blob_grace_seconds: u64,
    /// Disk space for cached activations of frozen stages, reused by later jobs on the same images; 0 disables the cache
    #[arg(long, env = "FINETUNED_MAX_ACTIVATION_BYTES", default_value_t = Limits::DEFAULT.max_activation_bytes)]
    pub max_activation_bytes: u64,
    /// Disk space for decoded image pixels that jobs read; the least recently used are evicted and decoded again on demand
    #[arg(long, env = "FINETUNED_MAX_PACK_BYTES", default_value_t = Limits::DEFAULT.max_pack_bytes)]
    pub max_pack_bytes: u64,
    /// Most bytes of a job's log to keep
    #[arg(long, env = "FINETUNED_MAX_LOG_BYTES", default_value_t = Limits::DEFAULT.max_log_bytes)]
    pub max_log_bytes: u64,
    /// Longest time a worker may take to start and load its data before it first reports progress
    #[arg(long, env = "FINETUNED_LOAD_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.load_deadline_seconds)]
    pub load_deadline_seconds: u64,
    /// Longest time a running worker may go without reporting progress
    #[arg(long, env = "FINETUNED_STEP_DEADLINE_SECONDS", default_value_t = Limits::DEFAULT.step_deadline_seconds)]
    pub step_deadline_seconds: u64,
    /// Time between asking a worker to stop and killing its process group, if it has something to save
    #[arg(long, env = "FINETUNED_STOP_GRACE_SECONDS", default_value_t = Limits::DEFAULT.stop_grace_seconds)]
    pub stop_grace_seconds: u64,
    /// Time between asking a worker to stop and killing its process group, if its result is no longer needed
    #[arg(long, env = "FINETUNED_CANCEL_GRACE_SECONDS", default_value_t = Limits::DEFAULT.cancel_grace_seconds)]
    pub cancel_grace_seconds: u64,
    /// Time between heartbeat comments on an idle event stream
    #[arg(long, env = "FINETUNED_SSE_HEARTBEAT_SECONDS", default_value_t = Limits::DEFAULT.sse_heartbeat_seconds)]
    pub sse_heartbeat_seconds: u64,
    /// Most event streams open at once
    #[arg(long, env = "FINETUNED_MAX_EVENT_STREAMS", default_value_t = Limits::DEFAULT.max_event_streams)]
    pub max_event_streams: usize,
    /// Most open connections; beyond that, a new one closes the most idle connection of the address that has the most
    #[arg(long, env = "FINETUNED_MAX_CONNECTIONS", default_value_t = Limits::DEFAULT.max_connections)]
    pub max_connections: usize,
    /// Largest share, in percent, that one address may have of all connections, and of the concurrent uploads, downloads and event streams
    #[arg(long, env = "FINETUNED_MAX_ADDRESS_SHARE_PERCENT", default_value_t = Limits::DEFAULT.max_address_share_percent, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_address_share_percent: u32,
    /// Longest time to wait for a connection's first byte, and for the complete head of a request after its first byte
    #[arg(long, env = "FINETUNED_HEADER_SECONDS", default_value_t = Limits::DEFAULT.header_seconds)]
    pub header_seconds: u64,
    /// Longest time a connection may be idle between two requests
    #[arg(long, env = "FINETUNED_KEEP_ALIVE_SECONDS", default_value_t = Limits::DEFAULT.keep_alive_seconds)]
    pub keep_alive_seconds: u64,
    /// Lowest rate at which a client may send a request body or read a response; 0 disables the limit
    #[arg(long, env = "FINETUNED_MIN_BYTES_PER_SECOND", default_value_t = Limits::DEFAULT.min_bytes_per_second)]
    pub min_bytes_per_second: u64,
    /// Time over which --min-bytes-per-second is averaged
    #[arg(long, env = "FINETUNED_PACE_SECONDS", default_value_t = Limits::DEFAULT.pace_seconds)]
    pub pace_seconds: u64,
    #[command(flatten)]
    pub ingest: IngestLimits,
}

/// Limits on the contents of an archive. The ingest child gets them in its run spec.
#[derive(Clone, Debug, Args, Serialize, Deserialize, ToSchema)]
pub struct IngestLimits {
    /// Largest total size of an archive's expanded contents
    #[arg(long, env = "FINETUNED_MAX_EXPANDED_BYTES", default_value_t = IngestLimits::DEFAULT.max_expanded_bytes)]
    pub max_expanded_bytes: u64,
    /// Most entries in an archive
    #[arg(long, env = "FINETUNED_MAX_ENTRIES", default_value_t = IngestLimits::DEFAULT.max_entries)]
    pub max_entries: u64,
    /// Largest file in an archive
    #[arg(long, env = "FINETUNED_MAX_FILE_BYTES", default_value_t = IngestLimits::DEFAULT.max_file_bytes)]
    pub max_file_bytes: u64,
    /// Highest compression ratio (expanded : compressed) of an entry larger than 1 MiB
    #[arg(long, env = "FINETUNED_MAX_EXPANSION_RATIO", default_value_t = IngestLimits::DEFAULT.max_expansion_ratio)]
    pub max_expansion_ratio: u64,
    /// Most pixels per image; from 64 million on, a JPEG may have four times as many, because it is decoded at a fraction of its size
    #[arg(long, env = "FINETUNED_MAX_IMAGE_PIXELS", default_value_t = IngestLimits::DEFAULT.max_image_pixels)]
    pub max_image_pixels: u64,
    /// Most classes per dataset
    #[arg(long, env = "FINETUNED_MAX_CLASSES", default_value_t = IngestLimits::DEFAULT.max_classes)]
    pub max_classes: usize,
    /// Longest path of an archive entry, in bytes
    #[arg(long, env = "FINETUNED_MAX_PATH_BYTES", default_value_t = IngestLimits::DEFAULT.max_path_bytes)]
    pub max_path_bytes: usize,
}

impl Limits {
    /// The default values.
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
        max_keys: 1000,
        max_idempotency_keys: 10_000,
        max_audit_records: 100_000,
        max_audit_age_seconds: 90 * 24 * 3600,
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

    /// How long a client may send nothing of a body, and read nothing of a download.
    pub fn upload_idle(&self) -> Duration {
        Duration::from_secs(self.upload_idle_seconds)
    }

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
    /// The default values.
    pub const DEFAULT: IngestLimits = IngestLimits {
        max_expanded_bytes: 32 << 30,
        max_entries: 200_000,
        max_file_bytes: 64 << 20,
        max_expansion_ratio: 200,
        max_image_pixels: 64_000_000,
        max_classes: 1000,
        max_path_bytes: 512,
    };
}
