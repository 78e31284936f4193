//! Keeps a predict child at hand: starts it with the first request, and again after its death, with growing pauses while it only dies.
//!
//! During a pause requests are refused at once: a caller does better to come back than to wait for what may not come.

use std::{ffi::OsStr, io, path::Path, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    context::InferenceContext,
    devices::{Devices, Serving},
    session::{End, Refusal, Request, Session},
    shown::Shown,
    tally::Batches,
    wire,
};
use crate::{
    files::private,
    process::{self, ChildGroup, FreedMemory, Pipes, log::Log},
};

/// Pause after the first death, after the second in a row, and so on. A child that had answered begins the row anew.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
];
/// How long the pipes of a child that is gone may stay open.
const DRAIN: Duration = Duration::from_secs(1);

pub struct Host {
    context: InferenceContext,
    devices: Devices,
    batches: Batches,
    log: Log,
}

impl Host {
    pub fn new(context: InferenceContext, serving: Serving, batches: Batches) -> Self {
        let path = context.data_dir.join("logs/predict.log");
        Self {
            devices: Devices::new(context.devices.clone(), serving),
            batches,
            log: Log::at(path, context.limits.max_log_bytes),
            context,
        }
    }

    /// Serves requests until the server stops.
    pub async fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut deaths_in_a_row = 0;
        loop {
            let first = tokio::select! {
                () = self.context.shutdown.cancelled() => break,
                request = waiting.recv() => match request {
                    Some(request) => request,
                    None => break,
                },
            };
            if first.reply.is_closed() {
                continue;
            }
            let (why, worked) = match self.live(first, &mut waiting).await {
                End::Shutdown => break,
                End::MadeRoom => {
                    tracing::info!("the next predict worker is started on the GPU again");
                    continue;
                }
                End::Broken { why, worked } => (why, worked),
            };
            if !worked && self.devices.could_not_be_used(Instant::now()) {
                tracing::error!(
                    why,
                    "the predict worker cannot use the GPU; the processor stands in for it"
                );
                continue;
            }
            deaths_in_a_row = if worked { 1 } else { deaths_in_a_row + 1 };
            let pause = PAUSES[(deaths_in_a_row - 1).min(PAUSES.len() - 1)];
            tracing::error!(why, pause = pause.as_secs(), "the predict worker has ended");
            self.pause(pause, &mut waiting).await;
        }
        waiting.close();
        while let Some(request) = waiting.recv().await {
            request.refuse(Refusal::ComeBack(Duration::ZERO));
        }
    }

    /// One child, from its start to its end.
    async fn live(&mut self, first: Request, waiting: &mut mpsc::Receiver<Request>) -> End {
        let Some(device) = self.device().await else {
            first.refuse(Refusal::ComeBack(Duration::ZERO));
            return End::Shutdown;
        };
        let (child, pipes, shown) = match self.spawn(&device).await {
            Ok(started) => started,
            Err(error) => {
                first.refuse(Refusal::ComeBack(Duration::ZERO));
                return End::Broken {
                    why: format!("it cannot be started: {error}"),
                    worked: false,
                };
            }
        };
        let log = self.log.clone();
        let errors = tokio::spawn(async move { log.copy(pipes.stderr).await });
        let session = Session {
            child,
            frames: wire::read(pipes.stdout),
            shown,
            makes_room_at: self.devices.until(),
            batches: &self.batches,
            limits: &self.context.limits,
            shutdown: &self.context.shutdown,
        };
        let end = session.run(wire::write(pipes.stdin), first, waiting).await;
        match (end, last_line(errors).await) {
            (End::Broken { why, worked }, Some(line)) => End::Broken {
                why: format!("{why}; last line of its log: {line}"),
                worked,
            },
            (end, _) => end,
        }
    }

    async fn spawn(&self, device: &str) -> io::Result<(ChildGroup, Pipes, Shown)> {
        let dir = std::path::absolute(self.context.data_dir.join("predict"))?;
        private::create_dir_all(&dir)?;
        let shown = Shown::none_in(&dir)?;
        let models = dir.join(Shown::FOLDER);
        let threads = process::threads(self.context.threads).to_string();
        let [predict, of_device, of_threads, of_models, of_sandbox] =
            ["predict", "--device", "--threads", "--models", "--sandbox"].map(OsStr::new);
        let arguments = [
            predict,
            of_device,
            device.as_ref(),
            of_threads,
            threads.as_ref(),
            of_models,
            models.as_ref(),
            of_sandbox,
            self.context.sandbox.name().as_ref(),
        ];
        let program = Path::new(&self.context.worker);
        let (child, pipes) = process::spawn(program, &arguments, &dir, FreedMemory::Kept, None).await?;
        Ok((child, pipes, shown))
    }

    /// The device for predictions, as soon as it is known; none when the server stops first.
    async fn device(&mut self) -> Option<String> {
        tokio::select! {
            () = self.context.shutdown.cancelled() => None,
            device = self.devices.choose(Instant::now()) => device,
        }
    }

    /// Refuses everybody for a while.
    async fn pause(&self, pause: Duration, waiting: &mut mpsc::Receiver<Request>) {
        if pause.is_zero() {
            return;
        }
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = self.context.shutdown.cancelled() => return,
                () = sleep_until(until) => return,
                request = waiting.recv() => match request {
                    Some(request) => request.refuse(Refusal::ComeBack(until - Instant::now())),
                    None => return,
                },
            }
        }
    }
}

async fn last_line(mut errors: JoinHandle<Option<String>>) -> Option<String> {
    match timeout(DRAIN, &mut errors).await {
        Ok(copied) => copied.ok().flatten(),
        Err(_) => {
            errors.abort();
            None
        }
    }
}
