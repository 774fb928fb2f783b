//! Conditional requests and ranges (RFC 9110, 13 and 14): what becomes of a
//! request for something with a length and validators.

use http::{Method, header};
use httpdate::HttpDate;

use super::head::list;
use super::request::Request;

/// What is asked for: its validators and its length in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource<'a> {
    /// A strong entity tag, with its quotes.
    pub(super) etag: &'a str,
    pub(super) modified: Option<HttpDate>,
    pub(super) length: u64,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 200.
    Whole,
    /// 206: the bytes from the first, so many.
    Range { first: u64, count: u64 },
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 416.
    Unsatisfiable,
}

impl Resource<'_> {
    /// Evaluates the conditions in the order of RFC 9110, 13.2.2.
    pub(super) fn evaluate(&self, request: &Request<'_>) -> Verdict {
        let holds = match (request.header(header::IF_MATCH), self.date(request, &header::IF_UNMODIFIED_SINCE))
        {
            (Some(_), _) => self.matches(request, "if-match", Comparison::Strong),
            (None, Some(since)) => self.modified.is_none_or(|modified| modified <= since),
            (None, None) => true,
        };
        if !holds {
            return Verdict::Failed;
        }
        let is_modified =
            match (request.header(header::IF_NONE_MATCH), self.date(request, &header::IF_MODIFIED_SINCE)) {
                (Some(_), _) => !self.matches(request, "if-none-match", Comparison::Weak),
                (None, Some(since)) => self.modified.is_none_or(|modified| modified > since),
                (None, None) => true,
            };
        if !is_modified {
            let may_be_cached = [Method::GET, Method::HEAD].contains(request.method());
            return if may_be_cached { Verdict::NotModified } else { Verdict::Failed };
        }
        if *request.method() == Method::GET && self.is_range_meant(request) {
            return request.header_text(header::RANGE).map_or(Verdict::Whole, |range| self.range(range));
        }
        Verdict::Whole
    }

    /// A date of a field that has one and can be read.
    fn date(&self, request: &Request<'_>, name: &header::HeaderName) -> Option<HttpDate> {
        request.header_text(name)?.parse().ok()
    }

    fn matches(&self, request: &Request<'_>, name: &str, comparison: Comparison) -> bool {
        request.header_values(name).flat_map(list).any(|tag| {
            let strong = match comparison {
                Comparison::Strong => tag,
                Comparison::Weak => tag.strip_prefix(b"W/").unwrap_or(tag),
            };
            tag == b"*" || strong == self.etag.as_bytes()
        })
    }

    /// Whether a range is meant of what is here now (`If-Range`).
    fn is_range_meant(&self, request: &Request<'_>) -> bool {
        match request.header_text(header::IF_RANGE) {
            None => true,
            Some(tag) if tag.starts_with('"') => tag == self.etag,
            Some(date) => date.parse().is_ok_and(|date: HttpDate| self.modified == Some(date)),
        }
    }

    /// A single range of bytes. Several of them, and what is none, are ignored, as
    /// a server may (RFC 9110, 14.2).
    fn range(&self, text: &str) -> Verdict {
        let spec =
            text.split_once('=').filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes")).map(|(_, spec)| spec);
        let Some((first, last)) = spec.and_then(|spec| spec.trim_ascii().split_once('-')) else {
            return Verdict::Whole;
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(first) || !is_number(last) {
            return Verdict::Whole;
        }
        let number = |text: &str| text.parse().unwrap_or(u64::MAX); // digits that do not fit are as many
        let (first, last) = match (first, last) {
            ("", "") => return Verdict::Whole,
            ("", suffix) if number(suffix) == 0 => return Verdict::Unsatisfiable,
            ("", suffix) => (self.length.saturating_sub(number(suffix)), u64::MAX),
            (first, "") => (number(first), u64::MAX),
            (first, last) if number(first) > number(last) => return Verdict::Whole,
            (first, last) => (number(first), number(last)),
        };
        if first >= self.length {
            return Verdict::Unsatisfiable;
        }
        Verdict::Range { first, count: last.min(self.length - 1) - first + 1 }
    }
}

/// How entity tags are compared (RFC 9110, 8.8.3.2).
#[derive(Clone, Copy, Debug)]
enum Comparison {
    Strong,
    Weak,
}

#[cfg(test)]
mod tests {
    use super::super::head::{Head, Room};
    use super::super::limits::HttpLimits;
    use super::Verdict::{Failed, NotModified, Unsatisfiable, Whole};
    use super::*;

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";

    fn of(method: &str, fields: &[(&str, &str)]) -> Verdict {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut room = Room::new();
        let head = Head::parse(text.as_bytes(), &mut room, &HttpLimits::default()).expect("a good head");
        let resource = Resource { etag: "\"a\"", modified: MODIFIED.parse().ok(), length: 10 };
        resource.evaluate(&Request::new(head, &[]))
    }

    const fn range(first: u64, count: u64) -> Verdict {
        Verdict::Range { first, count }
    }

    #[test]
    fn ranges() {
        let cases = [
            ("bytes=0-3", range(0, 4)),
            ("BYTES=9-9", range(9, 1)),
            ("bytes=3-", range(3, 7)),
            ("bytes=5-99", range(5, 5)),
            ("bytes=-3", range(7, 3)),
            ("bytes=-99", range(0, 10)),
            ("bytes=0-99999999999999999999", range(0, 10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=3-2", Whole),
            ("bytes=0-1,4-5", Whole),
            ("bytes=-", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=a-b", Whole),
            ("lines=0-1", Whole),
            ("bytes", Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(of("GET", &[("Range", text)]), expected, "{text}");
            assert_eq!(of("HEAD", &[("Range", text)]), Whole, "{text}");
        }
    }

    #[test]
    fn a_range_of_what_has_changed_is_the_whole() {
        let range_if = |condition| of("GET", &[("Range", "bytes=0-3"), ("If-Range", condition)]);
        assert_eq!(range_if("\"a\""), range(0, 4));
        assert_eq!(range_if(MODIFIED), range(0, 4));
        for changed in ["\"b\"", "W/\"a\"", EARLIER, LATER, "x"] {
            assert_eq!(range_if(changed), Whole, "{changed}");
        }
    }

    #[test]
    fn conditions() {
        let cases: [(&[(&str, &str)], Verdict); 16] = [
            (&[("If-None-Match", "\"a\"")], NotModified),
            (&[("If-None-Match", "\"b\", W/\"a\"")], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (&[("If-None-Match", "\"b\"")], Whole),
            (&[("If-None-Match", "\"b\""), ("If-Modified-Since", MODIFIED)], Whole),
            (&[("If-Modified-Since", MODIFIED)], NotModified),
            (&[("If-Modified-Since", LATER)], NotModified),
            (&[("If-Modified-Since", EARLIER)], Whole),
            (&[("If-Modified-Since", "yesterday")], Whole),
            (&[("If-Match", "\"a\"")], Whole),
            (&[("If-Match", "W/\"a\"")], Failed),
            (&[("If-Match", "\"b\"")], Failed),
            (&[("If-Unmodified-Since", MODIFIED)], Whole),
            (&[("If-Unmodified-Since", EARLIER)], Failed),
            (&[("If-Match", "*"), ("If-Unmodified-Since", EARLIER)], Whole),
            (&[("If-None-Match", "\"a\""), ("Range", "bytes=0-1")], NotModified),
        ];
        for (fields, expected) in cases {
            assert_eq!(of("GET", fields), expected, "{fields:?}");
        }
        assert_eq!(of("PUT", &[("If-None-Match", "*")]), Failed);
    }
}
