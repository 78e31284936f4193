//! tmp
use crate::{blobs::Blobs, config::Config, id::JobId, protocol::Device, store::Store};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
pub struct JobsContext {
    pub store: Store,
    pub blobs: Blobs,
    pub config: Config,
    pub worker: PathBuf,
    pub shutdown: CancellationToken,
}
#[derive(Clone)]
pub struct Jobs;
pub struct DeviceState {
    pub device: Device,
    pub job: Option<JobId>,
}
pub fn start(_: JobsContext) -> Jobs {
    Jobs
}
impl Jobs {
    pub fn devices(&self) -> Vec<DeviceState> {
        vec![]
    }
    pub fn log_path(&self, _: JobId) -> PathBuf {
        "/x".into()
    }
    pub fn sweep_soon(&self) {}
    pub async fn drained(&self) {}
}
