//! What the serving of predictions is given.

use std::path::PathBuf;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{blobs::Blobs, limits::Limits, process::sandbox::Mode, protocol::Device};

/// What predictions need of the server.
pub struct InferenceContext {
    /// The worker program.
    pub worker: PathBuf,
    /// The child's folder and log are made in it.
    pub data_dir: PathBuf,
    /// Empty until they are known; the first GPU is used if it can be.
    pub devices: watch::Receiver<Vec<Device>>,
    /// Threads of arithmetic; 0 means all cores.
    pub threads: u32,
    /// Of the child.
    pub sandbox: Mode,
    pub limits: Limits,
    pub blobs: Blobs,
    /// When it fires new requests are refused, the child answers what it has, and leaves.
    pub shutdown: CancellationToken,
}
