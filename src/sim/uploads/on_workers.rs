//! `OnWorkers`: an upload whose files workers write (feature `workers`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Stream, Taken, Upload, UploadHandler, contents};
use crate::Limits;
use crate::driver::sim::{ClientId, Network, Rng};
use crate::sim::log::Life;
use crate::sim::subject::Subject;

/// [`Upload`] in a reactor with workers, whose jobs may be late, lost, or panic. A file
/// whose job was is refused; every other one is there, whole, and nothing is left of the
/// others.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnWorkers;

impl Subject for OnWorkers {
    type Handler = UploadHandler;

    fn handler(&self) -> UploadHandler {
        Upload.handler()
    }

    fn limits(&self) -> Limits {
        Upload.limits()
    }

    fn has_workers(&self) -> bool {
        true
    }

    fn stream(&self, rng: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        Upload.stream(rng, client, len)
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        let expected = Taken::of(seen.sent(), Stream::Ended).replies;
        let received = String::from_utf8_lossy(seen.received());
        let faults = net.faults();
        let is_right = if whole { expected == *received } else { expected.starts_with(&*received) };
        let is_refused = faults.jobs_lost + faults.jobs_panicked > 0 && ends_refused(&received, &expected);
        if is_right || is_refused {
            return Ok(());
        }
        Err(format!("client {client} was answered {received:?}, not {expected:?}"))
    }

    fn check_all(&self, net: &Network, lives: &[Life]) -> Result<(), String> {
        // A file that is acknowledged was taken.
        for life in lives {
            let Some(client) = life.client() else { continue };
            let received = String::from_utf8_lossy(net.client(client).received()).into_owned();
            let taken = Taken::of(life.input(), Stream::Ended);
            if let Some(unknown) = acknowledged(&received).find(|name| !taken.files.contains_key(*name)) {
                return Err(format!("client {client} was told of {unknown}, which was not taken"));
            }
        }
        Ok(())
    }

    fn check_handler(&self, handler: &UploadHandler, lives: &[Life]) -> Result<(), String> {
        let mut sent = BTreeMap::new();
        for life in lives {
            sent.extend(Taken::of(life.input(), Stream::Ended).files);
        }
        let found = contents(&handler.directory).map_err(|error| error.to_string())?;
        for (name, content) in &found {
            match sent.get(name) {
                // A job that was under way when the reactor ended has its file still.
                None if handler.is_shutting_down && name.starts_with('.') => {}
                None => return Err(format!("{name} is left, of which not all was taken")),
                Some(sent) if sent != content => {
                    return Err(format!("{name} is not what was sent: {} bytes", content.len()));
                }
                Some(_) => {}
            }
        }
        match handler.stored.try_iter().find(|name| !found.contains_key(name)) {
            Some(name) => Err(format!("{name} was stored, and is not there")),
            None => Ok(()),
        }
    }

    fn may_overflow(&self) -> bool {
        Upload.may_overflow()
    }

    fn own_deadline(&self) -> Option<Duration> {
        Upload.own_deadline()
    }
}

/// Whether the replies are the expected ones up to a file whose job was lost, perhaps cut
/// in that one.
fn ends_refused(replies: &str, expected: &str) -> bool {
    let (whole, last) = match replies.strip_suffix('\n').unwrap_or(replies).rsplit_once('\n') {
        Some((whole, last)) => (&replies[..=whole.len()], last),
        None => ("", replies),
    };
    let is_disk = last.starts_with(REFUSED) || REFUSED.starts_with(last);
    expected.starts_with(whole) && is_disk
}

/// The beginning of the reply to a file whose job was lost.
const REFUSED: &str = "err|disk: ";

/// The names of the files in the replies of a client that are `ok`.
fn acknowledged(replies: &str) -> impl Iterator<Item = &str> {
    let whole = replies.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.filter_map(|line| line.strip_prefix("ok|")?.split_once('|').map(|(_, name)| name))
}
