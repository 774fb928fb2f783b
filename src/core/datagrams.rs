//! What the core notes of datagram sockets.

use super::{Alarm, Core, Purpose};
use crate::close::Sent;
use crate::id::SocketId;
use crate::moment::Moment;
use crate::origin::Peer;

impl Core {
    /// Notes what an event says of a socket.
    pub(crate) fn note_socket(&mut self, id: SocketId, readable: bool, writable: bool) {
        let Some(socket) = self.datagrams.get_mut(id) else {
            self.stats.stale_events += 1;
            return;
        };
        socket.readable |= readable;
        socket.writable |= writable;
        if writable && socket.has_waiting() {
            self.send_later(id);
        }
        if readable {
            // For this very turn, which needs no list to be looked for.
            self.datagrams.receive_later(id);
        }
    }

    /// Queues a datagram: it leaves at the end of the callback if that is on
    /// the socket's own account, else at the end of the turn.
    pub(crate) fn send_to(&mut self, on: SocketId, to: &Peer, data: &[u8]) -> Sent {
        let Some(socket) = self.datagrams.table.get(on.0) else { return Sent::Gone };
        let limits = &self.services[socket.service as usize].limits;
        let (sent, listed) = self.datagrams.send_to(on, to, data, limits);
        self.listed |= listed;
        if sent == Sent::Dropped {
            self.stats.dropped += 1;
        }
        sent
    }

    /// Puts a socket on the list to receive from, for the next turn.
    pub(crate) fn receive_later(&mut self, id: SocketId) {
        self.listed |= self.datagrams.receive_later(id);
    }

    /// Puts a socket on the list to send from.
    pub(crate) fn send_later(&mut self, id: SocketId) {
        self.listed |= self.datagrams.send_later(id);
    }

    /// After datagrams have left a queue: whether the handler may go on, and
    /// whether the system still has to take some in time.
    pub(crate) fn after_sending(&mut self, id: SocketId) {
        let Some(socket) = self.datagrams.table.get_mut(id.0) else { return };
        let limits = &self.services[socket.service as usize].limits;
        if !socket.has_waiting()
            && let Some(timer) = socket.stalled.take()
        {
            self.timers.remove(timer);
        }
        self.listed |= self.datagrams.check_low_mark(id, limits);
    }

    /// The system took one more: those that wait have their time anew.
    pub(crate) fn took_one(&mut self, id: SocketId) {
        let Some(socket) = self.datagrams.table.get(id.0) else { return };
        let limits = &self.services[socket.service as usize].limits;
        if let (Some(timer), Some(patience)) = (socket.stalled, limits.write_stall) {
            self.timers.reschedule(timer, self.moment.plus(patience));
        }
    }

    /// The system takes none of what waits: that may last for so long.
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
