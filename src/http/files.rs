//! `Files`: the files of one directory, served.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::BytesMut;
use http::{Method, StatusCode, header};
use httpdate::HttpDate;
use rustix::fs::{Mode, OFlags};

use super::conditions::{Resource, Verdict};
use super::io::HttpIo;
use super::request::Request;
use crate::Sent;

/// The files of one directory and of those in it.
///
/// A path names a file in the directory, segment by segment, percent-encoded or
/// not. Nothing leads out of it: `..` is no name, a segment that begins with a dot
/// does not exist, and no symbolic link is followed, the directory itself
/// excepted. There is no listing: the path of a directory is answered with its
/// `index.html`, without its slash with a redirect to it.
///
/// GET and HEAD are answered, with `ETag`, `Last-Modified` and a type that the
/// name gives (`Content-Type`; browsers are told not to guess another), a single
/// range with 206, and conditions as RFC 9110, 13 says. Several ranges at once are
/// answered with the whole.
///
/// Opening and reading a file blocks the loop for as long as the disk takes.
///
/// ```
/// use serve_forever::http::{Files, HttpHandler, HttpIo, Request};
/// use serve_forever::BoxError;
///
/// struct Site(Files);
///
/// impl HttpHandler for Site {
///     fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
///         let _ = self.0.serve(io, request);
///         Ok(())
///     }
/// }
///
/// # let directory = tempfile::tempdir()?;
/// let site = Site(Files::of(directory.path())?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
}

/// What a path leads to.
enum Found {
    File(File, &'static str),
    /// A directory, whose path has no slash at its end.
    Directory,
}

impl Files {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// The system's, with the directory's name: it does not exist, or is none.
    pub fn of(directory: impl AsRef<Path>) -> io::Result<Self> {
        let directory = directory.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
        Ok(Self { root })
    }

    /// Answers a request: with a file, or with 301, 304, 404, 405, 412 or 416. An
    /// error of the system is logged, and answered with 500.
    pub fn serve(&self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Sent {
        const ALLOWED: [Method; 2] = [Method::GET, Method::HEAD];
        if !ALLOWED.contains(request.method()) {
            let answer = io.answer(StatusCode::METHOD_NOT_ALLOWED).allow(&ALLOWED);
            return answer.text("only GET and HEAD are served here\n");
        }
        let answered = match self.find(request.path()) {
            Ok(Some(Found::File(file, kind))) => send(io, request, file, kind),
            Ok(Some(Found::Directory)) => {
                let query = request.query().map_or_else(String::new, |query| format!("?{query}"));
                let location = format!("{}/{query}", request.path());
                let answer = io.answer(StatusCode::MOVED_PERMANENTLY);
                Ok(answer
                    .header(header::LOCATION, location)
                    .text("the path of a directory ends with a slash\n"))
            }
            Ok(None) => Ok(io.answer(StatusCode::NOT_FOUND).text("there is no such file\n")),
            Err(error) => Err(error),
        };
        answered.unwrap_or_else(|error| {
            log::error!("{}: {error}", request.path());
            io.answer(StatusCode::INTERNAL_SERVER_ERROR).text("the file cannot be read\n")
        })
    }

    /// Opens what a path leads to.
    fn find(&self, path: &str) -> io::Result<Option<Found>> {
        let Some(path) = path.strip_prefix('/') else { return Ok(None) };
        let (directories, last) = path.rsplit_once('/').map_or(("", path), |(front, last)| (front, last));
        let has_directories = directories.len() + last.len() < path.len();
        let mut within = None;
        for segment in directories.split('/').filter(|_| has_directories) {
            let from = within.as_ref().unwrap_or(&self.root);
            let Some(next) = open(from, segment, OFlags::DIRECTORY)? else { return Ok(None) };
            within = Some(next);
        }
        let from = within.as_ref().unwrap_or(&self.root);
        let name = if last.is_empty() { "index.html" } else { last };
        let Some(found) = open(from, name, OFlags::NONBLOCK)? else { return Ok(None) };
        let file = File::from(found);
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok((!last.is_empty()).then_some(Found::Directory));
        }
        let kind = mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream");
        Ok(metadata.is_file().then_some(Found::File(file, kind)))
    }
}

/// Opens a segment of a path in a directory; `None` if there is nothing that may
/// be served.
fn open(directory: &OwnedFd, segment: &str, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let name: Vec<u8> = percent_encoding::percent_decode_str(segment).collect();
    let is_name =
        !name.is_empty() && name[0] != b'.' && !name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0));
    if !is_name {
        return Ok(None);
    }
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name.as_slice(), flags, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error {
            rustix::io::Errno::NOENT
            | rustix::io::Errno::NOTDIR
            | rustix::io::Errno::LOOP
            | rustix::io::Errno::ACCESS
            | rustix::io::Errno::NAMETOOLONG
            | rustix::io::Errno::NXIO => Ok(None),
            error => Err(error.into()),
        },
    }
}

/// Answers with a file, or with what its conditions say.
fn send(io: &mut HttpIo<'_, '_>, request: &Request<'_>, file: File, kind: &str) -> io::Result<Sent> {
    let metadata = file.metadata()?;
    let length = metadata.len();
    let etag = format!("\"{:x}.{:x}-{length:x}\"", metadata.mtime(), metadata.mtime_nsec());
    let modified = metadata.modified().ok().map(HttpDate::from);
    let verdict = Resource { etag: &etag, modified, length }.evaluate(request);
    let (status, first, count) = match verdict {
        Verdict::Whole => (StatusCode::OK, 0, length),
        Verdict::Range { first, count } => (StatusCode::PARTIAL_CONTENT, first, count),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Verdict::Failed => {
            return Ok(io.answer(StatusCode::PRECONDITION_FAILED).text("the file is another one\n"));
        }
        Verdict::Unsatisfiable => {
            let answer = io.answer(StatusCode::RANGE_NOT_SATISFIABLE);
            let answer = answer.header(header::CONTENT_RANGE, format!("bytes */{length}"));
            return Ok(answer.text("the file is shorter than that\n"));
        }
    };
    let mut answer = io.answer(status).header(header::ETAG, &etag);
    if let Some(modified) = modified {
        answer = answer.header(header::LAST_MODIFIED, modified.to_string());
    }
    if status == StatusCode::NOT_MODIFIED {
        return Ok(answer.empty());
    }
    let mut kind_field = BytesMut::from(kind);
    if kind.starts_with("text/") {
        kind_field.extend_from_slice(b"; charset=utf-8");
    }
    answer = answer
        .header(header::CONTENT_TYPE, &kind_field)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        answer =
            answer.header(header::CONTENT_RANGE, format!("bytes {first}-{}/{length}", first + count - 1));
    }
    Ok(answer.file_range(file, first..first + count))
}
