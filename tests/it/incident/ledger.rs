//! A service with a planted bug: docs/incident.md.

use std::cell::Cell;

use bytes::BytesMut;
use serve_forever::{BoxError, Io, Origin, StreamHandler};

thread_local! {
    /// Whether the ledgers of this thread have the bug.
    pub(super) static PLANTED: Cell<bool> = const { Cell::new(false) };
}

/// Counts the records of each client, lines that end with CR LF, and answers each with
/// its number. `total N` says how many there were.
pub(super) struct Ledger {
    has_bug: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { has_bug: PLANTED.get() }
    }
}

impl StreamHandler for Ledger {
    /// The records of the client.
    type Session = u64;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<u64, BoxError> {
        Ok(0)
    }

    fn data(&mut self, io: &mut Io<'_>, records: &mut u64, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") {
            let record = input.split_to(end + 2);
            if let Some(total) = record.strip_prefix(b"total ") {
                let total: u64 = std::str::from_utf8(total)?.trim_end().parse()?;
                if total != *records {
                    return Err(format!("{total} records were sent, and {records} have come").into());
                }
                *records = 0;
                io.reply(b"right\r\n");
            } else {
                *records += 1;
                io.reply(format!("{records}\r\n").as_bytes());
            }
        }
        if self.has_bug && input.ends_with(b"\r") {
            input.clear(); // "an empty line"
        }
        Ok(())
    }
}
