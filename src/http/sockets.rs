//! `Sockets`: the WebSockets of a service, and which of them have said something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use slab::Slab;

use super::arrival::ArrivalDeadline;
use crate::ws::{CloseCode, Masks, Outgoing, Reader, Role};
use crate::{ConnId, Error, Io, TimerId};

/// The periods of silence after which a WebSocket is closed. The first may have
/// been short, as a period of one socket is one of all of them.
const SILENT: u8 = 3;

/// One WebSocket.
#[derive(Debug)]
pub(super) struct SocketConn {
    pub(super) reader: Reader,
    /// Its place among the sockets.
    pub(super) place: u32,
    /// What the peer gave as its reason to close.
    pub(super) code: Option<CloseCode>,
    /// Closes have been exchanged, or one side has broken off: nothing of the input
    /// counts any more.
    pub(super) is_over: bool,
    /// It was paused when its input was last taken.
    pub(super) was_paused: bool,
    /// The time of a message that has begun.
    pub(super) deadline: ArrivalDeadline,
    /// The reactor was told that a frame is open.
    pub(super) has_frame: bool,
    /// It is paused until its peer has read the answers to its pings.
    pub(super) is_full: bool,
}

/// A socket, and for how many periods it has said nothing.
#[derive(Debug)]
struct Silence {
    conn: ConnId,
    periods: u8,
}

/// The WebSockets of a service.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    all: Slab<Silence>,
    tick: Option<TimerId>,
    /// What a client asks for as soon as its connection is there.
    pub(super) dialed: BTreeMap<ConnId, Dialed>,
    /// The sockets of which this is the client, which mask what they send.
    clients: BTreeSet<ConnId>,
    pub(super) masks: Masks,
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) request: Bytes,
    /// The right answer to its key.
    pub(super) accept: String,
    pub(super) limits: crate::ws::SocketLimits,
    pub(super) tag: u64,
}

impl Sockets {
    /// Adds a socket. Silence does not end it: pings find out whether its peer is
    /// there.
    pub(super) fn add(
        &mut self,
        io: &mut Io<'_>,
        role: Role,
        reader: Reader,
        ping: Option<Duration>,
    ) -> Result<SocketConn, Error> {
        let conn = io.id();
        if let Some(ping) = ping {
            if self.tick.is_none() {
                self.tick = Some(io.tick_every(ping)?);
            }
            // Each ping is a sign of life, ours at least. A deadline of its own costs
            // a connection memory, and so is set only where pings come too late.
            if io.limits().idle.is_some_and(|idle| idle <= ping.saturating_mul(3)) {
                io.set_idle(conn, None);
            }
        }
        let place = u32::try_from(self.all.insert(Silence { conn, periods: 0 })).unwrap_or(u32::MAX);
        if role == Role::Client {
            self.clients.insert(conn);
        }
        Ok(SocketConn {
            reader,
            place,
            code: None,
            is_over: false,
            was_paused: false,
            deadline: ArrivalDeadline::default(),
            has_frame: false,
            is_full: false,
        })
    }

    /// Forgets a socket that has ended.
    pub(super) fn remove(&mut self, place: u32, conn: ConnId) {
        if self.all.get(place as usize).is_some_and(|socket| socket.conn == conn) {
            self.all.remove(place as usize);
        }
        self.clients.remove(&conn);
    }

    /// Notes that a socket has said something.
    pub(super) fn heard(&mut self, place: u32) {
        if let Some(socket) = self.all.get_mut(place as usize) {
            socket.periods = 0;
        }
    }

    /// The mask of the next frame to a socket.
    pub(super) fn mask(&mut self, to: ConnId) -> Option<[u8; 4]> {
        (!self.clients.is_empty() && self.clients.contains(&to)).then(|| self.masks.next())
    }

    pub(super) fn is_tick(&self, timer: TimerId) -> bool {
        self.tick == Some(timer)
    }

    /// Sends a ping to each socket that has said nothing for a period, and ends
    /// those that have not answered.
    pub(super) fn ping(&mut self, io: &mut Io<'_>) {
        let Self { all, clients, masks, tick, .. } = self;
        let server = framed(Outgoing::Ping(b""), None);
        // A handler that panicked in `socket_open` has left its socket here.
        all.retain(|_, socket| io.is_open(socket.conn));
        for (_, socket) in all.iter_mut() {
            socket.periods += 1;
            match socket.periods {
                1 => {}
                SILENT.. => io.abort(socket.conn),
                _ => {
                    let is_client = clients.contains(&socket.conn);
                    let ping = if is_client {
                        framed(Outgoing::Ping(b""), Some(masks.next()))
                    } else {
                        server.clone()
                    };
                    let _ = io.send(socket.conn, ping);
                }
            }
        }
        if all.is_empty()
            && let Some(tick) = tick.take()
        {
            io.cancel(tick);
        }
    }
}

/// A frame of its own.
pub(super) fn framed(outgoing: Outgoing<'_>, mask: Option<[u8; 4]>) -> Bytes {
    let mut out = BytesMut::new();
    outgoing.put(&mut out, mask);
    out.freeze()
}
