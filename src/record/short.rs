//! Short forms of the entries that an echo consists of.
//!
//! Their fields have fixed widths, so each is put together in registers and copied once.
//! An entry with a number that does not fit has its general form (`encode.rs`).

use std::borrow::Cow;
use std::time::Duration;

use super::digest::Digest;
use super::entry::{Call, Entry, Number, Outcome, Payload};
use super::primitive::{Malformed, Reader, time_bits, time_of_bits};
use crate::driver::{Event, Moment, Token};

/// The lowest first byte of a short form; the tags of calls are below it.
pub(super) const FIRST: u8 = 128;

const TIME: u8 = FIRST;
const WAIT: u8 = FIRST + 1;
const READ: u8 = FIRST + 2;
const READ_KEPT: u8 = FIRST + 3;
const WRITE: u8 = FIRST + 4;

/// The bytes of a wait before its events.
const WAITED: usize = 18;

/// The bytes of an event.
pub(super) const EVENT: usize = 9;

/// The bytes of a read before what was read.
const KEPT: usize = 13;

/// The bytes of a transfer with the hash of what was read or written.
const HASHED: usize = KEPT + 8;

/// A reading of the clock, so many nanoseconds after the one before.
#[inline]
pub(super) fn time(passed: u64) -> Option<[u8; 5]> {
    let mut form = [TIME; 5];
    form[1..].copy_from_slice(&u32::try_from(passed).ok()?.to_le_bytes());
    Some(form)
}

/// A wait, before its events.
#[inline]
pub(super) fn wait(timeout: Option<Duration>, events: usize, reported_all: bool) -> [u8; WAITED] {
    let mut form = [WAIT; WAITED];
    form[1..9].copy_from_slice(&time_bits(timeout).to_le_bytes());
    form[9] = u8::from(reported_all);
    form[10..].copy_from_slice(&(events as u64).to_le_bytes());
    form
}

/// An event of a wait.
#[inline]
pub(super) fn event(event: Event) -> [u8; EVENT] {
    let mut form = [0; EVENT];
    form[0] = u8::from(event.readable) | u8::from(event.writable) << 1 | u8::from(event.hangup) << 2;
    form[1..].copy_from_slice(&event.token.to_bits().to_le_bytes());
    form
}

/// A read of which the digest is kept.
#[inline]
pub(super) fn read(stream: Number, space: u64, read: Digest) -> Option<[u8; HASHED]> {
    hashed(READ, stream, space, read)
}

/// A read, before the bytes that are kept of it.
#[inline]
pub(super) fn read_kept(stream: Number, space: u64, len: u64) -> Option<[u8; KEPT]> {
    transfer(READ_KEPT, stream, space, len)
}

/// A write.
#[inline]
pub(super) fn write(stream: Number, offered: u64, taken: Digest) -> Option<[u8; HASHED]> {
    hashed(WRITE, stream, offered, taken)
}

#[inline]
fn hashed(tag: u8, stream: Number, asked: u64, moved: Digest) -> Option<[u8; HASHED]> {
    let mut form = [0; HASHED];
    form[..KEPT].copy_from_slice(&transfer(tag, stream, asked, moved.len)?);
    form[KEPT..].copy_from_slice(&moved.hash.to_le_bytes());
    Some(form)
}

#[inline]
fn transfer(tag: u8, stream: Number, asked: u64, moved: u64) -> Option<[u8; KEPT]> {
    let mut form = [tag; KEPT];
    form[1..5].copy_from_slice(&u32::try_from(stream.0).ok()?.to_le_bytes());
    form[5..9].copy_from_slice(&u32::try_from(asked).ok()?.to_le_bytes());
    form[9..].copy_from_slice(&u32::try_from(moved).ok()?.to_le_bytes());
    Some(form)
}

/// Reads an entry in its short form. `clock` is the last time before it, which becomes
/// that of the entry.
pub(super) fn entry<'a>(from: &mut Reader<'a>, clock: &mut u64) -> Result<Entry<'a>, Malformed> {
    Ok(match from.byte()? {
        TIME => {
            *clock = clock.wrapping_add(from.fixed_u32()?.into());
            Entry { call: Call::Now, outcome: Outcome::Time(Moment::from_nanos(*clock)) }
        }
        WAIT => {
            let timeout = time_of_bits(from.fixed_u64()?);
            let reported_all = from.flag()?;
            let count = usize::try_from(from.fixed_u64()?).map_err(|_| Malformed)?;
            let bytes = count.checked_mul(EVENT).ok_or(Malformed)?;
            let events = from.raw(bytes)?.chunks_exact(EVENT).map(|form| decode_event(Reader { rest: form }));
            let events = Cow::Owned(events.collect::<Result<_, _>>()?);
            Entry { call: Call::Wait { timeout }, outcome: Outcome::Waited { events, reported_all } }
        }
        READ => {
            let (stream, space, read) = decode_hashed(from)?;
            Entry { call: Call::Read { stream, space }, outcome: Outcome::Input(Payload::Hashed(read)) }
        }
        READ_KEPT => {
            let (stream, space, len) = decode_transfer(from)?;
            let read = Payload::Kept(Cow::Borrowed(from.raw(len as usize)?));
            Entry { call: Call::Read { stream, space }, outcome: Outcome::Input(read) }
        }
        WRITE => {
            let (stream, offered, taken) = decode_hashed(from)?;
            Entry { call: Call::Write { stream, offered }, outcome: Outcome::Written(taken) }
        }
        _ => return Err(Malformed),
    })
}

fn decode_event(mut from: Reader<'_>) -> Result<Event, Malformed> {
    let flags = from.byte()?;
    let token = Token::from_bits(from.fixed_u64()?);
    if flags > 7 {
        return Err(Malformed);
    }
    Ok(Event { token, readable: flags & 1 != 0, writable: flags & 2 != 0, hangup: flags & 4 != 0 })
}

fn decode_hashed(from: &mut Reader<'_>) -> Result<(Number, u64, Digest), Malformed> {
    let (stream, asked, len) = decode_transfer(from)?;
    Ok((stream, asked, Digest { len: len.into(), hash: from.fixed_u64()? }))
}

fn decode_transfer(from: &mut Reader<'_>) -> Result<(Number, u64, u32), Malformed> {
    Ok((Number(from.fixed_u32()?.into()), from.fixed_u32()?.into(), from.fixed_u32()?))
}
