//! Writes records of the audit log down: into the database, and as lines of JSON into a file if there is one.
//!
//! Requests hand their records over and go on. What cannot be written is counted and never stops anything: a full disk delays the rows until
//! there is room or until too many wait, and costs lines of the file.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{file::LineFile, flood::Flood};
use crate::{
    domain::{access::AuditRecord, id::AuditId, time::Timestamp},
    error::Kind,
    http::connections::Peer,
    limits::Limits,
    store::Store,
};

/// Records that may wait to be written.
const WAITING: usize = 2000;
/// Most records of one transaction.
const AT_ONCE: usize = 256;
/// How often old records are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How often the database is asked for what commands have done, for the file.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long a reader waits for what was noted before.
const LONGEST_FLUSH: Duration = Duration::from_secs(2);

/// Where requests leave their records. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    sender: mpsc::Sender<Message>,
    flood: Mutex<Flood>,
    counts: Arc<Counts>,
}

/// What is not in the log, since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records that the database does not have.
    pub lost_rows: AtomicU64,
    /// Lines that the file does not have.
    pub lost_lines: AtomicU64,
    /// Refused requests that were too many.
    pub skipped: AtomicU64,
}

enum Message {
    Record(Box<AuditRecord>),
    /// To be answered when all before it are written.
    Flush(oneshot::Sender<()>),
}

/// The other end: writes until it is told that nothing more comes.
pub struct Writer {
    store: Store,
    file: Option<LineFile>,
    receiver: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
    most: u64,
    longest: i64,
    /// The last record of a command that the file has.
    last_command: String,
    is_stuck: bool,
}

impl Journal {
    /// Opens the file, if there is to be one.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(store: Store, file: Option<&Path>, limits: &Limits) -> anyhow::Result<(Self, Writer)> {
        let opened = file.map(|path| {
            LineFile::open(path).with_context(|| format!("cannot write to --audit-log {}", path.display()))
        });
        let (sender, receiver) = mpsc::channel(WAITING);
        let counts = Arc::<Counts>::default();
        let writer = Writer {
            store,
            file: opened.transpose()?,
            receiver,
            counts: counts.clone(),
            most: limits.max_audit_records,
            longest: i64::try_from(limits.max_audit_age_seconds.saturating_mul(1000)).unwrap_or(i64::MAX),
            last_command: AuditId::new().to_string(),
            is_stuck: false,
        };
        let flood = Mutex::new(Flood::new(Instant::now()));
        Ok((
            Self(Arc::new(Inner {
                sender,
                flood,
                counts,
            })),
            writer,
        ))
    }

    /// Takes a record, of a request from this client.
    pub fn note(&self, mut record: AuditRecord, from: Peer) {
        let counts = &self.0.counts;
        if record.has_failed() {
            let mut flood = self.0.flood.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(skipped) = flood.pass(from, Instant::now()) else {
                counts.skipped.fetch_add(1, Ordering::Relaxed);
                return;
            };
            record.skipped = skipped;
        }
        if self.0.sender.try_send(Message::Record(Box::new(record))).is_err() {
            counts.lost_rows.fetch_add(1, Ordering::Relaxed);
            counts.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was noted before is written, or for a moment if it cannot be.
    pub async fn flushed(&self) {
        let (done, written) = oneshot::channel();
        let flush = async {
            if self.0.sender.send(Message::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        let _ = timeout(LONGEST_FLUSH, flush).await;
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }
}

impl Writer {
    /// Writes until `ended` fires, and then what is there.
    pub async fn run(mut self, ended: CancellationToken) {
        let (mut prune, mut look) = (interval(PRUNE_EVERY), interval(LOOK_EVERY));
        // Without a file it is left to the system what the signal does.
        let mut hangup = match self.file {
            Some(_) => signal(SignalKind::hangup()).ok(),
            None => None,
        };
        loop {
            let mut messages = Vec::new();
            tokio::select! {
                () = ended.cancelled() => break,
                count = self.receiver.recv_many(&mut messages, AT_ONCE) => match count {
                    0 => break,
                    _ => self.write(messages, &ended).await,
                },
                _ = prune.tick() => self.prune().await,
                _ = look.tick(), if self.file.is_some() => self.copy_commands().await,
                () = hung_up(&mut hangup) => self.reopen().await,
            }
        }
        self.receiver.close();
        let mut messages = Vec::new();
        while let Ok(message) = self.receiver.try_recv() {
            messages.push(message);
        }
        self.write(messages, &ended).await;
    }

    async fn write(&mut self, messages: Vec<Message>, ended: &CancellationToken) {
        let (mut records, mut waiting) = (Vec::new(), Vec::new());
        for message in messages {
            match message {
                Message::Record(record) => records.push(*record),
                Message::Flush(done) => waiting.push(done),
            }
        }
        if !records.is_empty() {
            let records: Arc<[AuditRecord]> = records.into();
            self.write_lines(records.clone()).await;
            self.write_rows(records, ended).await;
        }
        for done in waiting {
            let _ = done.send(());
        }
    }

    /// Tries until it is done, nothing more is to come, or the server itself is at fault.
    async fn write_rows(&mut self, records: Arc<[AuditRecord]>, ended: &CancellationToken) {
        loop {
            let error = match self.store.add_audit(records.clone()).await {
                Ok(()) => {
                    self.is_stuck = false;
                    return;
                }
                Err(error) => error,
            };
            if !self.is_stuck {
                warn!(%error, "cannot write the audit log into the database; retrying");
                self.is_stuck = true;
            }
            if error.kind() == Kind::Internal || ended.is_cancelled() {
                let lost = records.len() as u64;
                self.counts.lost_rows.fetch_add(lost, Ordering::Relaxed);
                warn!(lost, "records of the audit log are lost");
                return;
            }
            tokio::select! {
                () = sleep(RETRY_EVERY) => {}
                () = ended.cancelled() => {}
            }
        }
    }

    async fn write_lines(&mut self, records: Arc<[AuditRecord]>) {
        let Some(mut file) = self.file.take() else { return };
        let written = spawn_blocking(move || {
            let followed = file.follow();
            let mut lost = 0;
            let mut fault = followed.err();
            for record in records.iter() {
                let line = serde_json::to_string(record).map_err(std::io::Error::other);
                if let Err(error) = line.and_then(|line| file.append(&line)) {
                    fault = fault.or(Some(error));
                    lost += 1;
                }
            }
            (file, lost, fault)
        });
        // It does not panic.
        let Ok((file, lost, fault)) = written.await else {
            return;
        };
        self.file = Some(file);
        if lost == 0 {
            return;
        }
        let before = self.counts.lost_lines.fetch_add(lost, Ordering::Relaxed);
        // The first of many: a disk that is full says it once.
        if before == 0
            && let Some(error) = fault
        {
            warn!(%error, "cannot write to --audit-log; what is lost is counted in /metrics");
        }
    }

    /// What `finetuned keys` does is in the database only: lines of it are written here.
    async fn copy_commands(&mut self) {
        let Ok(records) = self.store.commands_after(&self.last_command).await else {
            return;
        };
        let Some(last) = records.last() else { return };
        self.last_command = last.id.to_string();
        self.write_lines(records.into()).await;
    }

    async fn reopen(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        let reopened = spawn_blocking(move || {
            let outcome = file.reopen();
            (file, outcome)
        });
        let Ok((file, outcome)) = reopened.await else {
            return;
        };
        self.file = Some(file);
        if let Err(error) = outcome {
            warn!(%error, "cannot open --audit-log again");
        }
    }

    async fn prune(&mut self) {
        let oldest = Timestamp(Timestamp::now().0.saturating_sub(self.longest));
        if let Err(error) = self.store.prune_audit(oldest, self.most).await {
            warn!(%error, "cannot forget old records of the audit log");
        }
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::page::{Order, PageRequest},
        fixtures::{Stand, soon},
        store::AuditFilter,
    };

    fn refusal() -> AuditRecord {
        AuditRecord {
            status: Some(401),
            ..AuditRecord::new("POST", "/v1/jobs")
        }
    }

    #[tokio::test]
    async fn what_was_noted_is_written_at_the_end_at_the_latest() {
        let stand = Stand::new().await;
        let path = stand.beside("audit.jsonl");
        let (journal, writer) = Journal::open(stand.store.clone(), Some(&path), &Limits::DEFAULT).unwrap();
        let peer = Peer::of([192, 0, 2, 7].into(), &[]);
        for _ in 0..50 {
            journal.note(refusal(), peer);
        }
        let mut change = AuditRecord::new("DELETE", "/v1/jobs/{job}");
        change.status = Some(204);
        journal.note(change.clone(), peer);
        assert_eq!(journal.counts().skipped.load(Ordering::Relaxed), 30);
        let ended = CancellationToken::new();
        ended.cancel();
        soon(writer.run(ended)).await;
        let page = PageRequest {
            limit: 100,
            after: None,
            order: Order::Desc,
        };
        let rows = stand
            .store
            .audit(&AuditFilter::default(), &page)
            .await
            .unwrap()
            .data;
        assert_eq!((rows.len(), &rows[0]), (21, &change));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<AuditRecord> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 21);
        assert_eq!(lines.last(), Some(&change));
        // Nobody writes any more.
        journal.note(change, peer);
        assert_eq!(journal.counts().lost_rows.load(Ordering::Relaxed), 1);
        soon(journal.flushed()).await;
    }

    #[tokio::test]
    async fn a_file_that_takes_nothing_costs_its_lines_and_nothing_else() {
        let stand = Stand::new().await;
        let path = stand.beside("audit.jsonl");
        let (journal, writer) = Journal::open(stand.store.clone(), Some(&path), &Limits::DEFAULT).unwrap();
        let ended = CancellationToken::new();
        let running = tokio::spawn(writer.run(ended.clone()));
        let peer = Peer::of([192, 0, 2, 7].into(), &[]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        for _ in 0..3 {
            journal.note(AuditRecord::new("DELETE", "/v1/jobs/{job}"), peer);
        }
        soon(journal.flushed()).await;
        let counts = journal.counts();
        assert_eq!(counts.lost_lines.load(Ordering::Relaxed), 3);
        std::fs::remove_dir(&path).unwrap();
        journal.note(AuditRecord::new("DELETE", "/v1/models/{model}"), peer);
        soon(journal.flushed()).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(counts.lost_rows.load(Ordering::Relaxed), 0);
        ended.cancel();
        soon(running).await.unwrap();
        assert!(Journal::open(stand.store.clone(), Some(stand.folder.path()), &Limits::DEFAULT).is_err());
    }
}
