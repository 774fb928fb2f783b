//! `HttpGuard`: recognizes the start of an HTTP request or a TLS handshake on a
//! service with another protocol.
//!
//! Any web page can make a browser connect to any port of its own machine, and
//! the page chooses the body of the request. A service that reads lines takes
//! the lines of head and body for requests.

/// A parser of the beginning of a stream, byte by byte and independent of how
/// it is cut: any method, any target, `HTTP/` and any version. The preface of
/// HTTP/2 (RFC 9113, 3.4) has this form too. The parser also recognizes a TLS
/// handshake, whose content a page can influence as well, by its first byte,
/// which begins no text.
///
/// Space and line ends before the first line are skipped. Once a stream has
/// turned out to be something else, its later bytes are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum HttpGuard {
    /// Only white space has come.
    #[default]
    Start,
    Method,
    /// The method has ended: space follows, then the target.
    Target {
        has_begun: bool,
    },
    /// This many bytes of `HTTP/` have come.
    Protocol(usize),
    /// The first character of the version has come; the line may end.
    Version,
    /// Space behind the version.
    End,
    Http,
    Other,
}

const PROTOCOL: &[u8] = b"HTTP/";

/// The type of the records of a handshake (RFC 8446, 5.1): a control character.
const HANDSHAKE: u8 = 0x16;

impl HttpGuard {
    /// Parses a line, given without its end. True if it completes the first
    /// line of an HTTP request.
    pub(super) fn is_http_line(&mut self, line: &[u8]) -> bool {
        self.look(line);
        self.look(b"\n");
        *self == Self::Http
    }

    /// Parses the content of one read: a browser's first line may come in
    /// several reads. True as soon as the first line of an HTTP request is
    /// complete.
    pub(super) fn is_http_chunk(&mut self, chunk: &[u8]) -> bool {
        self.look(chunk);
        matches!(self, Self::Http | Self::Version | Self::End)
    }

    fn look(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if matches!(self, Self::Http | Self::Other) {
                return;
            }
            *self = self.after(*byte);
        }
    }

    fn after(self, byte: u8) -> Self {
        let ends_line = matches!(byte, b'\r' | b'\n');
        let is_space = matches!(byte, b' ' | b'\t');
        match self {
            Self::Start if ends_line || is_space => self,
            Self::Start if byte == HANDSHAKE => Self::Http,
            Self::Start | Self::Method if is_token(byte) => Self::Method,
            Self::Method if is_space => Self::Target { has_begun: false },
            Self::Target { has_begun: false } if is_space => self,
            Self::Target { has_begun: true } if is_space => Self::Protocol(0),
            Self::Target { .. } if !ends_line => Self::Target { has_begun: true },
            Self::Protocol(0) if is_space => self,
            Self::Protocol(so_far) if PROTOCOL.get(so_far) == Some(&byte) => Self::Protocol(so_far + 1),
            Self::Protocol(so_far) if so_far == PROTOCOL.len() && !is_space && !ends_line => Self::Version,
            Self::Version | Self::End if ends_line => Self::Http,
            Self::Version if !is_space => self,
            Self::Version | Self::End if is_space => Self::End,
            _ => Self::Other,
        }
    }
}

/// Whether a byte may occur in a method (`tchar`; RFC 9110, 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: [&str; 12] = [
        "GET / HTTP/1.1",
        "POST /a?b=c%20d HTTP/1.0",
        "get / HTTP/1.1",
        "PRI * HTTP/2.0",
        "touch /tmp/owned HTTP/1.1",
        "OPTIONS * HTTP/9",
        "CONNECT a:1 HTTP/1.1",
        "M-SEARCH * HTTP/1.1",
        "!#$%&'*+-.^_`|~ http://x HTTP/11.22",
        "\r\n \n\nGET / HTTP/1.1",
        "GET  \t/ \tHTTP/1.1 \t",
        "\x16\x03\x01",
    ];
    const OTHERS: [&str; 14] = [
        "",
        "ls -l",
        "GET",
        "GET /",
        "GET / HTTP/",
        "GET / HTTP",
        "GET / http/1.1",
        "GET / XHTTP/1.1",
        "GET HTTP/1.1",
        "echo GET / HTTP/1.1",
        "curl -s x | grep HTTP/1.1",
        "GET / HTTP/1.1 x",
        "/bin/x y HTTP/1.1",
        "(a) b HTTP/1.1",
    ];

    #[test]
    fn any_method_any_target_and_any_version_are_told_from_commands() {
        for line in REQUESTS {
            assert!(HttpGuard::default().is_http_line(line.as_bytes()), "{line:?}");
            assert!(HttpGuard::default().is_http_chunk(line.as_bytes()), "{line:?}");
        }
        for line in OTHERS {
            assert!(!HttpGuard::default().is_http_line(line.as_bytes()), "{line:?}");
            assert!(!HttpGuard::default().is_http_chunk(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn empty_lines_come_before_the_first_and_no_later_line_counts() {
        let mut guard = HttpGuard::default();
        assert!(!guard.is_http_line(b"") && !guard.is_http_line(b"\r"));
        assert!(guard.is_http_line(b"GET / HTTP/1.1"));
        let mut guard = HttpGuard::default();
        assert!(!guard.is_http_line(b"GET /") && !guard.is_http_line(b"GET / HTTP/1.1"));
    }

    #[test]
    fn a_first_line_is_found_wherever_it_is_cut() {
        let text = b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\n\r\nls\r\n";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut guard = HttpGuard::default();
                let mut pieces = [&text[..first], &text[first..second], &text[second..]].into_iter();
                assert!(pieces.any(|piece| guard.is_http_chunk(piece)), "{first} {second}");
            }
        }
        for text in OTHERS {
            let mut guard = HttpGuard::default();
            let found = text.as_bytes().chunks(1).any(|byte| guard.is_http_chunk(byte));
            assert_eq!(found, text == "GET / HTTP/1.1 x", "{text:?}: its end could have been one");
        }
    }
}
