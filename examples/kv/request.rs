//! `Request`: a command of a client, as it lies in the input.
//!
//! Clients send arrays of bulk strings in both versions of RESP, or a line of words
//! for whoever types (`nc`). A general decoder of RESP takes arrays within arrays, as
//! deep as a stranger nests them; a command has one level, and so has this one.

use std::fmt;
use std::ops::Range;

/// The most arguments of a command.
const MOST_ARGUMENTS: usize = 1 << 20;
/// The longest argument, in bytes; as that of Redis, `proto-max-bulk-len`.
pub(crate) const LONGEST_ARGUMENT: usize = 512 << 20;
/// The longest line of words.
const LONGEST_LINE: usize = 64 << 10;

/// Where the arguments of a command are, its name first.
#[derive(Debug, Default)]
pub(crate) struct Request {
    arguments: Vec<Range<usize>>,
}

/// Input that is no command; where the next one begins is not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol error: {}", self.0)
    }
}

impl Request {
    /// Finds the arguments of the first command: how many bytes it takes, or `None` if
    /// it is not whole. A line without words is a command without arguments.
    ///
    /// # Errors
    ///
    /// The input begins with no command.
    pub(crate) fn parse(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        self.arguments.clear();
        match input.first() {
            None => Ok(None),
            Some(b'*') => self.parse_array(input),
            Some(_) => self.parse_line(input),
        }
    }

    fn parse_array(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut at = 0;
        let Some(count) = number(input, &mut at, MOST_ARGUMENTS, "invalid multibulk length")? else {
            return Ok(None);
        };
        for _ in 0..count {
            match input.get(at) {
                None => return Ok(None),
                Some(b'$') => {}
                Some(_) => return Err(Malformed("expected '$'")),
            }
            let Some(length) = number(input, &mut at, LONGEST_ARGUMENT, "invalid bulk length")? else {
                return Ok(None);
            };
            let end = at + length;
            match input.get(end..end + 2) {
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(_) => return Err(Malformed("a bulk string is longer than it says")),
            }
            self.arguments.push(at..end);
            at = end + 2;
        }
        Ok(Some(at))
    }

    fn parse_line(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        let searched = &input[..input.len().min(LONGEST_LINE)];
        let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
            let is_too_long = searched.len() == LONGEST_LINE;
            return if is_too_long { Err(Malformed("too big inline request")) } else { Ok(None) };
        };
        let first = input[..end].split(u8::is_ascii_whitespace).next().unwrap_or_default();
        // A browser sends these for whatever page asks it to, with lines of the page behind.
        if first.eq_ignore_ascii_case(b"POST") || first.eq_ignore_ascii_case(b"Host:") {
            return Err(Malformed("HTTP is not spoken here"));
        }
        let mut word = None;
        for (at, byte) in input[..=end].iter().enumerate() {
            match (byte.is_ascii_whitespace(), word) {
                (false, None) => word = Some(at),
                (true, Some(start)) => {
                    self.arguments.push(start..at);
                    word = None;
                }
                _ => {}
            }
        }
        Ok(Some(end + 1))
    }

    /// Its arguments, the name first.
    pub(crate) fn arguments<'a>(&'a self, input: &'a [u8]) -> Arguments<'a> {
        Arguments { ranges: &self.arguments, input }
    }
}

/// The arguments of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    ranges: &'a [Range<usize>],
    input: &'a [u8],
}

impl<'a> Arguments<'a> {
    pub(crate) const fn len(self) -> usize {
        self.ranges.len()
    }

    /// The argument at a place; empty if there is none.
    pub(crate) fn at(self, place: usize) -> &'a [u8] {
        self.ranges.get(place).map_or(&[], |range| &self.input[range.clone()])
    }

    /// Those from a place on.
    pub(crate) fn from(self, place: usize) -> impl Iterator<Item = &'a [u8]> {
        let Self { ranges, input } = self;
        ranges.iter().skip(place).map(move |range| &input[range.clone()])
    }
}

/// Reads the number behind a type's byte, and its line end. `None` if that has not
/// come yet.
fn number(
    input: &[u8],
    at: &mut usize,
    most: usize,
    wrong: &'static str,
) -> Result<Option<usize>, Malformed> {
    let mut value = 0_usize;
    let digits = &input[*at + 1..];
    for (count, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if value <= most => value = value * 10 + usize::from(byte - b'0'),
            b'\r' if count > 0 && value <= most => {
                return match digits.get(count + 1) {
                    None => Ok(None),
                    Some(b'\n') => {
                        *at += count + 3;
                        Ok(Some(value))
                    }
                    Some(_) => Err(Malformed(wrong)),
                };
            }
            _ => return Err(Malformed(wrong)),
        }
    }
    Ok(None)
}
