//! `Event`: one event of a stream of events, encoded.

use bytes::{BufMut, Bytes, BytesMut};

/// An event for a stream of events (server-sent events, of the HTML standard;
/// `EventSource` in a browser).
///
/// ```
/// use serve_forever::http::Event;
///
/// let event = Event::new("two\nlines").name("news").id("7").to_bytes();
/// assert_eq!(event, "event: news\nid: 7\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    data: &'a str,
    name: Option<&'a str>,
    id: Option<&'a str>,
    retry: Option<u32>,
}

impl<'a> Event<'a> {
    /// Makes an event with this text.
    #[must_use]
    pub const fn new(data: &'a str) -> Self {
        Self { data, name: None, id: None, retry: None }
    }

    /// Gives it a name, which a browser listens for; `message` otherwise.
    #[must_use]
    pub const fn name(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    /// Gives it an id, which a browser that comes back sends as `Last-Event-ID`.
    #[must_use]
    pub const fn id(mut self, id: &'a str) -> Self {
        self.id = Some(id);
        self
    }

    /// Tells the browser to wait for so many milliseconds before it comes back.
    #[must_use]
    pub const fn retry(mut self, milliseconds: u32) -> Self {
        self.retry = Some(milliseconds);
        self
    }

    /// A comment, which a browser ignores: it keeps a connection alive.
    #[must_use]
    pub const fn ping() -> Bytes {
        Bytes::from_static(b":\n\n")
    }

    /// Encodes it, for [`HttpIo::write_body`](super::HttpIo::write_body), or once
    /// for a whole group ([`Io::broadcast`](crate::Io::broadcast)). Line ends in
    /// its name and its id are left out, for they would end the field.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.data.len() + 32);
        let mut field = |name: &str, value: &str| {
            out.extend_from_slice(name.as_bytes());
            out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
            out.put_u8(b'\n');
        };
        if let Some(name) = self.name {
            field("event: ", name);
        }
        if let Some(id) = self.id {
            field("id: ", id);
        }
        if let Some(retry) = self.retry {
            field("retry: ", itoa::Buffer::new().format(retry));
        }
        // CR LF, LF and CR alone each end a line.
        for line in self.data.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        {
            field("data: ", line);
        }
        out.put_u8(b'\n');
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_two_events_of_one() {
        assert_eq!(Event::new("a\r\nb\rc\n\nd").to_bytes(), "data: a\ndata: b\ndata: c\ndata: \ndata: d\n\n");
        let event = Event::new("").name("x\n\ndata: y").id("1\r\n2\0").retry(500);
        assert_eq!(event.to_bytes(), "event: xdata: y\nid: 12\nretry: 500\ndata: \n\n");
    }
}
