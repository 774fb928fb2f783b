//! `Backlog`: queues text for a standard stream that may have no reader, and
//! writes it from a thread.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The most bytes that wait; further text is dropped.
const MOST: usize = 1 << 20;

/// The time that the end of the program waits for the rest to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A writer that never blocks: a thread writes the text. Text without room is
/// counted, and the count is written in its place. The first text starts the
/// thread, so a silent program has none.
#[derive(Clone)]
pub(crate) struct Backlog {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Signalled when text waits.
    more: Condvar,
    /// Signalled when no text waits any more.
    done: Condvar,
    /// Opens the target.
    open: Box<dyn Fn() -> Box<dyn Write> + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    /// Texts, each with the number that was dropped before it.
    texts: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    /// The number dropped since the last text.
    dropped: u64,
    has_writer: bool,
    /// True while the thread writes a text.
    is_writing: bool,
}

impl Backlog {
    /// Makes a backlog that writes to what `open` returns.
    pub(crate) fn new<W: Write + 'static>(open: impl Fn() -> W + Send + Sync + 'static) -> Self {
        let shared = Shared {
            waiting: Mutex::default(),
            more: Condvar::new(),
            done: Condvar::new(),
            open: Box::new(move || Box::new(open())),
        };
        Self { shared: Arc::new(shared) }
    }

    fn push(&self, text: &[u8]) {
        let mut waiting = self.shared.lock();
        if waiting.bytes + text.len() > MOST || !waiting.has_writer && !self.begin(&mut waiting) {
            waiting.dropped += 1;
            return;
        }
        let dropped = std::mem::take(&mut waiting.dropped);
        waiting.bytes += text.len();
        waiting.texts.push_back((dropped, text.to_vec()));
        self.shared.more.notify_one();
    }

    fn begin(&self, waiting: &mut Waiting) -> bool {
        let shared = Arc::clone(&self.shared);
        let writer = thread::Builder::new().name("backlog".to_owned());
        waiting.has_writer = writer.spawn(move || shared.write()).is_ok();
        waiting.has_writer
    }

    /// Waits up to `LAST_WORDS` for the rest to be written.
    pub(crate) fn end(&self) {
        let waiting = self.shared.lock();
        let has_more =
            |waiting: &mut Waiting| !waiting.texts.is_empty() || waiting.is_writing || waiting.dropped > 0;
        let _ = self.shared.done.wait_timeout_while(waiting, LAST_WORDS, has_more);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code under the lock can panic halfway.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's thread.
    fn write(&self) {
        let mut sink = (self.open)();
        let mut waiting = self.lock();
        loop {
            let (dropped, text) = match waiting.texts.pop_front() {
                Some(next) => next,
                None if waiting.dropped > 0 => (std::mem::take(&mut waiting.dropped), Vec::new()),
                None => {
                    self.done.notify_all();
                    waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            waiting.bytes -= text.len();
            waiting.is_writing = true;
            drop(waiting);
            // An error of a closed stream is ignored.
            if dropped > 0 {
                let _ = writeln!(sink, "({dropped} lines were dropped here: nobody read them in time)");
            }
            let _ = sink.write_all(&text);
            waiting = self.lock();
            waiting.is_writing = false;
        }
    }
}

impl Write for Backlog {
    /// Queues or drops one message, as a whole; never blocks.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn nobody_who_reads_is_not_waited_for_and_told_of_what_was_dropped() {
        let (reader, writer) = io::pipe().expect("two descriptors");
        let mut backlog = Backlog::new(move || writer.try_clone().expect("a descriptor"));
        let line = |number: u32| format!("{number:>99}\n");
        for number in 0..50_000 {
            backlog.write_all(line(number).as_bytes()).expect("it never fails");
        }
        backlog.end(); // nor does this wait for long
        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("UTF-8"));
        let (mut number, mut came) = (0, 0);
        while number < 50_000 {
            let next = lines.next().expect("there is more");
            match next.strip_prefix('(').and_then(|rest| rest.split_once(" lines were dropped")) {
                Some((dropped, _)) => number += dropped.parse::<u32>().expect("a number"),
                None => {
                    assert_eq!(next, line(number).trim_end_matches('\n'));
                    (number, came) = (number + 1, came + 1);
                }
            }
        }
        assert!(came < 50_000, "nothing was dropped");
        backlog.end();
        backlog.write_all(b"once more\n").expect("it never fails");
        assert_eq!(lines.next().as_deref(), Some("once more"));
    }

    #[test]
    fn a_stream_that_is_gone_is_not_waited_for() {
        let (reader, writer) = io::pipe().expect("two descriptors");
        drop(reader);
        let mut backlog = Backlog::new(move || writer.try_clone().expect("a descriptor"));
        for _ in 0..50_000 {
            backlog.write_all(&[b'x'; 100]).expect("it never fails");
        }
        let waiting = || backlog.shared.lock().bytes;
        while waiting() > 0 {
            thread::yield_now();
        }
    }
}
