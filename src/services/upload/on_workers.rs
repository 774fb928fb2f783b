//! Receiving files on workers, where the reactor has some: each step of a file is a
//! job, and its connection is paused meanwhile.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;

use super::header::Header;
use super::refusal::Refusal;
use super::work::{AtWork, Progress, Step, Target};
use super::{Stream, Upload, Uploader};
use crate::{BoxError, Error, Io, JobError, Peer, Sent};

/// The time after which a step is offered again to workers that had no room.
const RETRY: Duration = Duration::from_millis(10);

/// The result of a step's job.
type Taken = Result<Option<Result<Progress, Refusal>>, JobError>;

impl Upload {
    /// Takes one piece of input, a header with data behind it or data alone, and gives it
    /// to the workers. Further input stays where it is until the step is taken.
    pub(super) fn take_on_worker(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        input: &mut BytesMut,
        stream: Stream,
    ) -> Result<(), Refusal> {
        let header = match stream {
            Stream::Open => Header::next,
            Stream::Ended => Header::last,
        };
        let (left, target) = match client.incoming.take() {
            Some(incoming) => (incoming.left, Target::Begun(incoming)),
            None => match header(self.framing, input)? {
                Some(header) if header.size > self.store.max => return Err(Refusal::TooLarge),
                Some(header) => (header.size, Target::New(header)),
                None => return Ok(()),
            },
        };
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let data = input.split_to(count).freeze();
        io.pause(io.id());
        self.give(io, client, Step { store: self.store.clone(), target, data }, stream)
    }

    /// Offers a step again to workers that had no room. `false`: none waits.
    pub(super) fn give_again(&mut self, io: &mut Io<'_>, client: &mut Uploader) -> Result<bool, Refusal> {
        match client.at_work.take() {
            Some(AtWork { waiting: Some(step), stream, .. }) => {
                self.give(io, client, step, stream).map(|()| true)
            }
            at_work => {
                client.at_work = at_work;
                Ok(false)
            }
        }
    }

    fn give(
        &mut self,
        io: &mut Io<'_>,
        client: &mut Uploader,
        step: Step,
        stream: Stream,
    ) -> Result<(), Refusal> {
        let (name, size, came) = step.came();
        let mut at_work = AtWork { name: name.to_owned(), size, came, waiting: None, stream };
        // A refused job is dropped, and the step must not be.
        let step = Arc::new(Mutex::new(Some(step)));
        let take = |step: &Mutex<Option<Step>>| step.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (work, peer) = (Arc::clone(&step), client.peer.clone());
        let done = move |this: &mut Self, io: &mut Io<'_>, client: Option<&mut Uploader>, taken: Taken| {
            this.taken(io, client, &peer, taken)
        };
        match io.offload(move || take(&work).map(Step::run), done) {
            Ok(()) => {}
            Err(Error::Full { .. }) => {
                at_work.waiting = take(&step);
                client.go_on = Some(io.after(RETRY).map_err(disk)?);
            }
            Err(error) => return Err(disk(error)),
        }
        client.at_work = Some(at_work);
        Ok(())
    }

    /// Goes on after a step. A file that is whole stays if its client has gone; any other
    /// is removed as it drops.
    fn taken(
        &mut self,
        io: &mut Io<'_>,
        client: Option<&mut Uploader>,
        peer: &Peer,
        taken: Taken,
    ) -> Result<(), BoxError> {
        let progress = match taken {
            Ok(Some(progress)) => progress,
            Ok(None) => Err(disk("the step was lost")),
            Err(error) => Err(disk(error)),
        };
        let Some(client) = client else {
            if let Ok(Progress::Stored(stored)) = progress {
                self.announce(peer, &stored);
            }
            return Ok(());
        };
        let has_ended = client.at_work.take().is_some_and(|at_work| at_work.stream == Stream::Ended);
        let sent = match progress {
            Ok(Progress::Incoming(incoming)) => {
                client.incoming = Some(incoming);
                Sent::Queued
            }
            Ok(Progress::Stored(stored)) => {
                self.announce(peer, &stored);
                self.answer(io, &stored)
            }
            Err(refusal) => {
                self.refuse(io, client, &refusal);
                return Ok(());
            }
        };
        if has_ended {
            self.give_up(io, client, &"the client ended its side");
            io.finish(io.id());
        } else if sent != Sent::Full {
            io.resume(io.id());
        }
        self.watch(io, client);
        Ok(())
    }
}

fn disk(error: impl Into<BoxError>) -> Refusal {
    Refusal::Disk(io::Error::other(error))
}
