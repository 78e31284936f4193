//! Gzip as gzip(1) and Python read it: consecutive members are one stream (RFC 1952, 2.2), and zeros after the last are padding.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use crate::worker::ingest::pulse::Heartbeat;

pub struct Members<'a, R> {
    /// None once the last one has been read.
    member: Option<GzDecoder<R>>,
    heartbeat: &'a Heartbeat<'a>,
}

impl<'a, R: BufRead> Members<'a, R> {
    pub fn new(inner: R, heartbeat: &'a Heartbeat<'a>) -> Self {
        Self {
            member: Some(GzDecoder::new(inner)),
            heartbeat,
        }
    }
}

impl<R: BufRead> Read for Members<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            // Millions of empty members produce nothing for a long time.
            self.heartbeat.beat()?;
            let inner = self.member.take().map(GzDecoder::into_inner);
            self.member = inner.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

fn next_member<R: BufRead>(mut inner: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let bytes = inner.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        if zeros == 0 {
            return Ok(Some(GzDecoder::new(inner)));
        }
        inner.consume(zeros);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::worker::process::child::{Reporter, StopFlag};

    fn packed(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (reporter, stop) = (Reporter::to(io::sink()), StopFlag::default());
        let heartbeat = Heartbeat::new(&reporter, &stop);
        let mut all = Vec::new();
        Members::new(bytes, &heartbeat).read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn members_are_one_stream_and_zeros_after_them_padding() {
        let three = [packed(b"ants "), packed(b""), packed(b"bees")].concat();
        assert_eq!(read(&three).unwrap(), b"ants bees");
        assert_eq!(
            read(&[three.as_slice(), &[0; 3000]].concat()).unwrap(),
            b"ants bees"
        );
    }

    #[test]
    fn what_follows_a_member_and_is_none_is_an_error_and_so_is_a_wrong_checksum() {
        assert!(read(&[packed(b"ants").as_slice(), b"more"].concat()).is_err());
        let mut wrong = packed(b"ants");
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        assert!(read(&wrong).is_err());
        assert!(read(&packed(b"ants")[..10]).is_err());
        assert!(read(b"").is_err());
    }
}
