//! The keys of a handshake, and the check of an origin (RFC 6455, 4 and 10.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

/// What a server puts behind a key, before it hashes both.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a key is 16 bytes in base64.
pub(crate) fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// The answer to a key.
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.digest().bytes())
}

/// A key of these bytes.
pub(crate) fn key(bytes: [u8; 16]) -> String {
    STANDARD.encode(bytes)
}

/// The pages that may open a WebSocket. A browser names the page's origin; whoever
/// names none is no browser, and is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of the host and port that the request itself names.
    #[default]
    SameHost,
    /// Those, and pages of these origins, as in `https://example.org`.
    Also(Vec<String>),
    /// Any page: for services that anybody may use, as whoever has opened the page.
    Any,
}

impl Origins {
    /// Whether a page of this origin may, on a server that the request names so.
    pub(crate) fn allow(&self, origin: Option<&[u8]>, authority: &str) -> bool {
        let Some(origin) = origin else { return true };
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        match self {
            Self::Any => true,
            Self::SameHost => is_same_host(origin, authority),
            Self::Also(others) => {
                is_same_host(origin, authority)
                    || others.iter().any(|other| other.eq_ignore_ascii_case(origin))
            }
        }
    }
}

/// Whether an origin has the host and the port of an authority.
fn is_same_host(origin: &str, authority: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let strip = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    !host.is_empty() && strip(host) == strip(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ==") && is_key(key([7; 16]).as_bytes()));
        for wrong in ["", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZQ", "not base64 at all !!!!!!"] {
            assert!(!is_key(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn pages_of_the_same_host_may_and_others_may_if_they_are_listed() {
        let same = Origins::SameHost;
        for (origin, host) in [
            ("http://a:8080", "a:8080"),
            ("http://a", "a"),
            ("http://a", "a:80"),
            ("https://a:443", "a"),
            ("https://A", "a:443"),
            ("http://[::1]:80", "[::1]"),
        ] {
            assert!(same.allow(Some(origin.as_bytes()), host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://b", "a"),
            ("http://a:81", "a"),
            ("https://a", "a:80"),
            ("http://a.b", "a"),
            ("http://ba", "a"),
            ("null", "null"),
            ("file://", ""),
            ("http://", ""),
            ("a", "a"),
        ] {
            assert!(!same.allow(Some(origin.as_bytes()), host), "{origin} {host}");
        }
        assert!(same.allow(None, "a"), "no browser");
        let also = Origins::Also(vec!["https://b.example".into()]);
        assert!(also.allow(Some(b"https://b.example"), "a") && also.allow(Some(b"http://a"), "a"));
        assert!(!also.allow(Some(b"http://b.example"), "a"));
        assert!(Origins::Any.allow(Some(b"null"), "a"));
    }
}
