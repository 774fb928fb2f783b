//! `Hub`: a service that crosses connections.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Subject;
use crate::driver::sim::{ClientId, Network, Rng};
use crate::sim::log::Life;
use crate::{BoxError, GroupId, Io, Limits, Origin, StreamHandler};

/// A service that sends each record of eight bytes (its sender and its number)
/// to all other clients, and so crosses connections as a chat does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hub;

/// The size of a record of a [`Hub`].
const RECORD: usize = 8;

impl Subject for Hub {
    type Handler = HubHandler;

    fn handler(&self) -> HubHandler {
        HubHandler::default()
    }

    fn limits(&self) -> Limits {
        // Shorter than some clients take for a record in pieces.
        Limits { frame: Some(Duration::from_secs(5)), ..Limits::default() }
    }

    fn stream(&self, _: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        (0..len.div_ceil(RECORD)).flat_map(|number| record(client, number)).collect()
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let received = net.client(client).received();
        let mut next = std::collections::BTreeMap::new();
        for bytes in received.chunks_exact(RECORD) {
            let (from, number) = parse(bytes);
            let expected = next.entry(from).or_insert(number);
            if *expected != number || from == client.number() {
                return Err(format!("client {client} received record {number} of {from}, not {expected}"));
            }
            *expected += 1;
        }
        if whole && !received.len().is_multiple_of(RECORD) {
            return Err(format!("client {client} received a part of a record"));
        }
        Ok(())
    }

    fn may_overflow(&self) -> bool {
        true
    }
}

#[allow(clippy::cast_possible_truncation, reason = "few clients, and few records")]
fn record(client: usize, number: usize) -> [u8; RECORD] {
    (u64::from(client as u32) << 32 | u64::from(number as u32)).to_be_bytes()
}

#[allow(clippy::cast_possible_truncation, reason = "it was made from two numbers of 32 bits")]
fn parse(bytes: &[u8]) -> (usize, usize) {
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    ((number >> 32) as usize, number as u32 as usize)
}

/// The handler of a [`Hub`].
#[derive(Debug, Default)]
pub struct HubHandler {
    everybody: GroupId,
}

impl StreamHandler for HubHandler {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.everybody = io.group()?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        io.join(self.everybody, io.id())?;
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let complete = input.len() - input.len() % RECORD;
        let records: Bytes = input.split_to(complete).freeze();
        if !records.is_empty() {
            io.broadcast(self.everybody, &records, Some(io.id()));
        }
        Ok(())
    }
}
