//! `Dump`: a recording as a file, versioned and with checksums.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::decode;
use super::digest::Payloads;
use super::entry::{Call, Entry};
use super::primitive::Reader;
use super::ring::{Ring, Segment};
use crate::driver::Moment;

/// The first bytes of a dump.
const MAGIC: &[u8; 24] = b"serve-forever recording\n";

/// The version of the format, which follows the magic; the number of segments is behind
/// it.
const VERSION: u32 = 3;

/// The bytes before those of a segment: its number, waits and clock, its length and its
/// checksum.
const HEAD: usize = 3 * 8 + 2 * 4;

/// The longest segment that is read: longer ones are no segments of a recorder.
const LONGEST: u32 = 1 << 30;

/// A recording at one moment: the last entries of a [`Recorder`](super::Recorder), in
/// memory or from a file. docs/recording.md has the format.
///
/// [`Display`](fmt::Display) prints it line by line: the time, the call, the outcome.
#[derive(Clone, Debug)]
pub struct Dump {
    segments: Arc<[Segment]>,
    damage: Option<Damage>,
}

/// The place at which a dump is damaged or cut off. What is before it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The number of the damaged segment, counted from the beginning of the recording;
    /// `None`: not even its head is whole.
    pub segment: Option<u64>,
    /// Its place in the file, in bytes from the beginning.
    pub at: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            Some(segment) => write!(f, "segment {segment}, at byte {}: {}", self.at, self.what),
            None => write!(f, "at byte {}: {}", self.at, self.what),
        }
    }
}

/// A place among the entries of a [`Dump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    segment: usize,
    offset: usize,
    clock: u64,
}

impl Dump {
    pub(super) fn of(ring: &Ring) -> Self {
        Self {
            segments: ring.segments().map(|segment| segment.with(segment.bytes.to_vec())).collect(),
            damage: None,
        }
    }

    /// Reads a dump from a file.
    ///
    /// # Errors
    ///
    /// The system's error; `InvalidData` if the file is no dump, or of another version.
    /// A dump that is damaged is no error: see [`damage`](Self::damage).
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::read(std::fs::File::open(path)?)
    }

    /// Reads a dump.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn read(mut from: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(invalid("that is no recording: it does not begin with the words of one".into()));
        };
        let mut reader = Reader { rest };
        let short = |raw: &[u8]| raw.try_into().map(u32::from_le_bytes).ok();
        let version = reader.raw(4).ok().and_then(short);
        let count = reader.raw(4).ok().and_then(short);
        let (Some(version), Some(count)) = (version, count) else {
            return Err(invalid("the recording is cut off in its head".into()));
        };
        if version != VERSION {
            return Err(invalid(format!(
                "the recording has version {version}, and this library reads {VERSION}; read it with the \
                 version that has written it"
            )));
        }
        let mut segments: Vec<Segment> = Vec::new();
        let mut damage = None;
        for _ in 0..count {
            let at = (bytes.len() - reader.rest.len()) as u64;
            let expected = segments.last().map(|last| last.number + 1);
            match read_segment(&mut reader, expected) {
                Ok(segment) => segments.push(segment),
                Err((segment, what)) => {
                    damage = Some(Damage { segment, at, what });
                    break;
                }
            }
        }
        Ok(Self { segments: segments.into(), damage })
    }

    /// Writes the dump.
    ///
    /// # Errors
    ///
    /// The error of the writer.
    pub fn write_to(&self, mut to: impl Write) -> io::Result<()> {
        write_segments(self.segments.iter().map(|segment| segment.with(&segment.bytes[..])), &mut to)
    }

    /// The place at which the file was damaged or cut off, if it was.
    #[must_use]
    pub const fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Whether the dump goes back to the beginning of the recording. Otherwise the ring
    /// has lost [so many segments](Self::lost_segments).
    #[must_use]
    pub fn has_beginning(&self) -> bool {
        self.segments.first().is_some_and(|first| first.number == 0)
    }

    /// The number of segments that the ring had given up for newer ones.
    #[must_use]
    pub fn lost_segments(&self) -> u64 {
        self.segments.first().map_or(0, |first| first.number)
    }

    /// What was kept of payloads, if the dump has its beginning.
    #[must_use]
    pub fn payloads(&self) -> Option<Payloads> {
        match self.entries().next()?.1.call {
            Call::Began { payloads, .. } => Some(payloads),
            _ => None,
        }
    }

    /// The entries in order, each with the last time that the loop knew then.
    pub fn entries(&self) -> impl Iterator<Item = (Moment, Entry<'_>)> {
        let mut at = self.start();
        std::iter::from_fn(move || {
            let before = at.clock;
            let entry = self.next(&mut at)?;
            Some((Moment::from_nanos(before), entry))
        })
    }

    /// The place before the first entry.
    #[must_use]
    pub fn start(&self) -> Cursor {
        Cursor { segment: 0, offset: 0, clock: self.segments.first().map_or(0, |first| first.clock) }
    }

    /// The entry at a place, which becomes that of the next one. `None` at the end.
    pub fn next(&self, at: &mut Cursor) -> Option<Entry<'_>> {
        loop {
            let segment = self.segments.get(at.segment)?;
            let mut reader = Reader { rest: &segment.bytes[at.offset..] };
            if reader.rest.is_empty() {
                at.segment += 1;
                at.offset = 0;
                continue;
            }
            // `read` has seen that they can be read.
            let entry = decode::entry(&mut reader, &mut at.clock).ok()?;
            at.offset = segment.bytes.len() - reader.rest.len();
            return Some(entry);
        }
    }
}

/// Writes the head of a dump, and segments.
pub(super) fn write_segments<'a>(
    segments: impl Iterator<Item = Segment<&'a [u8]>> + Clone,
    to: &mut impl Write,
) -> io::Result<()> {
    let count = u32::try_from(segments.clone().count()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    to.write_all(&count.to_le_bytes())?;
    for segment in segments {
        let len = u32::try_from(segment.bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut head = Vec::with_capacity(HEAD);
        for number in [segment.number, segment.waits, segment.clock] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&len.to_le_bytes());
        let sum = checksum(&head, segment.bytes);
        head.extend_from_slice(&sum.to_le_bytes());
        to.write_all(&head)?;
        to.write_all(segment.bytes)?;
    }
    to.flush()
}

/// CRC-32 of the head of a segment before the sum itself, and of its bytes.
fn checksum(head: &[u8], bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(bytes);
    sum.finalize()
}

/// Reads one segment, which has this number if one was before it. The error says of
/// which, and what is wrong.
fn read_segment(
    from: &mut Reader<'_>,
    expected: Option<u64>,
) -> Result<Segment, (Option<u64>, &'static str)> {
    let head = from.raw(HEAD).map_err(|_| (None, "the head of a segment is cut off"))?;
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|place| head[at + place]));
    let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|place| head[at + place]));
    let (number, waits, clock, len, sum) = (long(0), long(8), long(16), short(24), short(28));
    let wrong = |what| (Some(number), what);
    if len > LONGEST {
        return Err((None, "the head of a segment is damaged: no segment is so long"));
    }
    let bytes = from.raw(len as usize).map_err(|_| wrong("the segment is cut off"))?;
    if checksum(&head[..HEAD - 4], bytes) != sum {
        return Err(wrong("the checksum is wrong: the segment is damaged"));
    }
    if expected.is_some_and(|expected| expected != number) {
        return Err(wrong("a segment before it is missing"));
    }
    let mut reader = Reader { rest: bytes };
    let mut time = clock;
    while !reader.rest.is_empty() {
        decode::entry(&mut reader, &mut time).map_err(|_| wrong("it holds what is no entry"))?;
    }
    Ok(Segment { number, waits, clock, bytes: bytes.to_vec() })
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_beginning() {
            writeln!(f, "(the first {} segments are lost)", self.lost_segments())?;
        }
        for (at, entry) in self.entries().filter(|(_, entry)| entry.call != Call::Now) {
            writeln!(f, "{:13.6} {entry}", at.as_nanos() as f64 / 1e9)?;
        }
        self.damage.as_ref().map_or(Ok(()), |damage| writeln!(f, "({damage})"))
    }
}
