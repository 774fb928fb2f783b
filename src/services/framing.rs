//! `Framing`: cuts the stream of a service into requests, as lines or as
//! chunks.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BytesMut};

/// The rule by which one request of a stream ends and the next begins.
///
/// TCP is a stream: several reads may return what one `send` wrote, and one
/// read what several wrote. So a protocol has to define where a request ends,
/// as `Lines` does.
///
/// ```
/// use bytes::BytesMut;
/// use serve_forever::services::Framing;
///
/// let mut input = BytesMut::from("one\r\ntwo\nthr");
/// assert_eq!(Framing::Lines.next(&mut input)?.as_deref(), Some(&b"one"[..]));
/// assert_eq!(Framing::Lines.next(&mut input)?.as_deref(), Some(&b"two"[..]));
/// assert_eq!(Framing::Lines.next(&mut input)?, None, "its end has not come yet");
/// assert_eq!(Framing::Lines.last(&mut input)?.as_deref(), Some(&b"thr"[..]));
/// # Ok::<(), serve_forever::services::LineTooLong>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A request ends with a line feed; a carriage return before it is
    /// dropped. Its text is at most [`MAX_LINE`](Self::MAX_LINE) bytes.
    #[default]
    Lines,
    /// A request is the content of one read, with trailing white space dropped:
    /// for clients that do `sendall(text)` and `recv(1024)` and mark no end of
    /// a request. Such a protocol is ambiguous: two requests sent in quick
    /// succession may arrive as one, and a long one as two.
    Chunk,
}

/// The time within which a client has to say what it wants, of a service that
/// only answers.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(30);

/// The time that somebody may take to type a line, of a service for people.
pub(super) const TYPING: Duration = Duration::from_secs(300);

/// The answer to a line that is too long, before the service closes the
/// connection.
pub(super) const TOO_LONG: &[u8] = b"! line too long\n";

/// A request in lines is longer than [`Framing::MAX_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong;

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a line is longer than {} bytes", Framing::MAX_LINE)
    }
}

impl std::error::Error for LineTooLong {}

impl Framing {
    /// The longest line, in bytes, without its end.
    pub const MAX_LINE: usize = 65_536;

    /// Takes the first request off `input`, with its end, and returns its text,
    /// in its own buffer; `None` if the request is incomplete.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] for a complete or an incomplete line; `input` is
    /// unchanged.
    pub fn next(self, input: &mut BytesMut) -> Result<Option<BytesMut>, LineTooLong> {
        match self {
            Self::Lines => match input.iter().take(Self::MAX_LINE + 2).position(|byte| *byte == b'\n') {
                Some(end) if without_return(&input[..end]).len() <= Self::MAX_LINE => {
                    let line = BytesMut::from(without_return(&input[..end]));
                    input.advance(end + 1);
                    Ok(Some(line))
                }
                None if input.len() <= Self::MAX_LINE + 1 => Ok(None),
                _ => Err(LineTooLong),
            },
            Self::Chunk => self.last(input),
        }
    }

    /// Takes the rest of an ended stream, or the content of one read, as a
    /// request; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`]; `rest` is unchanged.
    pub fn last(self, rest: &mut BytesMut) -> Result<Option<BytesMut>, LineTooLong> {
        if rest.is_empty() {
            return Ok(None);
        }
        let text = match self {
            Self::Lines => without_return(rest),
            Self::Chunk => rest.trim_ascii_end(),
        };
        let length = text.len();
        if self == Self::Lines && length > Self::MAX_LINE {
            return Err(LineTooLong);
        }
        let request = BytesMut::from(&rest[..length]);
        rest.clear();
        Ok(Some(request))
    }

    /// Takes the next request, or the last one if the stream has ended.
    #[cfg(feature = "command")]
    pub(super) fn take(self, input: &mut BytesMut, stream: Stream) -> Result<Option<BytesMut>, LineTooLong> {
        match stream {
            Stream::Open => self.next(input),
            Stream::Ended => self.last(input),
        }
    }

    /// The end of a reply: a line feed, or nothing.
    #[must_use]
    pub const fn end(self) -> &'static str {
        match self {
            Self::Lines => "\n",
            Self::Chunk => "",
        }
    }
}

/// Whether more can follow the input that has come.
#[cfg(any(feature = "command", feature = "upload"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Open,
    /// The client has ended its side.
    Ended,
}

/// A line without the carriage return that belongs to its end.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All requests of a stream that comes in these pieces.
    fn requests(framing: Framing, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut input = BytesMut::new();
        let mut requests = Vec::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(request) = framing.next(&mut input)? {
                requests.push(request.to_vec());
            }
        }
        requests.extend(framing.last(&mut input)?.map(|request| request.to_vec()));
        Ok(requests)
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\r\ntwo\n\n\r\n\0\r\r\nlast";
        let expected = Ok(["one", "two", "", "", "\0\r", "last"].map(|line| line.as_bytes().to_vec()).into());
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(requests(Framing::Lines, &[head, tail]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(requests(Framing::Lines, &bytes), expected);
    }

    #[test]
    fn the_longest_line_is_taken_and_one_byte_more_is_told() {
        for end in ["\n", "\r\n", ""] {
            for (length, fits) in [(Framing::MAX_LINE, true), (Framing::MAX_LINE + 1, false)] {
                let line = ["x".repeat(length), end.into()].concat();
                assert_eq!(requests(Framing::Lines, &[line.as_bytes()]).is_ok(), fits, "{length} {end:?}");
            }
        }
        let flood = "x".repeat(Framing::MAX_LINE + 2);
        assert_eq!(Framing::Lines.next(&mut BytesMut::from(&flood[..])), Err(LineTooLong), "no end in sight");
    }

    #[test]
    fn a_chunk_is_what_came_without_trailing_white_space() {
        let chunks: &[&[u8]] = &[b"ls -l\r\n", b"  a b \t", b"\n", b"one\ntwo\n"];
        let expected = ["ls -l", "  a b", "", "one\ntwo"].map(|chunk| chunk.as_bytes().to_vec());
        assert_eq!(requests(Framing::Chunk, chunks), Ok(expected.into()));
    }
}
