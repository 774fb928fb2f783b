//! The decoders of bodies: by length, and chunked (RFC 9112, 6 and 7).

use super::head::BodyLength;
use super::limits::HttpLimits;
use super::refusal::Refusal;

/// The most digits of a chunk's size: no more fit 64 bits.
const DIGITS: u8 = 16;

/// The next part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The rest has not come yet.
    Incomplete,
    /// The body has ended; what is left of the input is the next request.
    End,
}

/// A decoder of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyDecoder {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
}

impl BodyDecoder {
    pub(super) const fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Known(length) => Self::Length(length),
            BodyLength::Chunked => Self::Chunked(Chunked::new()),
        }
    }

    /// Takes the next part from the front of `input`.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        limits: &HttpLimits,
    ) -> Result<Part<'a>, Refusal> {
        match self {
            Self::Length(0) => Ok(Part::End),
            Self::Length(left) => Ok(take_data(left, input)),
            Self::Chunked(chunked) => chunked.next(input, limits),
        }
    }
}

/// Takes up to `left` bytes.
fn take_data<'a>(left: &mut u64, input: &mut &'a [u8]) -> Part<'a> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    if count == 0 {
        return Part::Incomplete;
    }
    let (data, rest) = input.split_at(count);
    *input = rest;
    *left -= count as u64;
    Part::Data(data)
}

/// A decoder of a chunked body. It takes data in pieces of any size, and what
/// stands between the chunks byte by byte, so that no cut matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    step: Step,
    /// Bytes of extensions so far.
    extensions: u32,
    /// Bytes of trailers so far.
    trailers: u32,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A digit of a size, or what ends it.
    Size {
        size: u64,
        digits: u8,
    },
    /// The extensions of a chunk of this size.
    Extension {
        size: u64,
    },
    /// The LF behind a size.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of a chunk.
    Data(u64),
    /// The CR behind a chunk, and the LF.
    DataCr,
    DataLf,
    /// The beginning of a line behind the last chunk.
    LineStart,
    /// The name of a trailer, its value, and its LF.
    Name,
    Value,
    LineEnd,
    /// The last LF.
    LastLf,
    Over,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { step: Step::Size { size: 0, digits: 0 }, extensions: 0, trailers: 0 }
    }

    fn next<'a>(&mut self, input: &mut &'a [u8], limits: &HttpLimits) -> Result<Part<'a>, Refusal> {
        loop {
            if let Step::Data(left) = &mut self.step {
                let part = take_data(left, input);
                if *left == 0 {
                    self.step = Step::DataCr;
                }
                return Ok(part);
            }
            if self.step == Step::Over {
                return Ok(Part::End);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(Part::Incomplete) };
            self.step = self.after(*byte, limits)?;
            *input = rest;
        }
    }

    fn after(&mut self, byte: u8, limits: &HttpLimits) -> Result<Step, Refusal> {
        Ok(match (self.step, byte) {
            (Step::Size { digits: 1.., size }, b'\r') => Step::SizeEnd { size },
            (Step::Size { digits: 1.., size }, b';') => Step::Extension { size },
            (Step::Size { digits: DIGITS, .. }, _) => {
                return Err(Refusal::bad("the size of a chunk is too large"));
            }
            (Step::Size { size, digits }, digit) => {
                let digit = char::from(digit).to_digit(16);
                let digit = digit.ok_or(Refusal::bad("the size of a chunk is no hexadecimal number"))?;
                Step::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Step::Extension { size }, b'\r') => Step::SizeEnd { size },
            (Step::Extension { size }, byte) => {
                check_text(byte)?;
                self.extensions += 1;
                if self.extensions as usize > limits.max_chunk_extensions {
                    return Err(Refusal::bad("the extensions of the chunks are too long"));
                }
                Step::Extension { size }
            }
            (Step::SizeEnd { size: 0 }, b'\n') => Step::LineStart,
            (Step::SizeEnd { size }, b'\n') => Step::Data(size),
            (Step::SizeEnd { .. }, _) => return Err(Refusal::bad("the size of a chunk ends without LF")),
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::Size { size: 0, digits: 0 },
            (Step::DataCr | Step::DataLf, _) => return Err(Refusal::bad("a chunk is longer than its size")),
            (Step::LineStart, b'\r') => Step::LastLf,
            (Step::LastLf, b'\n') => Step::Over,
            (Step::LineStart | Step::Name | Step::Value | Step::LineEnd | Step::LastLf, byte) => {
                self.trailers += 1;
                if self.trailers as usize > limits.max_head {
                    return Err(Refusal::HEAD_TOO_LONG);
                }
                self.trailer_after(byte)?
            }
            (Step::Data(_) | Step::Over, _) => self.step,
        })
    }

    /// The same within the trailers, which are checked and dropped.
    fn trailer_after(&self, byte: u8) -> Result<Step, Refusal> {
        const WRONG: Refusal = Refusal::bad("a trailer is malformed");
        Ok(match (self.step, byte) {
            (Step::Name, b':') => Step::Value,
            (Step::LineStart | Step::Name, byte) if is_token(byte) => Step::Name,
            (Step::Value, b'\r') => Step::LineEnd,
            (Step::Value, byte) => {
                check_text(byte)?;
                Step::Value
            }
            (Step::LineEnd, b'\n') => Step::LineStart,
            _ => return Err(WRONG),
        })
    }
}

/// Refuses control characters: a bare CR or LF above all.
const fn check_text(byte: u8) -> Result<(), Refusal> {
    if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
        Ok(())
    } else {
        Err(Refusal::bad("there is a control character between the chunks"))
    }
}

/// Whether a byte may occur in a name (`tchar`; RFC 9110, 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests;
