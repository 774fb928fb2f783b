//! `Request`: a request as a handler sees it, without a copy.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::head::{Head, list};

/// A request. Its texts are where they were read; [`to_owned`](Self::to_owned)
/// makes one of the crate `http` of it, to keep.
///
/// A server has checked it by RFC 9112: the target is a path (or `*`), the
/// length of the body is certain, a request of HTTP/1.1 has one `Host`.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    head: Head<'a>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) const fn new(head: Head<'a>, body: &'a [u8]) -> Self {
        Self { head, body }
    }

    pub(super) fn into_head(self) -> Head<'a> {
        self.head
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path as it was sent, percent-encoded: it begins with `/`, or is `*`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.head.target.split_once('?').map_or(self.head.target, |(path, _)| path)
    }

    /// The path with its percent-encoding taken away; `None` if that is no UTF-8.
    /// A `/` that was encoded looks like any other: split
    /// [`path`](Self::path) first where that matters.
    #[must_use]
    pub fn decoded_path(&self) -> Option<Cow<'a, str>> {
        percent_encoding::percent_decode_str(self.path()).decode_utf8().ok()
    }

    /// The query as it was sent, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.head.target.split_once('?').map(|(_, query)| query)
    }

    /// The pairs of the query, decoded as those of a form
    /// (application/x-www-form-urlencoded).
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// The host and port that the client names, as in `localhost:8080`; empty if a
    /// request of HTTP/1.0 names none.
    #[must_use]
    pub const fn authority(&self) -> &'a str {
        self.head.authority
    }

    /// The version: 1.0 or 1.1.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.head.version
    }

    /// The first value of a field; names differ by more than case.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a [u8]> {
        self.header_values(name.as_ref()).next()
    }

    /// The first value of a field, as text; `None` if it is no UTF-8.
    #[must_use]
    pub fn header_text(&self, name: impl AsRef<str>) -> Option<&'a str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// All values of a field.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let has_name = move |field: &&httparse::Header<'a>| field.name.eq_ignore_ascii_case(name);
        self.head.fields.iter().filter(has_name).map(|field| field.value)
    }

    /// Whether a field that is a list has this member, whatever its case.
    #[must_use]
    pub fn lists(&self, name: impl AsRef<str>, member: &str) -> bool {
        self.header_values(name.as_ref())
            .flat_map(list)
            .any(|found| found.eq_ignore_ascii_case(member.as_bytes()))
    }

    /// All fields, in order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> {
        self.head.fields.iter().map(|field| (field.name, field.value))
    }

    /// The body: all of it in [`HttpHandler::request`](super::HttpHandler::request),
    /// and nothing before.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Copies it into a request of the crate `http`.
    #[must_use]
    pub fn to_owned(&self) -> http::Request<bytes::Bytes> {
        let mut request = http::Request::new(bytes::Bytes::copy_from_slice(self.body));
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = self.head.version;
        *request.uri_mut() = self.head.target.parse().unwrap_or_else(|_| Uri::from_static("/"));
        let headers = request.headers_mut();
        *headers = HeaderMap::with_capacity(self.head.fields.len());
        for field in self.head.fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
                headers.append(name, value);
            }
        }
        request
    }
}
