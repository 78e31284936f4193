//! Any bytes between the server and its children, cut anywhere: no more memory than has come or a limit allows, and what one side writes the
//! other side reads.
//!
//! The first byte says which way: `r` requests to the predict child as they are on the pipe, `R` pairs of header and body that are put into
//! frames first; `a` and `A` its answers; `m` messages of one-shot children, a line each; `j` their result. The second byte is the size of the
//! pieces, `3` for three bytes.

#![no_main]

use std::sync::{Arc, Mutex};

use finetuned_fuzz::{
    inference::wire,
    memory,
    pieces::{Pieces, wait},
    process::lines::Lines,
    protocol::{
        Device, RunResult, WorkerMessage,
        frames::{self, MAX_HEADER, PredictReply, PredictRequest, Ready},
    },
    worker::predict::pipe::{self, Replies},
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

#[global_allocator]
static MEMORY: memory::Counted = memory::Counted;

/// What readers have of their own: buffers, and a first piece of what was announced.
const BUFFERS: usize = 4 << 20;
const LONGEST_LINE: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let [way, size, rest @ ..] = bytes else { return };
    let size = usize::from(size % 16);
    match way {
        b'r' => requests(rest, size),
        b'R' => requests(&framed(rest), size),
        b'a' => answers(rest, size),
        b'A' => answers(&framed(rest), size),
        b'm' => messages(rest, size),
        b'j' => result(rest),
        _ => {}
    }
});

/// Frames of what is between empty lines: the header is the first line, the body what follows it.
fn framed(text: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\n\n");
        let frame = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 2..]);
        let line = frame.iter().position(|byte| *byte == b'\n');
        let (header, body) = match line {
            Some(line) => (&frame[..line], &frame[line + 1..]),
            None => (frame, &[][..]),
        };
        frames.extend(frames::prefix(header.len() as u32, body.len() as u32));
        frames.extend([header, body].concat());
    }
    frames
}

type Requests = Vec<(PredictRequest, Vec<u8>)>;

fn requests(bytes: &[u8], size: usize) {
    let ((whole, is_in_step), most) = memory::most_during(|| requests_in(bytes, bytes.len()));
    assert!(
        most <= BUFFERS + 8 * bytes.len(),
        "{most} bytes for {}",
        bytes.len()
    );
    assert_eq!(requests_in(bytes, size), (whole.clone(), is_in_step));
    let written = written(whole.clone());
    assert_eq!(requests_in(&written, size), (whole, true));
}

/// The requests that the child reads, and whether it read to the end.
fn requests_in(bytes: &[u8], size: usize) -> (Requests, bool) {
    let mut requests = Vec::new();
    let outcome = pipe::read_all(Pieces::of(bytes, size), |request| {
        requests.push((request.header, request.body));
    });
    (requests, outcome.is_ok())
}

/// The frames that the server writes.
fn written(requests: Requests) -> Vec<u8> {
    wait(async {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let sender = wire::write(near);
        let send = async move {
            for (request, body) in requests {
                sender
                    .send((request, body.into()))
                    .await
                    .expect("the pipe is open");
            }
        };
        let mut bytes = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut far, &mut bytes);
        let (_, read) = futures_util::join!(send, read);
        read.expect("the pipe is open");
        bytes
    })
}

fn answers(bytes: &[u8], size: usize) {
    let ((whole, is_in_step), most) = memory::most_during(|| answers_in(bytes, bytes.len()));
    let allowed = MAX_HEADER as usize + wire::MAX_REPLY_BODY;
    assert!(most <= BUFFERS + allowed + 8 * bytes.len(), "{most} bytes");
    assert_eq!(answers_in(bytes, size), (whole.clone(), is_in_step));
    let taken: usize = whole
        .iter()
        .map(|(header, body)| header.len() + body.len() + frames::PREFIX)
        .sum();
    assert!(taken <= bytes.len());
    for (header, body) in whole {
        read_back::<Ready>(&header);
        let Ok(reply) = serde_json::from_slice::<PredictReply>(&header) else {
            continue;
        };
        let out = Shared::default();
        Replies::to(out.clone()).reply_with(&reply, &body);
        let written = out.0.lock().expect("nobody panicked").clone();
        let (read, is_in_step) = answers_in(&written, size);
        let [(header, same)] = read.as_slice() else {
            panic!("{reply:?} was not read back")
        };
        let again: PredictReply = serde_json::from_slice(header).expect("it was written so");
        assert_eq!((again, same, is_in_step), (reply, &body, true));
    }
}

/// The answers that the server reads, and whether it knew to the end what it read.
fn answers_in(bytes: &[u8], size: usize) -> (Vec<(Vec<u8>, Vec<u8>)>, bool) {
    wait(async {
        let (mut answers, mut is_in_step) = (Vec::new(), true);
        let mut frames = wire::read(Pieces::of(bytes, size));
        while let Some(frame) = frames.recv().await {
            match frame {
                Ok(reply) => answers.push((reply.header, reply.body.to_vec())),
                Err(_) => is_in_step = false,
            }
        }
        (answers, is_in_step)
    })
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn messages(bytes: &[u8], size: usize) {
    let lines = lines_in(bytes, size);
    assert_eq!(lines, lines_in(bytes, bytes.len()));
    let there: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    for ((line, cut), there) in lines.iter().zip(&there) {
        assert_eq!(line, &there[..there.len().min(LONGEST_LINE)]);
        assert_eq!(*cut, there.len() > LONGEST_LINE);
        if let Some(message) = read_back::<WorkerMessage>(line) {
            message.event();
        }
        read_back::<Vec<Device>>(line);
    }
    // Only an empty line at the very end is none.
    assert_eq!(
        lines.len(),
        there.len() - usize::from(bytes.last().is_none_or(|last| *last == b'\n'))
    );
}

fn lines_in(bytes: &[u8], size: usize) -> Vec<(Vec<u8>, bool)> {
    wait(async {
        let mut lines = Lines::new(Pieces::of(bytes, size), LONGEST_LINE);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("memory can be read") {
            all.push((line.bytes, line.cut));
        }
        all
    })
}

fn result(bytes: &[u8]) {
    read_back::<RunResult>(bytes);
}

/// What these bytes say, which is a single line when it is written again and says the same.
fn read_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&read).expect("it is JSON");
    assert!(!text.contains('\n'));
    let again: T = serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    assert_eq!(serde_json::to_string(&again).expect("it is JSON"), text);
    Some(again)
}
