//! `Sockets`: the queues, flags and work lists of datagram sockets, which the
//! loop and the handlers share.

use std::collections::VecDeque;

use crate::close::Sent;
use crate::id::{Key, SocketId, Table};
use crate::limits::Limits;
use crate::origin::{Address, Peer};
use crate::work_list::{Pending, RareList, WorkList};

/// The value of `Sockets::current` while no socket's callback runs.
pub(crate) const NO_SOCKET: SocketId = SocketId(Key::NOWHERE);

/// The most bytes of datagram buffers kept for reuse, all together.
const KEEP: usize = 256 << 10;

/// A queued datagram.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: Peer,
    pub(crate) data: Vec<u8>,
}

/// The state of one socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) service: u16,
    /// True until a receive returns `WouldBlock`.
    pub(crate) readable: bool,
    /// True until a send returns `WouldBlock`.
    pub(crate) writable: bool,
    pub(crate) in_receive_list: bool,
    pub(crate) in_send_list: bool,
    pub(crate) in_drain_list: bool,
    /// The queue passed its high mark and has not fallen to its low mark.
    above_high: bool,
    waiting: VecDeque<Outgoing>,
    /// The sum of the lengths of `waiting`.
    bytes: usize,
    /// The last turn that sent, and how many datagrams it has sent.
    sent: (u64, usize),
    /// The write-stall timer; set while the system takes no datagram.
    pub(crate) stalled: Option<Key>,
}

impl Socket {
    pub(crate) fn new(service: u16) -> Self {
        Self {
            service,
            readable: false,
            writable: true,
            in_receive_list: false,
            in_send_list: false,
            in_drain_list: false,
            above_high: false,
            waiting: VecDeque::new(),
            bytes: 0,
            sent: (0, 0),
            stalled: None,
        }
    }

    pub(crate) fn first(&self) -> Option<&Outgoing> {
        self.waiting.front()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number of queued datagrams.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The bytes of the queued datagrams.
    #[cfg(feature = "sim")]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// True while the socket is on the list to send from.
    #[cfg(feature = "sim")]
    pub(crate) const fn sends_later(&self) -> bool {
        self.in_send_list
    }

    /// Counts one more datagram sent in this turn; false if the share is spent.
    pub(crate) fn may_send(&mut self, turn: u64, share: usize) -> bool {
        if self.sent.0 != turn {
            self.sent = (turn, 0);
        }
        self.sent.1 += 1;
        self.sent.1 <= share
    }

    /// The outcome of queueing one more datagram of `len` bytes.
    fn room_for(&mut self, len: usize, limits: &Limits) -> Sent {
        let (bytes, count) = (self.bytes + len, self.waiting.len() + 1);
        if bytes > limits.hard_mark || count > limits.max_datagrams {
            self.above_high = true;
            Sent::Dropped
        } else if bytes > limits.high_mark || count > limits.max_datagrams / 2 {
            self.above_high = true;
            Sent::Full
        } else {
            Sent::Queued
        }
    }

    fn is_low(&self, limits: &Limits) -> bool {
        self.bytes <= limits.low_mark && self.waiting.len() <= limits.max_datagrams / 4
    }
}

/// All datagram sockets of a reactor, and their work lists.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) table: Table<Socket>,
    /// The socket whose `datagram` callback runs.
    pub(crate) current: SocketId,
    pub(crate) to_receive: RareList<SocketId>,
    /// True while receiving is held by `handle_request`.
    pub(crate) held: bool,
    pub(crate) to_send: WorkList<SocketId>,
    pub(crate) to_drain: WorkList<SocketId>,
    /// Empty datagrams, kept for the reuse of their buffers.
    spare: Vec<Outgoing>,
    /// The capacity of the buffers of `spare`.
    room: usize,
}

impl Sockets {
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(),
            current: NO_SOCKET,
            to_receive: RareList::new(),
            held: false,
            to_send: WorkList::new(),
            to_drain: WorkList::new(),
            spare: Vec::new(),
            room: 0,
        }
    }

    /// True when a work list gives the next turn something to do.
    pub(crate) fn has_listed(&self) -> bool {
        !(self.to_send.is_empty() && self.to_drain.is_empty() && (self.held || self.to_receive.is_empty()))
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.table.get_mut(id.0)
    }

    /// Queues a datagram, and lists its socket to send from unless the socket's
    /// own callback runs.
    pub(crate) fn send_to(
        &mut self,
        on: SocketId,
        to: &Peer,
        data: &[u8],
        limits: &Limits,
        pending: &mut Pending,
    ) -> Sent {
        let Some(socket) = self.table.get_mut(on.0) else { return Sent::Gone };
        if matches!(to.address, Address::Unnamed | Address::Pipe) {
            return Sent::Gone;
        }
        let sent = socket.room_for(data.len(), limits);
        if sent == Sent::Dropped {
            return sent;
        }
        let outgoing = match self.spare.pop() {
            Some(mut outgoing) => {
                self.room -= outgoing.data.capacity();
                outgoing.to.assign(to);
                outgoing.data.extend_from_slice(data);
                outgoing
            }
            None => Outgoing { to: to.clone(), data: data.to_vec() },
        };
        socket.bytes += data.len();
        socket.waiting.push_back(outgoing);
        if on != self.current {
            self.to_send.push_once(on, &mut socket.in_send_list, pending);
        }
        sent
    }

    /// Takes the first datagram out of the queue.
    pub(crate) fn take_first(&mut self, id: SocketId) -> Option<Outgoing> {
        let socket = self.table.get_mut(id.0)?;
        let outgoing = socket.waiting.pop_front()?;
        socket.bytes -= outgoing.data.len();
        Some(outgoing)
    }

    /// Keeps the buffers of a datagram that has left.
    pub(crate) fn reuse(&mut self, mut outgoing: Outgoing) {
        let room = outgoing.data.capacity();
        if self.room + room <= KEEP && self.spare.len() < KEEP / size_of::<Outgoing>() {
            outgoing.data.clear();
            self.room += room;
            self.spare.push(outgoing);
        }
    }

    /// Lists a `drained` if the queue was above its high mark and has fallen to its
    /// low mark.
    pub(crate) fn check_low_mark(&mut self, id: SocketId, limits: &Limits, pending: &mut Pending) {
        let Some(socket) = self.table.get_mut(id.0) else { return };
        if socket.above_high && socket.is_low(limits) {
            socket.above_high = false;
            self.to_drain.push_once(id, &mut socket.in_drain_list, pending);
        }
    }

    /// Lists a socket to receive from, in the next turn.
    pub(crate) fn list_to_receive(&mut self, id: SocketId, pending: &mut Pending) {
        if let Some(socket) = self.table.get_mut(id.0) {
            self.to_receive.push_once(id, &mut socket.in_receive_list, pending);
        }
    }

    /// The same in phase 1: this turn receives.
    pub(crate) fn note_to_receive(&mut self, id: SocketId, pending: &mut Pending) {
        if let Some(socket) = self.table.get_mut(id.0) {
            self.to_receive.note_once(id, &mut socket.in_receive_list, pending);
        }
    }

    /// Lists a socket to send from.
    pub(crate) fn list_to_send(&mut self, id: SocketId, pending: &mut Pending) {
        if let Some(socket) = self.table.get_mut(id.0) {
            self.to_send.push_once(id, &mut socket.in_send_list, pending);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn limits() -> Limits {
        Limits { low_mark: 10, high_mark: 20, hard_mark: 30, max_datagrams: 8, ..Limits::default() }
    }

    fn sockets() -> (Sockets, SocketId, Peer) {
        let mut sockets = Sockets::new();
        let id = SocketId(sockets.table.insert(Socket::new(0)));
        (sockets, id, Peer::inet(SocketAddr::from(([127, 0, 0, 1], 7))))
    }

    fn send(sockets: &mut Sockets, id: SocketId, to: &Peer, data: &[u8]) -> Sent {
        sockets.send_to(id, to, data, &limits(), &mut Pending::new())
    }

    /// Whether it lists a `drained`.
    fn is_told_low(sockets: &mut Sockets, id: SocketId) -> bool {
        let mut pending = Pending::new();
        sockets.check_low_mark(id, &limits(), &mut pending);
        pending.is_listed()
    }

    fn take(sockets: &mut Sockets, id: SocketId) -> Option<Vec<u8>> {
        let outgoing = sockets.take_first(id)?;
        let data = outgoing.data.clone();
        sockets.reuse(outgoing);
        Some(data)
    }

    #[test]
    fn the_queue_is_bounded_by_bytes_and_says_when_it_is_low_once() {
        let (mut sockets, id, peer) = sockets();
        let mut send_some = |len| send(&mut sockets, id, &peer, &vec![b'x'; len]);
        let answers = [20, 1, 10, 9, 1].map(&mut send_some);
        assert_eq!(answers, [Sent::Queued, Sent::Full, Sent::Dropped, Sent::Full, Sent::Dropped]);
        assert!(!is_told_low(&mut sockets, id), "30 bytes wait");
        assert_eq!(take(&mut sockets, id).map(|data| data.len()), Some(20));
        assert!(is_told_low(&mut sockets, id));
        assert!(!is_told_low(&mut sockets, id), "it was told");
        assert_eq!(sockets.to_drain.iter().collect::<Vec<_>>(), [id]);
    }

    #[test]
    fn empty_datagrams_are_bounded_by_their_number() {
        let (mut sockets, id, peer) = sockets();
        let answers: Vec<_> = (0..9).map(|_| send(&mut sockets, id, &peer, b"")).collect();
        assert_eq!(answers[..4], [Sent::Queued; 4]);
        assert_eq!(answers[4..8], [Sent::Full; 4]);
        assert_eq!(answers[8], Sent::Dropped);
        for left in (0..8).rev() {
            assert_eq!(take(&mut sockets, id), Some(Vec::new()));
            assert_eq!(is_told_low(&mut sockets, id), left == 2);
        }
        assert_eq!(take(&mut sockets, id), None);
    }

    #[test]
    fn a_buffer_is_used_again_and_holds_nothing_of_what_it_held() {
        let (mut sockets, id, peer) = sockets();
        let other = Peer::unix(Some("/run/other".into()), None);
        let _ = send(&mut sockets, id, &peer, b"first datagram");
        let outgoing = sockets.take_first(id).expect("it waits");
        let buffer = outgoing.data.as_ptr();
        sockets.reuse(outgoing);
        let _ = send(&mut sockets, id, &other, b"2");
        let outgoing = sockets.take_first(id).expect("it waits");
        assert_eq!((&outgoing.data[..], outgoing.data.as_ptr(), &outgoing.to), (&b"2"[..], buffer, &other));
    }

    #[test]
    fn who_has_no_name_and_what_is_no_socket_take_nothing() {
        let (mut sockets, id, peer) = sockets();
        assert_eq!(send(&mut sockets, id, &Peer::unix(None, None), b"x"), Sent::Gone);
        assert_eq!(send(&mut sockets, NO_SOCKET, &peer, b"x"), Sent::Gone);
        assert!(!sockets.has_listed());
        assert_eq!(send(&mut sockets, id, &peer, b"x"), Sent::Queued);
        assert_eq!(sockets.to_send.iter().collect::<Vec<_>>(), [id]);
    }
}
