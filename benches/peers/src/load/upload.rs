//! A file of pseudo-random bytes, sent at once; what it became on the disk is
//! compared byte by byte afterwards, outside of the time.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use super::connect::Connector;
use super::patience::Patience;
use super::pattern::{CHUNK, Pattern, Place};
use super::{Effort, Target, Work, unless_blocked};
use crate::Result;

/// How large a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload {
    pub(crate) mib: u64,
}

/// A sixteenth of it first, for warming up.
const WARMUP: u64 = 16;

/// See [`Load::run`](super::Load::run). It takes as long as it takes; what is
/// counted are MiB.
pub(super) fn run(upload: Upload, target: &Target, effort: &Effort) -> Result<Work> {
    let mut load = Load::new(target, effort)?;
    let mut files = vec![load.send((upload.mib / WARMUP).max(1))?];
    let work = Work::measure(target, || {
        files.push(load.send(upload.mib)?);
        Ok(upload.mib)
    })?;
    load.check(&files, folder(target)?)?;
    Ok(work)
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(mib: u64, target: &Target, effort: &Effort) -> Result<u64> {
    let mut load = Load::new(target, effort)?;
    let file = load.send(mib)?;
    load.check(&[file], folder(target)?)?;
    Ok(mib)
}

fn folder(target: &Target) -> Result<&Path> {
    target.folder.as_deref().ok_or_else(|| "this server has no folder".into())
}

struct Load {
    stream: TcpStream,
    spins: bool,
    pattern: Pattern,
    sent: usize,
}

/// A file that the server says it has.
struct Sent {
    name: String,
    from: Place,
    bytes: u64,
}

impl Load {
    fn new(target: &Target, effort: &Effort) -> Result<Self> {
        let stream = Connector::new(target.address).connect()?;
        stream.set_nonblocking(effort.spins)?;
        Ok(Self { stream, spins: effort.spins, pattern: Pattern::new(), sent: 0 })
    }

    /// Sends a file and waits for the answer.
    fn send(&mut self, mib: u64) -> Result<Sent> {
        let name = format!("file {}", self.sent);
        let from = Place::of_connection(self.sent);
        self.sent += 1;
        let bytes = mib << 20;
        let mut patience = Patience::new();
        let header = format!("post|{bytes}|{name}\n");
        self.write(header.as_bytes(), &mut patience, 0)?;
        let (mut place, mut left) = (from, bytes);
        while left > 0 {
            let piece = self.pattern.piece(place, left);
            let count = write(&self.stream, piece, self.spins)?;
            place.advance(count);
            left -= count as u64;
            patience.check(left, Instant::now())?;
        }
        let expected = format!("ok|{bytes}|{name}\n");
        let mut answer = Vec::new();
        while answer.len() < expected.len() {
            let mut buffer = [0; 1024];
            match unless_blocked((&self.stream).read(&mut buffer))? {
                Some(0) => return Err(said(&answer, "and closed").into()),
                Some(count) => answer.extend_from_slice(&buffer[..count]),
                None => {}
            }
            patience.check(answer.len() as u64, Instant::now())?;
        }
        if answer != expected.as_bytes() {
            return Err(said(&answer, "").into());
        }
        Ok(Sent { name, from, bytes })
    }

    fn write(&self, mut data: &[u8], patience: &mut Patience, before: u64) -> Result<()> {
        while !data.is_empty() {
            data = &data[write(&self.stream, data, self.spins)?..];
            patience.check(before + data.len() as u64, Instant::now())?;
        }
        Ok(())
    }

    /// What is in the folder: these files, as they were sent, and nothing else.
    fn check(&self, files: &[Sent], folder: &Path) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        for sent in files {
            let mut file = File::open(folder.join(&sent.name))?;
            let mut place = sent.from;
            let mut bytes = 0;
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                self.pattern
                    .check(place, &buffer[..count])
                    .map_err(|mismatch| format!("{} is not what was sent: {mismatch:?}", sent.name))?;
                place.advance(count);
                bytes += count as u64;
            }
            if bytes != sent.bytes {
                return Err(format!("{} has {bytes} bytes, not {}", sent.name, sent.bytes).into());
            }
        }
        let found = fs::read_dir(folder)?.count();
        if found == files.len() { Ok(()) } else { Err(format!("{found} files for {}", files.len()).into()) }
    }
}

/// No bytes for a socket without room, if it does not block.
fn write(mut stream: &TcpStream, data: &[u8], spins: bool) -> io::Result<usize> {
    if spins { Ok(unless_blocked(stream.write(data))?.unwrap_or(0)) } else { stream.write(data) }
}

fn said(answer: &[u8], more: &str) -> String {
    format!("the server said {:?} {more}", String::from_utf8_lossy(answer))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::super::testing::{self, EFFORT};
    use super::*;

    /// Says that it has every file, and has what `keep` makes of it.
    fn serve(folder: &Path, keep: impl Fn(&mut Vec<u8>) + Send + 'static) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let into = folder.to_path_buf();
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            let mut input = BufReader::new(&stream);
            let mut header = String::new();
            while input.read_line(&mut header).is_ok_and(|count| count > 0) {
                let parts: Vec<_> = header.trim_end().split('|').collect();
                let mut data = vec![0; parts[1].parse().expect("a size")];
                input.read_exact(&mut data).expect("all of it comes");
                keep(&mut data);
                fs::write(into.join(parts[2]), data).expect("a file");
                (&stream).write_all(header.replace("post", "ok").as_bytes()).expect("it reads");
                header.clear();
            }
        });
        Target { folder: Some(folder.to_path_buf()), ..testing::target(address) }
    }

    #[test]
    fn a_file_that_is_not_what_was_sent_is_an_error() {
        let folder = || tempfile::tempdir().expect("a folder");
        let upload = Upload { mib: 2 };
        let into = folder();
        let work = run(upload, &serve(into.path(), |_| {}), &EFFORT).expect("it keeps the file");
        assert_eq!(work.count, 2);
        let into = folder();
        let changed = serve(into.path(), |data| data[70_000] ^= 1);
        let error = run(upload, &changed, &EFFORT).expect_err("a byte is not what was sent");
        assert!(error.to_string().contains("not what was sent"), "{error}");
        let into = folder();
        let cut = serve(into.path(), |data| data.truncate(100));
        assert!(run(upload, &cut, &EFFORT).is_err());
    }
}
