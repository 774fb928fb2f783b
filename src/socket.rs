//! The state of the datagram sockets, as the loop and the handlers share it.

use std::collections::VecDeque;

use crate::close::Sent;
use crate::id::{Key, SocketId, Table};
use crate::limits::Limits;
use crate::origin::{Address, Peer};

/// No socket: whose callback runs when it is none's.
pub(crate) const NO_SOCKET: SocketId = SocketId(Key::NOWHERE);

/// Buffers of datagrams kept for reuse, in bytes of all together.
const KEEP: usize = 256 << 10;

/// A datagram that waits to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: Peer,
    pub(crate) data: Vec<u8>,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) service: u16,
    /// There may be a datagram: no receive has said otherwise since.
    pub(crate) readable: bool,
    /// There may be room: no send has said otherwise since.
    pub(crate) writable: bool,
    in_receive_list: bool,
    in_send_list: bool,
    in_drain_list: bool,
    /// The queue passed its high mark and has not fallen to its low mark.
    above_high: bool,
    waiting: VecDeque<Outgoing>,
    /// The bytes of those that wait.
    bytes: usize,
    /// How many were sent in which turn.
    sent: (u64, usize),
    /// While the system takes none of them: the timer that ends it.
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

    /// How many wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The bytes of those that wait to be sent.
    #[cfg(feature = "sim")]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// It is on the list to send from.
    #[cfg(feature = "sim")]
    pub(crate) const fn sends_later(&self) -> bool {
        self.in_send_list
    }

    /// Counts one more that is sent in this turn; false if its share is spent.
    pub(crate) fn may_send(&mut self, turn: u64, share: usize) -> bool {
        if self.sent.0 != turn {
            self.sent = (turn, 0);
        }
        self.sent.1 += 1;
        self.sent.1 <= share
    }

    /// What becomes of one more datagram of `len` bytes.
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

/// All datagram sockets of a reactor, and the lists of what is to be done
/// about them.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) table: Table<Socket>,
    /// On whose account the callback runs.
    pub(crate) current: SocketId,
    pub(crate) to_receive: Vec<SocketId>,
    /// Nothing is received at the moment, whatever is ready.
    pub(crate) held: bool,
    pub(crate) to_send: Vec<SocketId>,
    pub(crate) to_drain: Vec<SocketId>,
    /// Outgoing datagrams without content, kept for their buffers.
    spare: Vec<Outgoing>,
    /// The bytes of those.
    room: usize,
}

impl Sockets {
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(),
            current: NO_SOCKET,
            to_receive: Vec::new(),
            held: false,
            to_send: Vec::new(),
            to_drain: Vec::new(),
            spare: Vec::new(),
            room: 0,
        }
    }

    /// True when something is on a list that the next turn works on.
    pub(crate) fn has_listed(&self) -> bool {
        !(self.to_send.is_empty() && self.to_drain.is_empty() && (self.held || self.to_receive.is_empty()))
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.table.get_mut(id.0)
    }

    /// Queues a datagram. True beside the answer if the socket came onto the
    /// list to send: it is not the one whose callback runs.
    pub(crate) fn send_to(&mut self, on: SocketId, to: &Peer, data: &[u8], limits: &Limits) -> (Sent, bool) {
        let Some(socket) = self.table.get_mut(on.0) else { return (Sent::Gone, false) };
        if matches!(to.address, Address::Unnamed | Address::Pipe) {
            return (Sent::Gone, false);
        }
        let sent = socket.room_for(data.len(), limits);
        if sent == Sent::Dropped {
            return (sent, false);
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
        (sent, on != self.current && self.send_later(on))
    }

    /// Takes the first that waits out of the queue.
    pub(crate) fn take_first(&mut self, id: SocketId) -> Option<Outgoing> {
        let socket = self.table.get_mut(id.0)?;
        let outgoing = socket.waiting.pop_front()?;
        socket.bytes -= outgoing.data.len();
        Some(outgoing)
    }

    /// Keeps the buffers of a outgoing that has left.
    pub(crate) fn reuse(&mut self, mut outgoing: Outgoing) {
        let room = outgoing.data.capacity();
        if self.room + room <= KEEP && self.spare.len() < KEEP / size_of::<Outgoing>() {
            outgoing.data.clear();
            self.room += room;
            self.spare.push(outgoing);
        }
    }

    /// Sees whether the queue has fallen to its low mark; true if that is
    /// owed to the handler.
    pub(crate) fn check_low_mark(&mut self, id: SocketId, limits: &Limits) -> bool {
        let Some(socket) = self.table.get_mut(id.0) else { return false };
        if !socket.above_high || !socket.is_low(limits) {
            return false;
        }
        socket.above_high = false;
        if !socket.in_drain_list {
            socket.in_drain_list = true;
            self.to_drain.push(id);
        }
        true
    }

    /// Puts a socket on the list to receive from; true if it is there now.
    pub(crate) fn receive_later(&mut self, id: SocketId) -> bool {
        let Some(socket) = self.table.get_mut(id.0) else { return false };
        if !socket.in_receive_list {
            socket.in_receive_list = true;
            self.to_receive.push(id);
        }
        true
    }

    /// Puts a socket on the list to send from; true if it is there now.
    pub(crate) fn send_later(&mut self, id: SocketId) -> bool {
        let Some(socket) = self.table.get_mut(id.0) else { return false };
        if !socket.in_send_list {
            socket.in_send_list = true;
            self.to_send.push(id);
        }
        true
    }

    /// The socket is off the list to receive from.
    pub(crate) fn receives_now(&mut self, id: SocketId) {
        if let Some(socket) = self.table.get_mut(id.0) {
            socket.in_receive_list = false;
        }
    }

    /// The socket is off the list to send from.
    pub(crate) fn sends_now(&mut self, id: SocketId) {
        if let Some(socket) = self.table.get_mut(id.0) {
            socket.in_send_list = false;
        }
    }

    /// The socket is off the list of those that wait for a `drained`.
    pub(crate) fn drained_now(&mut self, id: SocketId) {
        if let Some(socket) = self.table.get_mut(id.0) {
            socket.in_drain_list = false;
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

    fn take(sockets: &mut Sockets, id: SocketId) -> Option<Vec<u8>> {
        let outgoing = sockets.take_first(id)?;
        let data = outgoing.data.clone();
        sockets.reuse(outgoing);
        Some(data)
    }

    #[test]
    fn the_queue_is_bounded_by_bytes_and_says_when_it_is_low_once() {
        let (mut sockets, id, peer) = sockets();
        let mut send = |len| sockets.send_to(id, &peer, &vec![b'x'; len], &limits()).0;
        let answers = [send(20), send(1), send(10), send(9), send(1)];
        assert_eq!(answers, [Sent::Queued, Sent::Full, Sent::Dropped, Sent::Full, Sent::Dropped]);
        assert!(!sockets.check_low_mark(id, &limits()), "30 bytes wait");
        assert_eq!(take(&mut sockets, id).map(|data| data.len()), Some(20));
        assert!(sockets.check_low_mark(id, &limits()));
        assert!(!sockets.check_low_mark(id, &limits()), "it was told");
        assert_eq!(sockets.to_drain, [id]);
    }

    #[test]
    fn empty_datagrams_are_bounded_by_their_number() {
        let (mut sockets, id, peer) = sockets();
        let answers: Vec<_> = (0..9).map(|_| sockets.send_to(id, &peer, b"", &limits()).0).collect();
        assert_eq!(answers[..4], [Sent::Queued; 4]);
        assert_eq!(answers[4..8], [Sent::Full; 4]);
        assert_eq!(answers[8], Sent::Dropped);
        for left in (0..8).rev() {
            assert_eq!(take(&mut sockets, id), Some(Vec::new()));
            assert_eq!(sockets.check_low_mark(id, &limits()), left == 2);
        }
        assert_eq!(take(&mut sockets, id), None);
    }

    #[test]
    fn a_buffer_is_used_again_and_holds_nothing_of_what_it_held() {
        let (mut sockets, id, peer) = sockets();
        let other = Peer::unix(Some("/run/other".into()), None);
        let _ = sockets.send_to(id, &peer, b"first datagram", &limits());
        let outgoing = sockets.take_first(id).expect("it waits");
        let buffer = outgoing.data.as_ptr();
        sockets.reuse(outgoing);
        let _ = sockets.send_to(id, &other, b"2", &limits());
        let outgoing = sockets.take_first(id).expect("it waits");
        assert_eq!((&outgoing.data[..], outgoing.data.as_ptr(), &outgoing.to), (&b"2"[..], buffer, &other));
    }

    #[test]
    fn who_has_no_name_and_what_is_no_socket_take_nothing() {
        let (mut sockets, id, peer) = sockets();
        assert_eq!(sockets.send_to(id, &Peer::unix(None, None), b"x", &limits()), (Sent::Gone, false));
        assert_eq!(sockets.send_to(NO_SOCKET, &peer, b"x", &limits()), (Sent::Gone, false));
        assert!(!sockets.has_listed());
        assert_eq!(sockets.send_to(id, &peer, b"x", &limits()), (Sent::Queued, true));
        assert_eq!(sockets.to_send, [id]);
    }
}
