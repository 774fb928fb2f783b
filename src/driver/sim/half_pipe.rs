//! `HalfPipe`: one direction of a simulated connection, with bytes in flight
//! and bytes that have arrived.

use std::collections::VecDeque;

#[derive(Debug)]
enum Item {
    Bytes(Vec<u8>),
    Fin,
}

/// The items that have arrived since the last time.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    pub(super) bytes: usize,
    pub(super) fin: bool,
}

/// Invariant: `held` counts the bytes of `flight` and of `arrived`, and is no
/// greater than `capacity`; what is in flight arrives in order.
#[derive(Debug)]
pub(super) struct HalfPipe {
    capacity: usize,
    held: usize,
    flight: VecDeque<(u64, Item)>,
    arrived: VecDeque<u8>,
    /// The FIN has arrived, behind all of `arrived`.
    fin: bool,
    /// The arrival of the last item.
    last: u64,
}

impl HalfPipe {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { capacity, held: 0, flight: VecDeque::new(), arrived: VecDeque::new(), fin: false, last: 0 }
    }

    pub(super) const fn room(&self) -> usize {
        self.capacity - self.held
    }

    /// True if the room is enough to report it to a waiting writer (a third, as
    /// on Linux).
    pub(super) const fn is_roomy(&self) -> bool {
        self.room() > 0 && self.room() >= self.capacity / 3
    }

    pub(super) fn unread(&self) -> usize {
        self.arrived.len()
    }

    /// The FIN has arrived.
    pub(super) const fn fin(&self) -> bool {
        self.fin
    }

    /// True when everything was read and the FIN is next.
    pub(super) fn at_end(&self) -> bool {
        self.fin && self.arrived.is_empty()
    }

    /// The arrival of a new item: not before `wished`, and not before items
    /// sent earlier.
    pub(super) fn arrival(&mut self, wished: u64) -> u64 {
        self.last = self.last.max(wished);
        self.last
    }

    pub(super) fn send(&mut self, at: u64, bytes: Vec<u8>) {
        debug_assert!(bytes.len() <= self.room(), "there is room for what is sent");
        self.held += bytes.len();
        self.flight.push_back((at, Item::Bytes(bytes)));
    }

    pub(super) fn send_fin(&mut self, at: u64) {
        self.flight.push_back((at, Item::Fin));
    }

    /// Moves arrived items out of flight; returns what they held.
    pub(super) fn arrive(&mut self, now: u64) -> Arrival {
        let mut arrival = Arrival::default();
        while self.flight.front().is_some_and(|(at, _)| *at <= now) {
            match self.flight.pop_front() {
                Some((_, Item::Bytes(bytes))) => {
                    arrival.bytes += bytes.len();
                    self.arrived.extend(bytes);
                }
                Some((_, Item::Fin)) => arrival.fin = true,
                None => {}
            }
        }
        self.fin |= arrival.fin;
        arrival
    }

    /// Fills `into`, which must not be longer than what has arrived.
    pub(super) fn take(&mut self, into: &mut [u8]) {
        let (front, back) = self.arrived.as_slices();
        let split = front.len().min(into.len());
        into[..split].copy_from_slice(&front[..split]);
        let rest = into.len() - split;
        into[split..].copy_from_slice(&back[..rest]);
        self.discard(into.len());
    }

    /// Appends `count` bytes, at most what has arrived, to `into`.
    pub(super) fn take_onto(&mut self, into: &mut Vec<u8>, count: usize) {
        into.extend(self.arrived.iter().take(count));
        self.discard(count);
    }

    fn discard(&mut self, count: usize) {
        self.arrived.drain(..count);
        self.held -= count;
    }

    /// The bytes in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.held - self.arrived.len()
    }

    /// Loses everything in flight except its first `keep` bytes.
    pub(super) fn lose_flight(&mut self, mut keep: usize) {
        let mut kept = VecDeque::new();
        let mut lost = 0;
        for (at, item) in self.flight.drain(..) {
            let Item::Bytes(mut bytes) = item else { continue };
            lost += bytes.len().saturating_sub(keep);
            bytes.truncate(keep);
            keep -= bytes.len();
            if !bytes.is_empty() {
                kept.push_back((at, Item::Bytes(bytes)));
            }
        }
        self.flight = kept;
        self.held -= lost;
    }

    /// Loses what has arrived and is unread.
    pub(super) fn lose_unread(&mut self) {
        self.discard(self.arrived.len());
    }
}
