//! Counts what is really extracted from an archive, whatever its headers promise, and stops at the limits.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read},
};

use super::super::{pulse::Heartbeat, rejection::Rejection};
use crate::limits::IngestLimits;

/// Below this many bytes any expansion is harmless.
const RATIO_COUNTS_FROM: u64 = 1 << 20;

/// The counts of one pass over an archive. An exceeded limit is stored here, because it must travel as an `io::Error` through readers that
/// do not know it.
pub struct Gauge<'a> {
    pub limits: &'a IngestLimits,
    pub heartbeat: &'a Heartbeat<'a>,
    expanded: Cell<u64>,
    rejection: RefCell<Option<Rejection>>,
}

impl<'a> Gauge<'a> {
    pub fn new(limits: &'a IngestLimits, heartbeat: &'a Heartbeat<'a>) -> Self {
        Self {
            limits,
            heartbeat,
            expanded: Cell::new(0),
            rejection: RefCell::new(None),
        }
    }

    /// Bytes extracted so far.
    pub fn expanded(&self) -> u64 {
        self.expanded.get()
    }

    fn count(&self, bytes: u64) -> io::Result<()> {
        self.heartbeat.beat()?;
        self.expanded.set(self.expanded.get().saturating_add(bytes));
        if self.expanded.get() > self.limits.max_expanded_bytes {
            return Err(self.reject(Rejection::too_large(self.limits)));
        }
        Ok(())
    }

    fn check_ratio(&self, expanded: u64, packed: u64, shown: Option<&str>) -> io::Result<()> {
        let most = packed.max(1).saturating_mul(self.limits.max_expansion_ratio);
        if expanded > RATIO_COUNTS_FROM && expanded > most {
            return Err(self.reject(Rejection::expansion_ratio(shown, self.limits)));
        }
        Ok(())
    }

    pub fn reject(&self, rejection: Rejection) -> io::Error {
        let error = io::Error::other(rejection.clone());
        self.rejection.borrow_mut().get_or_insert(rejection);
        error
    }

    /// The exceeded limit, if that is why reading failed.
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection.borrow().clone()
    }
}

/// One packed entry, measured while it is read.
pub struct GaugedEntry<'a, R> {
    pub inner: R,
    pub gauge: &'a Gauge<'a>,
    /// Compressed size of the entry in the archive.
    pub packed: u64,
    /// Uncompressed size, according to the archive.
    pub declared: u64,
    pub shown: &'a str,
    expanded: u64,
}

impl<'a, R: Read> GaugedEntry<'a, R> {
    pub fn new(inner: R, gauge: &'a Gauge<'a>, [packed, declared]: [u64; 2], shown: &'a str) -> Self {
        Self {
            inner,
            gauge,
            packed,
            declared,
            shown,
            expanded: 0,
        }
    }
}

impl<R: Read> Read for GaugedEntry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.expanded += count as u64;
        self.gauge.count(count as u64)?;
        self.gauge
            .check_ratio(self.expanded, self.packed, Some(self.shown))?;
        if count == 0 && !buffer.is_empty() && self.expanded != self.declared {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}

/// A whole stream, measured while it is read. If it is compressed, its expansion is measured over all of it so far, because nothing marks
/// where one entry's compressed bytes end.
pub struct GaugedStream<'a, R> {
    pub inner: R,
    pub gauge: &'a Gauge<'a>,
    /// Bytes read from the compressed file so far.
    pub packed: Option<&'a Cell<u64>>,
    /// What may still be read before it is reset: limits what a reader keeps in memory between two entries.
    pub allowance: &'a Cell<u64>,
}

impl<R: Read> Read for GaugedStream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.gauge.count(count as u64)?;
        if let Some(packed) = self.packed {
            self.gauge
                .check_ratio(self.gauge.expanded(), packed.get(), None)?;
        }
        let Some(left) = self.allowance.get().checked_sub(count as u64) else {
            let message = "the archive's description of an entry is far too long; pack it again";
            return Err(self.gauge.reject(Rejection::unreadable(message)));
        };
        self.allowance.set(left);
        Ok(count)
    }
}

/// Counts the bytes that a decompressor reads, which may go on for long without anything coming out.
pub struct Counted<'a, R> {
    pub inner: R,
    pub bytes: &'a Cell<u64>,
    pub heartbeat: &'a Heartbeat<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.heartbeat.beat()?;
        let count = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}
