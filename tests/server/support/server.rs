//! A server in this process, on a free port and an own data directory, stopped at the end of its test.

use std::{
    fs,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use finetuned::{config::Config, http};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Api,
    certificate::{AUTHORITY, Certificate},
};

/// How long a server may take to come to rest.
const STOP: Duration = Duration::from_secs(60);
/// How long a test may keep a server; the longest take a minute on a machine with nothing else to do.
const LIFE: Duration = Duration::from_secs(15 * 60);

pub struct Server {
    pub api: Api,
    data: Option<TempDir>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _watched: mpsc::Sender<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server whose settings were changed first.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self::on(data, change).await
    }

    /// A server that speaks TLS, whose settings were changed first.
    pub async fn with_tls(certificate: &Certificate, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(|config| {
            config.tls.tls_cert = Some(certificate.file());
            config.tls.tls_key = Some(certificate.key());
            change(config);
        })
        .await
    }

    /// A server on a data directory that another one has left.
    pub async fn on(data: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(data.path().to_owned());
        change(&mut config);
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = match &config.tls.tls_cert {
            None => Api::new(&format!("http://{address}")),
            Some(certificate) => {
                let authority = fs::read(certificate.with_file_name(AUTHORITY)).unwrap();
                Api::trusting(&format!("https://{address}"), &authority)
            }
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(http::run(config, listener, shutdown.clone()));
        let server = Self {
            api,
            data: Some(data),
            shutdown,
            running: Some(running),
            _watched: watch(),
        };
        server.api.get("/healthz").await.expect(200);
        server
    }

    /// Stops it in order and gives its data directory back.
    pub async fn stop(mut self) -> TempDir {
        self.shutdown.cancel();
        let running = self.running.take().unwrap();
        timeout(STOP, running)
            .await
            .expect("the server did not stop in time")
            .unwrap()
            .unwrap();
        self.data.take().unwrap()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data.as_ref().unwrap().path().canonicalize().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A test that hangs ends all of them, by name, instead of keeping whoever waits for them for ever.
fn watch() -> mpsc::Sender<()> {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let (alive, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(LIFE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{test} did not end within {} seconds", LIFE.as_secs());
            std::process::exit(101);
        }
    });
    alive
}

/// Settings of a test's server: the real worker, no network.
pub fn config(data_dir: PathBuf) -> Config {
    let mut config = Config::for_data_dir(data_dir);
    config.worker = Some(PathBuf::from(env!("CARGO_BIN_EXE_finetuned-worker")));
    config.limits.min_free_bytes = 0;
    // One thread each: tests run side by side, and threads that wait for each other do badly on a machine that is full.
    config.train_threads = 1;
    config.predict_threads = 1;
    config
}
