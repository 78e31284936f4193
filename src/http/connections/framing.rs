//! Finds where requests begin and end on a connection, to refuse those that two parsers could read differently (RFC 9112, section 11.2).
//!
//! hyper parses the requests. This checks the same bytes, because hyper is lenient where a proxy in front may be lenient in another way: it
//! accepts a bare line feed as the end of a line and drops a length beside an encoding, and the remaining headers show neither.

use memchr::{memchr_iter, memmem};

/// More than hyper accepts for a head; it has refused the request by then.
const MOST_HEAD_BYTES: usize = 128 << 10;

/// What is ambiguous in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    BareLineFeed,
    Hosts,
    Encoding,
    LengthAndEncoding,
    Lengths,
}

impl FramingFault {
    /// The message for the client.
    pub fn detail(self) -> &'static str {
        match self {
            Self::BareLineFeed => "the lines of a request's head must end with CRLF",
            Self::Hosts => "a request must have exactly one `Host` header",
            Self::Encoding => "the only supported `Transfer-Encoding` is `chunked`, once",
            Self::LengthAndEncoding => {
                "a request must not have both `Content-Length` and `Transfer-Encoding`"
            }
            Self::Lengths => "a request must have at most one `Content-Length` header",
        }
    }
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Framing {
    part: Part,
    /// The incomplete head received so far.
    head: Vec<u8>,
    /// Number of complete heads.
    heads: u64,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    Head,
    /// Remaining bytes of a body with a `Content-Length`.
    Body(u64),
    Chunks(Chunks),
    /// The data cannot be parsed: the connection will be closed.
    Lost,
}

impl Framing {
    /// Reads the next bytes. Returns a fault, once there is one, with the number of its request, counted from 1.
    pub fn read(&mut self, mut bytes: &[u8]) -> Option<(u64, FramingFault)> {
        while !bytes.is_empty() {
            match &mut self.part {
                Part::Head => match self.read_head(bytes) {
                    Ok(rest) => bytes = rest,
                    Err(fault) => {
                        self.part = Part::Lost;
                        self.head = Vec::new();
                        return Some((self.heads + 1, fault));
                    }
                },
                Part::Body(left) => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    bytes = &bytes[taken..];
                    *left -= taken as u64;
                    if *left == 0 {
                        self.part = Part::Head;
                    }
                }
                Part::Chunks(chunks) => match chunks.read(bytes) {
                    Some(rest) => {
                        bytes = rest;
                        if matches!(chunks, Chunks::Over) {
                            self.part = Part::Head;
                        }
                    }
                    None => self.part = Part::Lost,
                },
                Part::Lost => break,
            }
        }
        None
    }

    /// The bytes after the head; `None` if it is incomplete.
    fn read_head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], FramingFault> {
        let mut bytes = bytes;
        if self.head == b"\r"
            && let Some(rest) = bytes.strip_prefix(b"\n")
        {
            (self.head, bytes) = (Vec::new(), rest);
        }
        if self.head.is_empty() {
            bytes = without_empty_lines(bytes);
            // The usual case: the head arrives in one chunk.
            if let Some(end) = memmem::find(bytes, b"\r\n\r\n") {
                let (head, rest) = bytes.split_at(end + 4);
                self.end_head(head)?;
                return Ok(rest);
            }
        }
        let known = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.head[known.saturating_sub(3)..], b"\r\n\r\n") else {
            check_line_ends(&self.head, known)?;
            if self.head.len() > MOST_HEAD_BYTES {
                self.part = Part::Lost;
                self.head = Vec::new();
            }
            return Ok(&[]);
        };
        let mut head = std::mem::take(&mut self.head);
        head.truncate(known.saturating_sub(3) + end + 4);
        self.end_head(&head)?;
        Ok(&bytes[head.len() - known..])
    }

    fn end_head(&mut self, head: &[u8]) -> Result<(), FramingFault> {
        check_line_ends(head, 0)?;
        self.part = body_of(head)?;
        self.heads += 1;
        Ok(())
    }
}

/// Skips empty lines before a request (RFC 9112, section 2.2).
fn without_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    bytes
}

fn check_line_ends(head: &[u8], from: usize) -> Result<(), FramingFault> {
    let bare = |at: usize| at == 0 || head[at - 1] != b'\r';
    match memchr_iter(b'\n', &head[from..]).any(|at| bare(from + at)) {
        true => Err(FramingFault::BareLineFeed),
        false => Ok(()),
    }
}

/// How the body after a head is framed.
fn body_of(head: &[u8]) -> Result<Part, FramingFault> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let hosts_needed = lines.next().is_some_and(|line| line.ends_with(b"HTTP/1.1"));
    let (mut hosts, mut length, mut chunked) = (0, None, false);
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(value).is_some() {
                return Err(FramingFault::Lengths);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingFault::Encoding);
            }
            chunked = true;
        }
    }
    if hosts > 1 || (hosts_needed && hosts == 0) {
        return Err(FramingFault::Hosts);
    }
    Ok(match (length, chunked) {
        (Some(_), true) => return Err(FramingFault::LengthAndEncoding),
        (None, true) => Part::Chunks(Chunks::Size(0)),
        // hyper refuses anything that is not a number.
        (Some(length), false) => match std::str::from_utf8(length)
            .ok()
            .and_then(|text| text.parse().ok())
        {
            Some(0) => Part::Head,
            Some(length) => Part::Body(length),
            None => Part::Lost,
        },
        (None, false) => Part::Head,
    })
}

/// A chunked body (RFC 9112, section 7.1).
#[derive(Debug)]
enum Chunks {
    /// The chunk size so far.
    Size(u64),
    /// The rest of the size line (chunk extensions), for a chunk of this size.
    Extension(u64),
    /// The line feed after it.
    SizeEnd(u64),
    Data(u64),
    /// The end of a chunk's data, and how many of its bytes were received.
    DataEnd(u8),
    /// A line after the last chunk (trailer), and its length so far.
    Trailer(usize),
    TrailerEnd(usize),
    Over,
}

impl Chunks {
    /// Consumes the bytes of the body; `None` if they are invalid.
    fn read<'b>(&mut self, mut bytes: &'b [u8]) -> Option<&'b [u8]> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Self::Data(left) = self {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                bytes = &bytes[taken..];
                if *left == 0 {
                    *self = Self::DataEnd(0);
                }
                continue;
            }
            bytes = rest;
            *self = self.next(byte)?;
            if matches!(self, Self::Over) {
                break;
            }
        }
        Some(bytes)
    }

    fn next(&self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeEnd(*size),
            (Self::Size(size), b';' | b' ' | b'\t') => Self::Extension(*size),
            (Self::Size(size), digit) => {
                let digit = u64::from((digit as char).to_digit(16)?);
                Self::Size(size.checked_mul(16)?.checked_add(digit)?)
            }
            (Self::Extension(_), b'\n') => return None,
            (Self::Extension(size), _) => Self::Extension(*size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer(0),
            (Self::SizeEnd(size), b'\n') => Self::Data(*size),
            (Self::DataEnd(0), b'\r') => Self::DataEnd(1),
            (Self::DataEnd(1), b'\n') => Self::Size(0),
            (Self::Trailer(length), b'\r') => Self::TrailerEnd(*length),
            (Self::Trailer(_), b'\n') => return None,
            (Self::Trailer(length), _) => Self::Trailer(length + 1),
            (Self::TrailerEnd(0), b'\n') => Self::Over,
            (Self::TrailerEnd(_), b'\n') => Self::Trailer(0),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// The result, however the bytes are divided.
    #[track_caller]
    fn found(bytes: &str) -> Option<(u64, FramingFault)> {
        let read = |piece: usize| {
            let mut framing = Framing::default();
            bytes
                .as_bytes()
                .chunks(piece)
                .find_map(|piece| framing.read(piece))
        };
        let whole = read(bytes.len());
        for piece in [1, 2, 3, 7, 40] {
            assert_eq!(read(piece), whole, "in chunks of {piece}: {bytes:?}");
        }
        whole
    }

    #[test]
    fn requests_one_after_another_are_told_apart() {
        let head = |more: &str| format!("POST /v1/jobs HTTP/1.1\r\nhost: x\r\n{more}\r\n\r\n");
        let bodies = [
            head("content-length: 12") + "a\n\nb\r\n\r\nc\n\nd",
            head("Content-Length: 0"),
            head("transfer-encoding: Chunked") + "3;a=b\r\n\n\n\n\r\nA\r\n0123\n56789\r\n0\r\n\r\n",
            head("transfer-encoding: chunked") + "0\r\nx-trailer: a\r\nhost: b\r\n\r\n",
            format!("\r\n\r\n{GET}"),
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
        ];
        let all = bodies.concat();
        assert_eq!(found(&all), None);
        // The position after them is still known.
        assert_eq!(
            found(&format!("{all}GET / HTTP/1.1\nHost: x\r\n\r\n")),
            Some((7, FramingFault::BareLineFeed))
        );
    }

    #[test]
    fn what_can_be_understood_in_two_ways_is_found() {
        for (head, fault) in [
            ("GET / HTTP/1.1\nHost: x\n\n", FramingFault::BareLineFeed),
            (
                "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
                FramingFault::BareLineFeed,
            ),
            ("GET / HTTP/1.1\r\nHost: x\r\n\n", FramingFault::BareLineFeed),
            ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", FramingFault::BareLineFeed),
            ("GET / HTTP/1.1\r\n\r\n", FramingFault::Hosts),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n",
                FramingFault::Hosts,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                FramingFault::Encoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                FramingFault::Encoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
                FramingFault::Encoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
                FramingFault::Encoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                FramingFault::LengthAndEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length: 5\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                FramingFault::LengthAndEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                FramingFault::Lengths,
            ),
        ] {
            assert_eq!(found(head), Some((1, fault)), "{head:?}");
            assert_eq!(found(&format!("{GET}{head}")), Some((2, fault)), "{head:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_not_kept() {
        let mut framing = Framing::default();
        let line = format!("x: {}\r\n", "y".repeat(1000));
        for _ in 0..1000 {
            assert_eq!(framing.read(line.as_bytes()), None);
            assert!(framing.head.len() <= MOST_HEAD_BYTES);
        }
    }
}
