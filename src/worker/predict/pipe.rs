//! Frames as bytes: requests read, replies written. See `protocol::frames` for the format.

use std::{
    io::{self, BufReader, Read, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use serde::Serialize;

use super::request::Request;
use crate::protocol::frames::{self, PREFIX, PredictOutcome, PredictReply, Ready};

/// Reads requests until the input ends.
///
/// # Errors
/// If the stream is out of sync: nothing after that can be parsed.
pub fn read_all(input: impl Read, mut each: impl FnMut(Request)) -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(256 << 10, input);
    while let Some(request) = read_request(&mut input)? {
        each(request);
    }
    Ok(())
}

fn read_request(input: &mut impl Read) -> anyhow::Result<Option<Request>> {
    let mut prefix = [0; PREFIX];
    if !read_whole(input, &mut prefix)? {
        return Ok(None);
    }
    let Some((header, body)) = frames::lengths(prefix) else {
        bail!("a request on stdin exceeds the maximum length");
    };
    let (Some(header), Some(body)) = (read_part(input, header)?, read_part(input, body)?) else {
        return Ok(None);
    };
    let header = serde_json::from_slice(&header).context("cannot parse a request on stdin")?;
    Ok(Some(Request {
        header,
        body,
        arrived: Instant::now(),
    }))
}

/// Whether the buffer could be filled; an end in the middle means, like any other, that the server is gone.
fn read_whole(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Memory grows with what arrives, not with what was announced.
fn read_part(input: &mut impl Read, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut part = Vec::with_capacity(length.min(1 << 20));
    let count = input.take(length as u64).read_to_end(&mut part)?;
    Ok((count == length).then_some(part))
}

/// Writes replies, from any thread, without mixing them.
pub struct Replies {
    out: Mutex<Box<dyn Write + Send>>,
    unheard: AtomicBool,
}

impl Replies {
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Mutex::new(Box::new(out)),
            unheard: AtomicBool::new(false),
        }
    }

    pub fn ready(&self, ready: &Ready) {
        self.send(ready, &[]);
    }

    pub fn reply(&self, id: u64, outcome: PredictOutcome) {
        let batch = 0;
        self.reply_with(&PredictReply { id, batch, outcome }, &[]);
    }

    /// A reply with a body.
    pub fn reply_with(&self, reply: &PredictReply, body: &[u8]) {
        self.send(reply, body);
    }

    /// Whether a reply could not be written: there is nobody left to answer.
    pub fn unheard(&self) -> bool {
        self.unheard.load(Ordering::SeqCst)
    }

    fn send(&self, header: &impl Serialize, body: &[u8]) {
        let written = serde_json::to_vec(header)
            .map_err(io::Error::from)
            .and_then(|json| {
                let mut frame = frames::prefix(json.len() as u32, body.len() as u32).to_vec();
                frame.extend(json);
                frame.extend(body);
                let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
                out.write_all(&frame).and_then(|()| out.flush())
            });
        if let Err(fault) = written
            && !self.unheard.swap(true, Ordering::SeqCst)
        {
            tracing::warn!("cannot write replies any more: {fault}");
        }
    }
}
