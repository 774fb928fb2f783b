//! `Hesitant`: an echo that leaves input, and pauses.

use std::time::Duration;

use bytes::BytesMut;

use super::{Subject, check_mapped, noise};
use crate::driver::sim::{ClientId, Network, Rng};
use crate::sim::log::Life;
use crate::{AfterEof, BoxError, Io, Limits, Origin, Sent, StreamHandler, TimerId, services};

/// An echo that takes a few bytes at a time, leaves the rest, and pauses until
/// a timer or `drained` resumes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hesitant;

impl Subject for Hesitant {
    type Handler = HesitantHandler;

    fn handler(&self) -> HesitantHandler {
        HesitantHandler(())
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte)
    }
}

/// The handler of [`Hesitant`].
#[derive(Debug)]
pub struct HesitantHandler(());

impl StreamHandler for HesitantHandler {
    /// Whether it waits for `drained`.
    type Session = bool;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<bool, BoxError> {
        Ok(false)
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, full: &mut bool, input: &[u8]) -> Result<usize, BoxError> {
        // Every other part is left to `data`, and so are all but a few bytes.
        let few = usize::from(input[0] % 128).saturating_sub(64).min(input.len());
        if few > 0 {
            *full = io.write(&input[..few]) == Sent::Full;
            if *full {
                io.pause(io.id());
            }
        }
        Ok(few)
    }

    fn data(&mut self, io: &mut Io<'_>, full: &mut bool, input: &mut BytesMut) -> Result<(), BoxError> {
        // The number depends on the bytes alone, so that it is the same however
        // they are cut.
        let few = input.first().map_or(0, |first| 1 + usize::from(first % 64));
        let sent = io.write(&input.split_to(few.min(input.len())));
        *full |= sent == Sent::Full;
        if *full {
            io.pause(io.id());
        } else if !input.is_empty() {
            io.pause(io.id());
            io.after(Duration::from_micros(100))?;
        }
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, _: &mut bool, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        if rest.is_empty() { Ok(AfterEof::Finish) } else { Err("the end comes before what was left".into()) }
    }

    fn drained(&mut self, io: &mut Io<'_>, full: &mut bool) -> Result<(), BoxError> {
        *full = false;
        io.resume(io.id());
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, full: &mut bool, _: TimerId) -> Result<(), BoxError> {
        if !*full {
            io.resume(io.id());
        }
        Ok(())
    }
}
