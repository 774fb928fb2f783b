//! Datagram sockets in the core: notes their events, queues datagrams, and
//! times write stalls.

use super::{Alarm, Core, Purpose};
use crate::close::Sent;
use crate::id::SocketId;
use crate::moment::Moment;
use crate::origin::Peer;

impl Core {
    /// Notes an event of a socket.
    pub(crate) fn note_socket(&mut self, id: SocketId, readable: bool, writable: bool) {
        let Some(socket) = self.datagrams.get_mut(id) else {
            self.stats.stale_events += 1;
            return;
        };
        socket.readable |= readable;
        socket.writable |= writable;
        if writable && socket.has_waiting() {
            self.datagrams.list_to_send(id, &mut self.pending);
        }
        if readable {
            self.datagrams.note_to_receive(id, &mut self.pending);
        }
    }

    /// Queues a datagram. It leaves after the callback if that is the socket's
    /// own `datagram`, else at the end of the turn.
    pub(crate) fn send_to(&mut self, on: SocketId, to: &Peer, data: &[u8]) -> Sent {
        let Some(socket) = self.datagrams.table.get(on.0) else { return Sent::Gone };
        let limits = &self.services[socket.service as usize].limits;
        let sent = self.datagrams.send_to(on, to, data, limits, &mut self.pending);
        if sent == Sent::Dropped {
            self.stats.dropped += 1;
        }
        sent
    }

    /// Updates a socket after datagrams have left its queue: stops the
    /// write-stall timer of an empty queue, and lists a `drained` at the low
    /// mark.
    pub(crate) fn after_sending(&mut self, id: SocketId) {
        let Some(socket) = self.datagrams.table.get_mut(id.0) else { return };
        let limits = &self.services[socket.service as usize].limits;
        if !socket.has_waiting()
            && let Some(timer) = socket.stalled.take()
        {
            self.timers.remove(timer);
        }
        self.datagrams.check_low_mark(id, limits, &mut self.pending);
    }

    /// Restarts the write-stall timer: the system took a datagram.
    pub(crate) fn took_one(&mut self, id: SocketId) {
        let Some(socket) = self.datagrams.table.get(id.0) else { return };
        let limits = &self.services[socket.service as usize].limits;
        if let (Some(timer), Some(patience)) = (socket.stalled, limits.write_stall) {
            self.timers.reschedule(timer, self.moment.plus(patience));
        }
    }

    /// Starts the write-stall timer, unless it runs: the system takes no
    /// datagram.
    pub(crate) fn watch_stall(&mut self, id: SocketId) {
        let Some(socket) = self.datagrams.table.get_mut(id.0) else { return };
        let limits = &self.services[socket.service as usize].limits;
        if let (None, Some(patience)) = (socket.stalled, limits.write_stall) {
            let at: Moment = self.moment.plus(patience);
            let alarm = Alarm::once(Purpose::Stalled(id));
            socket.stalled = Some(self.timers.insert(at, alarm));
        }
    }
}
