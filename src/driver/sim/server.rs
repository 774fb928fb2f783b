//! Server side of the network: reads, writes and closes of connections, and the
//! faults that any call may meet.

use std::io::{self, IoSlice};

use rustix::io::Errno;

use super::network::{Due, Network, Way, nanos};
use super::trace::What;
use super::wire::Kind;
use crate::driver::{Closing, Token};

impl Network {
    /// Lets a call take its time, while the network goes on; the call may be
    /// interrupted.
    pub(super) fn call(&mut self) -> io::Result<()> {
        let (least, most) = self.conditions.call;
        let cost = self.rng.between(nanos(least), nanos(most));
        self.pass(self.now.saturating_add(cost));
        self.may_stop();
        if self.rng.chance(self.conditions.interrupted) {
            self.faults.interrupted += 1;
            self.trace.note(self.now, None, What::Interrupted, 0);
            return Err(Errno::INTR.into());
        }
        Ok(())
    }

    /// Stops the process for a while, if chance decides so. True if it did.
    pub(super) fn may_stop(&mut self) -> bool {
        let stopped = self.rng.chance(self.conditions.stopped);
        if stopped {
            self.faults.stopped += 1;
            let time = self.rng.between(0, nanos(self.conditions.stop));
            self.trace.note(self.now, None, What::Stopped, time);
            self.stand_still(time);
        }
        stopped
    }

    /// Stops the server for `time` nanoseconds, while the network goes on.
    pub(super) fn stand_still(&mut self, time: u64) {
        let from = self.now;
        self.pass(from.saturating_add(time));
        self.stops.push((from, self.now));
    }

    /// Whether a call returns `WouldBlock` without need.
    pub(super) fn blocks_anyway(&mut self) -> bool {
        let blocks = self.rng.chance(self.conditions.would_block);
        self.faults.would_block += u64::from(blocks);
        blocks
    }

    /// Fails a call on a connection, and notes it in the trace.
    pub(super) fn fail<T>(&mut self, client: usize, what: What, error: Errno) -> io::Result<T> {
        #[allow(clippy::cast_sign_loss, reason = "an errno is positive")]
        self.note(client, what, error.raw_os_error() as u64);
        Err(error.into())
    }

    pub(super) fn register(&mut self, place: usize, token: Token) -> io::Result<()> {
        self.call()?;
        self.note(place, What::Register, 0);
        let wire = &mut self.wires[place];
        wire.socket.token = Some(token);
        wire.socket.told_writable = true;
        wire.socket.read_armed = true;
        wire.socket.write_edge = true;
        if wire.is_readable() {
            self.read_edge(place);
        }
        self.list(place);
        Ok(())
    }

    /// Reads what has arrived into `into`; fewer bytes without a reason, unless
    /// `short` means blocked.
    pub(super) fn read(&mut self, place: usize, short: bool, into: &mut [u8]) -> io::Result<usize> {
        self.hasty += u64::from(self.has_closed);
        self.call()?;
        let unread = self.wires[place].up.unread();
        if unread == 0 {
            let wire = &mut self.wires[place];
            if let Some(error) = wire.socket.error.take() {
                return self.fail(place, What::ReadFailed, Errno::from_raw_os_error(error));
            }
            if wire.is_hung_up() {
                self.note(place, What::ReadEnd, 0);
                return Ok(0);
            }
            wire.socket.read_armed = true;
            return self.fail(place, What::ReadFailed, Errno::AGAIN);
        }
        if self.blocks_anyway() {
            self.wires[place].socket.read_armed = true;
            let latency = self.latency();
            self.after(latency, Due::ReadEdge(place));
            return self.fail(place, What::ReadFailed, Errno::AGAIN);
        }
        let mut count = unread.min(into.len());
        if !short && count > 1 && self.rng.chance(self.conditions.short) {
            self.faults.short_reads += 1;
            count = self.rng.size(1, count - 1);
        }
        let wire = &mut self.wires[place];
        wire.up.take(&mut into[..count]);
        if short && count < into.len() {
            wire.socket.read_armed = true;
        }
        self.note(place, What::Read, count as u64);
        self.trace.bytes(&into[..count]);
        self.moved.0 += count as u64;
        if self.wires[place].kind == Kind::Pipe {
            self.wake_end(place);
        } else {
            self.pump(place);
        }
        Ok(count)
    }

    /// Writes as far as there is room, or less in the same way.
    pub(super) fn write(&mut self, place: usize, short: bool, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.call()?;
        let told_writable = self.wires[place].socket.told_writable;
        self.futile += u64::from(!told_writable);
        let wire = &mut self.wires[place];
        if let Some(error) = wire.socket.error.take() {
            return self.fail(place, What::WriteFailed, Errno::from_raw_os_error(error));
        }
        if wire.socket.broken || wire.socket.fin_sent {
            return self.fail(place, What::WriteFailed, Errno::PIPE);
        }
        let room = wire.down.room();
        if room == 0 {
            wire.socket.write_armed = true;
            wire.socket.told_writable = false;
            return self.fail(place, What::WriteFailed, Errno::AGAIN);
        }
        // A write without an event gets the true answer, for no event would
        // follow a false one.
        if told_writable && self.blocks_anyway() {
            let socket = &mut self.wires[place].socket;
            socket.write_armed = true;
            socket.told_writable = false;
            let latency = self.latency();
            self.after(latency, Due::WriteEdge(place));
            return self.fail(place, What::WriteFailed, Errno::AGAIN);
        }
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut count = offered.min(room);
        if !short && count > 1 && self.rng.chance(self.conditions.short) {
            self.faults.short_writes += 1;
            count = self.rng.size(1, count - 1);
        }
        let mut bytes = Vec::with_capacity(count);
        for piece in pieces {
            bytes.extend_from_slice(&piece[..piece.len().min(count - bytes.len())]);
        }
        let socket = &mut self.wires[place].socket;
        socket.told_writable = !(short && count < offered);
        if !socket.told_writable {
            socket.write_armed = true;
        }
        self.note(place, What::Write, count as u64);
        self.trace.bytes(&bytes);
        self.moved.1 += count as u64;
        if self.wires[place].kind == Kind::Pipe {
            let now = self.now;
            self.wires[place].down.send(now, bytes);
            self.wires[place].down.arrive(now);
            self.wake_end(place);
        } else if count > 0 {
            self.wires[place].client.written_to = Some(self.now);
            self.send_down(place, bytes);
        }
        Ok(count)
    }

    pub(super) fn is_hung_up(&mut self, place: usize) -> io::Result<bool> {
        self.call()?;
        if self.wires[place].socket.broken { Err(Errno::CONNRESET.into()) } else { Ok(false) }
    }

    pub(super) fn shutdown(&mut self, place: usize) -> io::Result<()> {
        self.call()?;
        self.note(place, What::Shutdown, 0);
        let wire = &self.wires[place];
        if wire.kind == Kind::Pipe {
            return Err(Errno::NOTSOCK.into());
        }
        if wire.socket.broken {
            return Err(Errno::NOTCONN.into());
        }
        if !wire.socket.fin_sent {
            self.send_fin_down(place);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, place: usize, how: Closing) {
        // A close is never interrupted: the descriptor is gone in any case.
        let _ = self.call();
        self.open -= 1;
        let socket = &mut self.wires[place].socket;
        socket.open = false;
        // A connection that was refused was never registered.
        self.has_closed |= socket.token.is_some();
        if self.wires[place].kind == Kind::Pipe {
            self.close_pipe(place);
        } else {
            self.let_go(place, how);
        }
    }

    /// Closes the server's side of a connection.
    fn let_go(&mut self, place: usize, how: Closing) {
        let wire = &mut self.wires[place];
        let unread = wire.up.unread() > 0;
        let is_tcp = wire.kind == Kind::Tcp;
        let resets = (is_tcp && how == Closing::Reset) || unread;
        let was_broken = wire.socket.broken;
        self.note(place, if resets { What::CloseWithReset } else { What::Close }, u64::from(unread));
        let wire = &mut self.wires[place];
        wire.up.lose_unread();
        if was_broken {
            return;
        }
        if resets {
            self.send_reset(place, Way::Down);
        } else if !wire.socket.fin_sent {
            self.send_fin_down(place);
        }
    }
}
