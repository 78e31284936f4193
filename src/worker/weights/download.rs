//! From a hub or registry into the cache: a cached file is used, a partial download is resumed, nothing is trusted before it is verified.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use reqwest::{StatusCode, Url, blocking::Response};

use super::{
    cache::{self, Known, PartialMetadata, Place},
    fault::HubFault,
    loading::Patience,
    request::{self, Answer, FileHeaders, Hub, RequestFault},
};
use crate::{
    protocol::WorkerMessage,
    worker::process::child::{Reporter, StopFlag},
};

/// Shortest time between two progress messages.
const MESSAGE_EVERY: Duration = Duration::from_secs(1);

/// A file to be fetched.
pub(super) struct Wanted {
    pub place: Place,
    /// In messages, such as `the weights timm/resnet18.tv_in1k`.
    pub what: String,
    /// Host that it comes from, for people.
    pub host: String,
    pub known: Known,
    pub offline: bool,
    pub most_bytes: u64,
    /// Whether a complete file is one of its kind: a proxy's page instead of it must not get into the cache.
    pub is_sound: fn(&Path) -> Result<(), HubFault>,
}

impl Wanted {
    pub fn is_cached(&self) -> bool {
        matches!(self.place.check(&self.known), Ok(true))
    }
}

/// The path of the file in the cache, downloaded first if it is not there. `locate` finds out its address.
pub(super) fn cached(
    wanted: &Wanted,
    locate: impl FnOnce() -> Result<(Hub, Url), HubFault>,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<PathBuf, HubFault> {
    let Wanted { place, known, .. } = wanted;
    if wanted.offline {
        let there = place.check(known)?;
        return if there {
            Ok(place.file())
        } else {
            Err(HubFault::Offline)
        };
    }
    match place.check(known) {
        Ok(true) => return Ok(place.file()),
        Err(HubFault::Damaged) => {
            let message = format!("{}; it is fetched again", HubFault::Damaged);
            reporter.send(&WorkerMessage::warning("weights_damaged", message));
        }
        _ => {}
    }
    let _lock = place.lock(reporter, stop)?;
    if !matches!(place.check(known), Ok(true)) {
        let (hub, address) = locate()?;
        fetch(wanted, hub, address, patience, reporter, stop)?;
    }
    Ok(place.file())
}

fn fetch(
    wanted: &Wanted,
    hub: Hub,
    address: Url,
    patience: &Patience,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<(), HubFault> {
    let place = &wanted.place;
    let mut download = Download {
        wanted,
        hub,
        address,
        told: FileHeaders::default(),
        progress: Progress::begin(wanted, reporter),
        window: patience.window,
        stop,
    };
    let gone_on_with = place.unfinished().is_some();
    let mut outcome = download.run(patience).and_then(|()| download.check());
    if gone_on_with
        && matches!(
            outcome,
            Err(HubFault::WrongHash { .. } | HubFault::WrongSize { .. })
        )
    {
        // The partial download may have been of another file; the next attempt starts over.
        place.forget()?;
        outcome = download.run(patience).and_then(|()| download.check());
    }
    if let Err(fault) = outcome {
        // Some of it may be there, and the next attempt resumes it.
        if !matches!(
            fault,
            HubFault::Stopped | HubFault::Broken(_) | HubFault::Slow { .. } | HubFault::Unreachable(_)
        ) {
            place.forget()?;
        }
        return Err(fault);
    }
    place.publish()?;
    download.progress.end();
    Ok(())
}

/// One file being downloaded.
struct Download<'a> {
    wanted: &'a Wanted,
    hub: Hub,
    address: Url,
    told: FileHeaders,
    progress: Progress<'a>,
    /// See [`Patience::window`].
    window: Duration,
    stop: &'a StopFlag,
}

/// Why one attempt did not get the whole file.
pub(super) enum Interruption {
    Final(HubFault),
    Transient(String),
}

impl From<HubFault> for Interruption {
    fn from(fault: HubFault) -> Self {
        Interruption::Final(fault)
    }
}

impl From<std::io::Error> for Interruption {
    fn from(fault: std::io::Error) -> Self {
        Interruption::Final(fault.into())
    }
}

impl Download<'_> {
    /// Tries until the file is complete, or until several attempts in a row have brought nothing.
    fn run(&mut self, patience: &Patience) -> Result<(), HubFault> {
        let mut in_vain = 0;
        loop {
            if self.stop.is_set() {
                return Err(HubFault::Stopped);
            }
            self.progress.alive(patience);
            let before = self.progress.here;
            let reason = match self.once() {
                Ok(()) => return Ok(()),
                Err(Interruption::Final(fault)) => return Err(fault),
                Err(Interruption::Transient(reason)) => reason,
            };
            in_vain = if self.progress.here > before {
                1
            } else {
                in_vain + 1
            };
            if in_vain >= patience.tries {
                return Err(HubFault::Broken(reason));
            }
            thread::sleep(patience.pause * 2u32.saturating_pow(in_vain - 1));
        }
    }

    fn once(&mut self) -> Result<(), Interruption> {
        let unfinished = self.wanted.place.unfinished();
        let answer = self.hub.ask(&self.address, unfinished.as_ref());
        let Answer { response, told } = answer.map_err(|none| match none {
            RequestFault::Final(fault) => Interruption::Final(fault),
            RequestFault::Transient(reason) => Interruption::Transient(reason),
        })?;
        self.told = told;
        self.agree_on_hash()?;
        let status = response.status();
        let begin = match (status, &unfinished) {
            (StatusCode::OK, _) => 0,
            (StatusCode::PARTIAL_CONTENT, Some((length, note))) => {
                let same_place =
                    request::content_range(response.headers()).is_some_and(|(first, _)| first == *length);
                let same_file =
                    note.sha256.is_none() || self.told.sha256.is_none() || note.sha256 == self.told.sha256;
                if !(same_place && same_file) {
                    self.wanted.place.forget()?;
                    return Err(Interruption::Transient(
                        "it sent another part than requested".into(),
                    ));
                }
                *length
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some((length, _))) => {
                // All of it was already there, or it is of another file.
                if self.expected_bytes() == Some(*length) {
                    return Ok(());
                }
                self.wanted.place.forget()?;
                return Err(Interruption::Transient("it no longer has that part".into()));
            }
            _ => return Err(refusal(status, self.hub.has_token())),
        };
        self.receive(response, begin)
    }

    /// If the job's own expectation and the hub's differ, no bytes need to be downloaded to notice it.
    fn agree_on_hash(&self) -> Result<(), HubFault> {
        match (&self.wanted.known.sha256, &self.told.sha256) {
            (Some(expected), Some(found)) if !expected.eq_ignore_ascii_case(found) => {
                Err(HubFault::WrongHash {
                    expected: expected.clone(),
                    found: found.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Writes the body after the first `begin` bytes of the partial file.
    fn receive(&mut self, mut response: Response, begin: u64) -> Result<(), Interruption> {
        let announced = response.content_length().map(|rest| begin + rest);
        let whole = self.expected_bytes().or(announced);
        let limit = self.wanted.most_bytes;
        if whole.is_some_and(|whole| whole > limit) {
            return Err(HubFault::TooLarge { limit }.into());
        }
        if let (Some(expected), Some(found)) = (whole, announced)
            && expected != found
        {
            return Err(HubFault::WrongSize { expected, found }.into());
        }
        let mut part = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.wanted.place.part())?;
        part.set_len(begin)?;
        self.wanted.place.remember(&PartialMetadata {
            validator: request::strong_validator(response.headers()),
            sha256: self.expected_sha256().map(str::to_owned),
        })?;
        std::io::Seek::seek(&mut part, std::io::SeekFrom::Start(begin))?;
        self.progress.here = begin;
        self.progress.whole = whole;
        self.copy(&mut response, &mut part)?;
        match whole {
            Some(whole) if self.progress.here < whole => {
                let message = format!("it ended after {} of {whole} bytes", self.progress.here);
                Err(Interruption::Transient(message))
            }
            _ => Ok(()),
        }
    }

    fn copy(&mut self, response: &mut Response, part: &mut File) -> Result<(), Interruption> {
        let mut chunk = vec![0; 256 << 10];
        let mut window = (Instant::now(), self.progress.here);
        loop {
            let count = match response.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(fault) => return Err(Interruption::Transient(broken_body(fault))),
            };
            part.write_all(&chunk[..count])?;
            if self.stop.is_set() {
                return Err(HubFault::Stopped.into());
            }
            self.progress.add(count as u64);
            let limit = self.wanted.most_bytes;
            if self.progress.here > limit {
                return Err(HubFault::TooLarge { limit }.into());
            }
            let (begun, bytes) = (window.0.elapsed(), self.progress.here - window.1);
            if begun >= self.window {
                let least = Patience::MIN_BYTES_PER_SECOND;
                if (bytes as f64) < least * begun.as_secs_f64() {
                    return Err(HubFault::Slow { least }.into());
                }
                window = (Instant::now(), self.progress.here);
            }
        }
    }

    fn expected_bytes(&self) -> Option<u64> {
        self.wanted.known.bytes.or(self.told.bytes)
    }

    fn expected_sha256(&self) -> Option<&str> {
        self.wanted
            .known
            .sha256
            .as_deref()
            .or(self.told.sha256.as_deref())
    }

    /// Verifies the complete file against everything that is known about it.
    fn check(&self) -> Result<(), HubFault> {
        let part = self.wanted.place.part();
        cache::check_size(self.expected_bytes(), std::fs::metadata(&part)?.len())?;
        cache::check_hash(self.expected_sha256(), &part)?;
        (self.wanted.is_sound)(&part)
    }
}

/// What a status means; `has_token`: whether the request had one.
pub(super) fn refusal(status: StatusCode, has_token: bool) -> Interruption {
    let transient = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let code = status.as_u16();
    if transient {
        return Interruption::Transient(format!("it answers {code}"));
    }
    Interruption::Final(match code {
        401 => HubFault::Unauthorized { has_token },
        403 => HubFault::Forbidden,
        404 | 410 => HubFault::Missing { status: code },
        _ => HubFault::Refused { status: code },
    })
}

pub(super) fn broken_body(fault: std::io::Error) -> String {
    match fault.downcast::<reqwest::Error>() {
        Ok(fault) if fault.is_timeout() => "nothing more came in time".to_owned(),
        Ok(fault) => request::reason(fault),
        Err(fault) => fault.to_string(),
    }
}

/// Reports the progress of the download, at most once a second.
struct Progress<'a> {
    reporter: &'a Reporter,
    name: &'a str,
    here: u64,
    whole: Option<u64>,
    begun: Instant,
    told: Instant,
}

impl<'a> Progress<'a> {
    fn begin(wanted: &'a Wanted, reporter: &'a Reporter) -> Self {
        let name = wanted.what.as_str();
        reporter.send(&WorkerMessage::log(format!(
            "fetching {name} from {}",
            wanted.host
        )));
        let now = Instant::now();
        Self {
            reporter,
            name,
            here: 0,
            whole: None,
            begun: now,
            told: now,
        }
    }

    /// The longest silence that can follow is a connection and a response that both take as long as allowed, on every redirect.
    fn alive(&self, patience: &Patience) {
        let longest = (patience.connect + patience.read) * 4 + patience.pause * 8;
        self.reporter.send(&WorkerMessage::Alive {
            deadline_seconds: Some(longest.as_secs().max(60)),
        });
    }

    fn add(&mut self, bytes: u64) {
        self.here += bytes;
        if self.told.elapsed() < MESSAGE_EVERY {
            return;
        }
        self.told = Instant::now();
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let share = match self.whole {
            Some(whole) if whole > 0 => {
                let percent = 100 * self.here / whole;
                format!(
                    "{percent} % ({:.1} of {:.1} MB)",
                    megabytes(self.here),
                    megabytes(whole)
                )
            }
            _ => format!("{:.1} MB", megabytes(self.here)),
        };
        let message = format!("fetching {}: {share}", self.name);
        self.reporter.send(&WorkerMessage::log(message));
    }

    fn end(&self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let megabytes = self.here as f64 / 1e6;
        let message = format!("fetched {} ({megabytes:.1} MB in {seconds:.1} s)", self.name);
        self.reporter.send(&WorkerMessage::log(message));
    }
}
