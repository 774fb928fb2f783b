//! The parser of a request's head: strict in all that decides where the request
//! ends (RFC 9112).

use std::mem::MaybeUninit;

use http::{Method, Version};
use httparse::{Error, Status};
use memchr::memchr;

use super::limits::{HttpLimits, MOST_FIELDS};
use super::refusal::Refusal;

/// The search for the end of a head, which goes on where it left off: a client
/// that sends byte by byte costs no more than one that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeadScan {
    /// The bytes that were searched.
    scanned: u32,
    /// Where the current line begins.
    line: u32,
    /// True once a line that is not empty has ended.
    has_first_line: bool,
}

impl HeadScan {
    /// Whether a part of a head has come.
    pub(super) const fn has_begun(&self) -> bool {
        self.scanned > 0
    }

    /// Returns the length of the head, once `input` has all of it. `input` grows
    /// from call to call.
    pub(super) fn end(&mut self, input: &[u8], limits: &HttpLimits) -> Result<Option<usize>, Refusal> {
        while let Some(found) = memchr(b'\n', &input[self.scanned as usize..]) {
            let line_feed = self.scanned as usize + found;
            let line = &input[self.line as usize..line_feed];
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::bad("a line ends without CR"));
            };
            if !self.has_first_line && line.len() > limits.max_line {
                return Err(Refusal::LINE_TOO_LONG);
            }
            let end = line_feed + 1;
            if end > limits.max_head {
                return Err(Refusal::HEAD_TOO_LONG);
            }
            if line.is_empty() && self.has_first_line {
                *self = Self::default();
                return Ok(Some(end));
            }
            self.has_first_line |= !line.is_empty();
            (self.scanned, self.line) = (small(end), small(end));
        }
        self.scanned = small(input.len());
        if !self.has_first_line && input.len() - self.line as usize > limits.max_line + 1 {
            return Err(Refusal::LINE_TOO_LONG);
        }
        if input.len() >= limits.max_head {
            return Err(Refusal::HEAD_TOO_LONG);
        }
        Ok(None)
    }
}

/// A place in a buffer, which never has 4 GiB.
fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The length of a body, as the head declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    Known(u64),
    Chunked,
}

/// What the fields say about the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) body: BodyLength,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// The client asks for another protocol.
    pub(super) upgrade: bool,
}

/// Room for the fields of one head.
pub(super) struct Room<'a>([MaybeUninit<httparse::Header<'a>>; MOST_FIELDS]);

impl Room<'_> {
    pub(super) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MOST_FIELDS])
    }
}

/// A parsed head. Its texts and fields stay where the bytes are.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    pub(super) method: Method,
    /// The target without the scheme and authority of an absolute one: it begins
    /// with `/`, or is `*`.
    pub(super) target: &'a str,
    /// The authority: that of an absolute target, or that of `Host`.
    pub(super) authority: &'a str,
    pub(super) version: Version,
    pub(super) fields: &'a [httparse::Header<'a>],
    pub(super) framing: Framing,
}

impl<'a> Head<'a> {
    /// Parses a whole head, as [`HeadScan`] has found it.
    pub(super) fn parse(
        bytes: &'a [u8],
        room: &'a mut Room<'a>,
        limits: &HttpLimits,
    ) -> Result<Self, Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        let most = limits.max_fields.min(MOST_FIELDS);
        match parsed.parse_with_uninit_headers(bytes, &mut room.0[..most]) {
            Ok(Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(Refusal::bad("the head is malformed")),
            Err(error) => return Err(refusal(error, bytes)),
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::bad("the first line is malformed"));
        };
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::bad("the method is malformed"))?;
        let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let fields: &'a [httparse::Header<'a>] = parsed.headers;
        let (framing, host) = framing(fields, version)?;
        let (authority, target) = split_target(&method, target)?;
        let authority = authority.unwrap_or(host);
        Ok(Self { method, target, authority, version, fields, framing })
    }
}

/// The refusal for an error of `httparse`.
fn refusal(error: Error, head: &[u8]) -> Refusal {
    match error {
        Error::TooManyHeaders => Refusal::TOO_MANY_FIELDS,
        Error::Version if names_a_version(head) => Refusal::VERSION,
        Error::Version => Refusal::bad("the first line does not end with a version"),
        Error::HeaderName => Refusal::bad("the name of a field is malformed"),
        Error::HeaderValue => Refusal::bad("the value of a field is malformed"),
        Error::Token => Refusal::bad("the method or the target is malformed"),
        Error::NewLine => Refusal::bad("a line end is malformed"),
        Error::Status => Refusal::bad("the head is malformed"),
    }
}

/// Whether the first line is a method, a target and `HTTP/` with a version of one
/// or two digits.
fn names_a_version(head: &[u8]) -> bool {
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    let line = head[start..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [_, _, version] = words[..] else { return false };
    match version.strip_prefix(b"HTTP/") {
        Some([major]) => major.is_ascii_digit(),
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// Splits a target into its authority, if it is absolute, and the rest (RFC 9112,
/// 3.2).
fn split_target<'a>(method: &Method, target: &'a str) -> Result<(Option<&'a str>, &'a str), Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::NO_TUNNEL);
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::bad("the target has a character that belongs into no URI"));
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" && *method == Method::OPTIONS {
        return Ok((None, target));
    }
    let is_scheme =
        |text: &&str| ["http://", "https://"].iter().any(|scheme| text.eq_ignore_ascii_case(scheme));
    let scheme =
        ["http://".len(), "https://".len()].into_iter().filter_map(|end| target.get(..end)).find(is_scheme);
    let Some(scheme) = scheme else {
        return Err(Refusal::bad("the target is neither a path nor an absolute URI"));
    };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(Refusal::bad("the target has a malformed host"));
    }
    match path {
        "" => Ok((Some(authority), "/")),
        _ if path.starts_with('?') => Err(Refusal::bad("the target has a query and no path")),
        _ => Ok((Some(authority), path)),
    }
}

/// Whether all characters may stand in a host with a port (RFC 3986, 3.2); no
/// user information.
fn is_authority(text: &[u8]) -> bool {
    let is_part = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    };
    text.iter().all(is_part)
}

/// The fields that decide about the message, each of which may come once unless
/// it is a list.
#[derive(Default)]
struct Decisive<'a> {
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    upgrade: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
}

impl<'a> Decisive<'a> {
    fn add(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let (place, twice) = match name.len() {
            4 if name.eq_ignore_ascii_case("host") => (&mut self.host, "there are two Host fields"),
            6 if name.eq_ignore_ascii_case("expect") => (&mut self.expect, "there are two Expect fields"),
            14 if name.eq_ignore_ascii_case("content-length") => {
                (&mut self.length, "there are two Content-Length fields")
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                (&mut self.coding, "there are two Transfer-Encoding fields")
            }
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.upgrade = true;
                return Ok(());
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        if place.replace(value).is_some() { Err(Refusal::bad(twice)) } else { Ok(()) }
    }
}

/// The members of a list (RFC 9110, 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Reads the decisive fields. Returns the host beside them.
fn framing<'a>(fields: &[httparse::Header<'a>], version: Version) -> Result<(Framing, &'a str), Refusal> {
    let mut decisive = Decisive::default();
    for field in fields {
        decisive.add(field.name, field.value)?;
    }
    let is_1_1 = version == Version::HTTP_11;
    let body = match (decisive.length, decisive.coding) {
        (None, None) => BodyLength::Known(0),
        (Some(length), None) => BodyLength::Known(content_length(length)?),
        (Some(_), Some(_)) => {
            return Err(Refusal::bad("there are both a Content-Length and a Transfer-Encoding"));
        }
        (None, Some(_)) if !is_1_1 => {
            return Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => BodyLength::Chunked,
        (None, Some(coding))
            if list(coding).filter(|one| one.eq_ignore_ascii_case(b"chunked")).count() > 1 =>
        {
            return Err(Refusal::bad("a body cannot be chunked twice"));
        }
        (None, Some(_)) => return Err(Refusal::UNKNOWN_CODING),
    };
    let host = match decisive.host {
        Some(host) if is_authority(host) => std::str::from_utf8(host).unwrap_or_default(),
        Some(_) => return Err(Refusal::bad("the Host field is malformed")),
        None if is_1_1 => return Err(Refusal::bad("there is no Host field")),
        None => "",
    };
    let expects_continue = match decisive.expect {
        // RFC 9110, 10.1.1: a server ignores it in HTTP/1.0.
        Some(expect) if is_1_1 && expect.eq_ignore_ascii_case(b"100-continue") => true,
        Some(_) if is_1_1 => return Err(Refusal::UNKNOWN_EXPECTATION),
        _ => false,
    };
    let keep_alive = !decisive.close && (is_1_1 || decisive.keep_alive);
    let upgrade = is_1_1 && decisive.upgrade && decisive.connection_upgrade;
    Ok((Framing { body, keep_alive, expects_continue, upgrade }, host))
}

/// Reads a length: digits alone, and no more than fit.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    const WRONG: Refusal = Refusal::bad("the Content-Length is no number of bytes");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(WRONG)
}

#[cfg(test)]
mod tests;
