//! Counts what a client of HTTP/2 sends besides requests, and says when it is a flood: pings, settings, priorities and empty frames cost the
//! server work and never a request that could be refused, and a request that is cancelled at once makes room for the next one (CVE-2023-44487,
//! CVE-2019-9512, CVE-2019-9515, CVE-2019-9518).
//!
//! The h2 library bounds the memory of all of these, and resets of requests that it has not handed on. This bounds the work: it reads the
//! heads of frames only.

/// The beginning of a connection (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// The head of a frame: length (3 bytes), type, flags, stream (4 bytes).
const HEAD: usize = 9;
/// Bytes of other frames beyond those of requests and responses: some thousand pings.
const FREE: u64 = 64 << 10;
/// Cancelled requests of a connection that may be most of all its requests.
const MOST_RESETS: u64 = 200;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// The frames of one connection, in both directions.
#[derive(Debug)]
pub struct Frames {
    read: Heads,
    written: Heads,
    /// Bytes of requests and responses, and of all other frames of the client.
    useful: u64,
    other: u64,
    requests: u64,
    resets: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            read: Heads::after(PREFACE),
            written: Heads::after(0),
            useful: 0,
            other: 0,
            requests: 0,
            resets: 0,
        }
    }
}

impl Frames {
    /// The next bytes of the client; true if it floods the connection.
    pub fn read(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(frame) = self.read.next(&mut bytes) {
            let length = frame.bytes;
            match frame.kind {
                HEADERS => {
                    self.requests += 1;
                    self.useful += length;
                }
                CONTINUATION => self.useful += length,
                DATA if length > HEAD as u64 || frame.flags & END_STREAM != 0 => self.useful += length,
                RST_STREAM => self.resets += 1,
                _ => self.other += length,
            }
        }
        self.other > FREE + self.useful || (self.resets > MOST_RESETS && self.resets > self.requests / 2)
    }

    /// The next bytes of the server: whoever takes responses may say more, but not whoever has pings answered.
    pub fn wrote(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.written.next(&mut bytes) {
            if [DATA, HEADERS].contains(&frame.kind) {
                self.useful += frame.bytes;
            }
        }
    }
}

/// A frame whose head is complete.
struct Frame {
    kind: u8,
    flags: u8,
    /// With its head.
    bytes: u64,
}

/// Finds the heads of frames in one direction.
#[derive(Debug)]
struct Heads {
    /// Bytes to skip before the next head: the preface, or a frame's payload.
    skipped: usize,
    head: [u8; HEAD],
    /// Bytes of the head that are here.
    known: usize,
}

impl Heads {
    fn after(skipped: usize) -> Self {
        Self {
            skipped,
            head: [0; HEAD],
            known: 0,
        }
    }

    /// The next frame whose head ends in these bytes, of which those before it are gone then.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = bytes.len().min(self.skipped);
        self.skipped -= skipped;
        *bytes = &bytes[skipped..];
        let taken = bytes.len().min(HEAD - self.known);
        self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
        self.known += taken;
        *bytes = &bytes[taken..];
        if self.known < HEAD {
            return None;
        }
        self.known = 0;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skipped = u32::from_be_bytes([0, high, middle, low]) as usize;
        Some(Frame {
            kind,
            flags,
            bytes: (HEAD + self.skipped) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(HEAD + length, 7);
        frame
    }

    /// Whether it is a flood, however the bytes are divided.
    #[track_caller]
    fn floods(frames: &[Vec<u8>]) -> bool {
        let bytes = [vec![1; PREFACE], frames.concat()].concat();
        let read = |piece: usize| {
            let mut frames = Frames::default();
            bytes.chunks(piece).any(|piece| frames.read(piece))
        };
        let whole = read(bytes.len());
        for piece in [1, 5, 9, 64, 4096] {
            assert_eq!(read(piece), whole, "in chunks of {piece}");
        }
        whole
    }

    const PING: u8 = 6;
    const SETTINGS: u8 = 4;

    #[test]
    fn frames_that_ask_for_nothing_are_a_flood_when_they_are_many() {
        let settings = || frame(SETTINGS, 0, 6);
        for other in [
            frame(PING, 0, 8),
            settings(),
            frame(DATA, 0, 0),
            frame(2, 0, 5),
            frame(0xee, 0, 0),
        ] {
            assert!(!floods(&vec![other.clone(); 1000]));
            assert!(floods(&vec![other; 8000]));
        }
        // A body is worth some pings and updates of windows.
        let upload = [
            frame(HEADERS, 0, 50),
            frame(DATA, 0, 16_384),
            frame(PING, 0, 8),
            frame(8, 0, 4),
        ];
        assert!(!floods(&vec![upload.concat(); 200]));
        // A last frame may be empty.
        assert!(!floods(&vec![frame(DATA, END_STREAM, 0); 20_000]));
    }

    #[test]
    fn cancelling_most_requests_is_a_flood_and_cancelling_some_is_not() {
        let (asked, cancelled) = (frame(HEADERS, 5, 30), frame(RST_STREAM, 0, 4));
        let rapid = [asked.clone(), cancelled.clone()].concat();
        assert!(!floods(&vec![rapid.clone(); 200]));
        assert!(floods(&vec![rapid; 202]));
        let some = [asked.clone(), asked.clone(), asked, cancelled].concat();
        assert!(!floods(&vec![some; 2000]));
    }

    #[test]
    fn whoever_takes_responses_may_update_windows() {
        let mut frames = Frames::default();
        frames.read(&[1; PREFACE]);
        let piece = frame(DATA, 0, 4096);
        for _ in 0..100_000 {
            frames.wrote(&piece[..1000]);
            frames.wrote(&piece[1000..]);
            assert!(!frames.read(&frame(8, 0, 4)));
        }
        // An answer to a ping earns none.
        let mut frames = Frames::default();
        frames.read(&[1; PREFACE]);
        let flooded = (0..8000).any(|_| {
            frames.wrote(&frame(PING, 1, 8));
            frames.read(&frame(PING, 0, 8))
        });
        assert!(flooded);
    }
}
