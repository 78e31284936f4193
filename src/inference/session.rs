//! The life of one predict child: from its first frame to its end, with every request that it was given.
//!
//! Whatever happens, each request gets exactly one answer: the child's, or a refusal when the child is gone.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{shown::Shown, tally::Batches, wire};
use crate::{
    limits::Limits,
    process::{self, ChildGroup, Exit},
    protocol::frames::{
        ModelFiles, PredictInput, PredictOutcome, PredictReply, PredictRequest, PredictTask, Ready,
    },
};

/// How long a child that closed its pipes may take to end, and what it left in them is still read.
const DRAIN: Duration = Duration::from_secs(1);
/// How often the files of deleted models are taken back from the child.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// One image and who waits for its answer.
pub struct Request {
    pub model: ModelFiles,
    pub task: PredictTask,
    pub input: PredictInput,
    pub max_pixels: u64,
    pub body: Bytes,
    /// When its caller stops waiting.
    pub deadline: Instant,
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What the child says, and the body that it comes with.
pub type Answer = (PredictOutcome, Bytes);

impl Request {
    /// Its caller may have left; then this does nothing.
    pub fn refuse(self, why: Refusal) {
        let _ = self.reply.send(Err(why));
    }
}

/// Why there is no answer of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The child is gone; there may be another after this time.
    ComeBack(Duration),
    /// The child had the request for as long as one may take.
    TooLate,
}

/// How a child's life ended.
#[derive(Debug)]
pub enum End {
    /// The server stops.
    Shutdown,
    /// It had nothing to do, and its time was over.
    MadeRoom,
    /// It broke down, hung or spoke nonsense: why, in words for the operator, and whether it had answered anything before.
    Broken { why: String, worked: bool },
}

/// Why a child serves no more.
enum Over {
    /// The server stops, and it has left.
    Shutdown,
    Idle,
    Broken(String),
}

/// A child and what comes from it.
pub struct Session<'a> {
    pub child: ChildGroup,
    pub frames: mpsc::Receiver<wire::Frame>,
    pub shown: Shown,
    /// From then on it ends as soon as nobody waits for it.
    pub makes_room_at: Option<Instant>,
    pub batches: &'a Batches,
    pub limits: &'a Limits,
    pub shutdown: &'a CancellationToken,
}

impl Session<'_> {
    /// Serves `first` and whatever comes after it until the child's life is over. `requests` leads to the child; dropping it asks the
    /// child to leave.
    pub async fn run(
        mut self,
        requests: mpsc::Sender<(PredictRequest, Bytes)>,
        first: Request,
        waiting: &mut mpsc::Receiver<Request>,
    ) -> End {
        if let Err(end) = self.begin().await {
            first.refuse(Refusal::ComeBack(Duration::ZERO));
            return end;
        }
        let mut in_flight = InFlight::new(self.limits.predict_deadline(), self.batches.clone());
        let mut next = Some(first);
        let end = self.serve(requests, &mut next, waiting, &mut in_flight).await;
        if let Some(request) = next {
            request.refuse(Refusal::ComeBack(Duration::ZERO));
        }
        // It is gone before the next one is started: a card may not have room for two.
        self.child.kill();
        let _ = timeout(DRAIN, self.child.wait()).await;
        while let Ok(Some(Ok(frame))) = timeout(DRAIN, self.frames.recv()).await {
            let _ = in_flight.answer(frame);
        }
        in_flight.refuse_all();
        match end {
            Over::Broken(why) => End::Broken {
                why,
                worked: in_flight.answered > 0,
            },
            Over::Idle => End::MadeRoom,
            Over::Shutdown => End::Shutdown,
        }
    }

    /// Waits until the child says that it can work.
    async fn begin(&mut self) -> Result<(), End> {
        let broken = |why| End::Broken { why, worked: false };
        let by = Instant::now() + self.limits.load_deadline();
        tokio::select! {
            () = self.shutdown.cancelled() => Err(End::Shutdown),
            () = sleep_until(by) => Err(broken("it did not become ready in time".to_owned())),
            frame = self.frames.recv() => match frame {
                Some(Ok(frame)) => match serde_json::from_slice::<Ready>(&frame.header) {
                    Ok(ready) => {
                        tracing::info!(device = ready.device, "the predict worker is ready");
                        Ok(())
                    }
                    Err(_) => Err(broken("its first frame is not the ready message".to_owned())),
                },
                Some(Err(why)) => Err(broken(why.to_owned())),
                None => Err(broken(self.how_it_ended().await)),
            },
        }
    }

    /// Returns why the child is of no use any more. `next` is the request that waits for the child to have room.
    async fn serve(
        &mut self,
        requests: mpsc::Sender<(PredictRequest, Bytes)>,
        next: &mut Option<Request>,
        waiting: &mut mpsc::Receiver<Request>,
        in_flight: &mut InFlight,
    ) -> Over {
        let mut tidy = interval(TIDY_EVERY);
        while !self.shutdown.is_cancelled() {
            // Whoever has left needs no place in the child's queue.
            *next = next.take().filter(|request| !request.reply.is_closed());
            let hung_at = in_flight.hung_at();
            let is_idle = next.is_none() && in_flight.entries.is_empty();
            let makes_room_at = self.makes_room_at.filter(|_| is_idle);
            tokio::select! {
                // In this order: an answer that is there counts before the time that it meets, and a child that hangs gets nothing more.
                biased;
                () = self.shutdown.cancelled() => {}
                frame = self.frames.recv() => match frame {
                    Some(Ok(frame)) => {
                        if let Err(why) = in_flight.answer(frame) {
                            return Over::Broken(why.to_owned());
                        }
                    }
                    Some(Err(why)) => return Over::Broken(why.to_owned()),
                    None => return Over::Broken(self.how_it_ended().await),
                },
                () = sleep_until(hung_at.unwrap_or_else(Instant::now)), if hung_at.is_some() => {
                    let allowed = self.limits.predict_deadline_seconds;
                    return Over::Broken(format!("it had requests and answered none for {allowed} s"));
                }
                status = self.child.wait() => return Over::Broken(describe(status)),
                () = sleep_until(makes_room_at.unwrap_or_else(Instant::now)), if makes_room_at.is_some() => {
                    return Over::Idle;
                }
                place = requests.reserve(), if next.is_some() => match (place, next.take()) {
                    (Ok(place), Some(mut request)) => {
                        request.model = self.shown.show(&request.model).await;
                        place.send(in_flight.add(request));
                    }
                    (Err(_), Some(request)) => {
                        request.refuse(Refusal::ComeBack(Duration::ZERO));
                        return Over::Broken(self.how_it_ended().await);
                    }
                    (_, None) => {}
                },
                _ = tidy.tick() => self.shown.hide_deleted(),
                request = waiting.recv(), if next.is_none() => match request {
                    Some(request) => *next = Some(request),
                    // Nobody can ask any more.
                    None => break,
                },
            }
        }
        // Its stdin ends after what is on its way.
        drop(requests);
        self.leave(waiting, in_flight).await;
        Over::Shutdown
    }

    /// Lets the child answer what it has, for as long as the grace period allows.
    async fn leave(&mut self, waiting: &mut mpsc::Receiver<Request>, in_flight: &mut InFlight) {
        waiting.close();
        while let Ok(request) = waiting.try_recv() {
            request.refuse(Refusal::ComeBack(Duration::ZERO));
        }
        let by = Instant::now() + self.limits.stop_grace();
        loop {
            tokio::select! {
                frame = self.frames.recv() => match frame {
                    Some(Ok(frame)) => {
                        if in_flight.answer(frame).is_err() {
                            break;
                        }
                    }
                    _ => break,
                },
                () = sleep_until(by) => return,
            }
        }
        let _ = tokio::time::timeout_at(by, self.child.wait()).await;
    }

    /// What became of a child that closed a pipe.
    async fn how_it_ended(&mut self) -> String {
        match timeout(DRAIN, self.child.wait()).await {
            Ok(status) => describe(status),
            Err(_) => "it closed a pipe but kept running".to_owned(),
        }
    }
}

fn describe(status: io::Result<Exit>) -> String {
    match status {
        Ok(status) => format!("it ended with {}", process::describe(status)),
        Err(error) => error.to_string(),
    }
}

/// Requests that the child has, oldest first.
struct InFlight {
    entries: BTreeMap<u64, Entry>,
    next_id: u64,
    allowed: Duration,
    last_answer: Instant,
    answered: u64,
    batches: Batches,
}

struct Entry {
    reply: oneshot::Sender<Result<Answer, Refusal>>,
    deadline: Instant,
}

impl InFlight {
    fn new(allowed: Duration, batches: Batches) -> Self {
        Self {
            batches,
            entries: BTreeMap::new(),
            next_id: 0,
            allowed,
            last_answer: Instant::now(),
            answered: 0,
        }
    }

    /// What goes to the child for a request.
    fn add(&mut self, request: Request) -> (PredictRequest, Bytes) {
        let id = self.next_id;
        self.next_id += 1;
        let entry = Entry {
            reply: request.reply,
            deadline: request.deadline,
        };
        self.entries.insert(id, entry);
        let header = PredictRequest {
            id,
            model: request.model,
            task: request.task,
            input: request.input,
            max_pixels: request.max_pixels,
        };
        (header, request.body)
    }

    /// Gives a reply to whoever waits for it.
    ///
    /// # Errors
    /// It is no reply to anything that was asked.
    fn answer(&mut self, frame: wire::Reply) -> Result<(), &'static str> {
        let reply: PredictReply =
            serde_json::from_slice(&frame.header).map_err(|_| "a reply cannot be read")?;
        if reply.id >= self.next_id {
            return Err("a reply is to a request that was never made");
        }
        self.last_answer = Instant::now();
        self.answered += 1;
        self.batches.note(reply.batch);
        if let PredictOutcome::ModelUnusable { message } | PredictOutcome::ModelDamaged { message } =
            &reply.outcome
        {
            tracing::error!(message, "cannot load a model");
        }
        if let Some(entry) = self.entries.remove(&reply.id) {
            let _ = entry.reply.send(Ok((reply.outcome, frame.body)));
        }
        self.forget_the_late();
        Ok(())
    }

    /// A child that answers others and never this one must not fill the memory.
    fn forget_the_late(&mut self) {
        while let Some(oldest) = self.entries.first_entry()
            && oldest.get().deadline < self.last_answer
            && oldest.get().reply.is_closed()
        {
            oldest.remove();
        }
    }

    /// When the child counts as hung unless it answers something: when the oldest request is too late and there was no answer for as
    /// long as one may take. None while it has nothing to do. A busy child that answers one request after the other is slow, not hung.
    fn hung_at(&self) -> Option<Instant> {
        let (_, oldest) = self.entries.first_key_value()?;
        Some(oldest.deadline.max(self.last_answer + self.allowed))
    }

    fn refuse_all(&mut self) {
        let now = Instant::now();
        for (_, entry) in std::mem::take(&mut self.entries) {
            let why = match now >= entry.deadline {
                true => Refusal::TooLate,
                false => Refusal::ComeBack(Duration::ZERO),
            };
            let _ = entry.reply.send(Err(why));
        }
    }
}
