//! `Layers`: the layers of all connections that have one, with the bytes that
//! wait on either side of each.

use std::{fmt, io};

use crate::id::Key;
use crate::layer::{ContainedLayer, Layer};
use crate::origin::Origin;
use crate::slots::Slots;

/// A connection may keep this many times [`Config::layer_buffer`] of a layer's
/// bytes that its socket does not take. One flush makes little more than one time
/// as many; more comes of a peer that provokes replies and does not read them.
///
/// [`Config::layer_buffer`]: crate::Config::layer_buffer
const MOST_WIRE: usize = 4;

/// The layer of one connection.
///
/// Output goes through three stages. First `clear` bytes at the front of the
/// connection's queue leave as they are. Then `wire` leaves: what the layer has made
/// of the next `sealed` bytes of the queue, or has to say of its own. Only then is
/// the layer given more of the queue. So plaintext stays in the queue until its
/// ciphertext has left, and all marks and deadlines of the connection hold for it.
/// What a callback writes while nothing waits is sealed before it is queued, and
/// queued only if a part of its ciphertext has to wait.
pub(crate) struct Layered {
    pub(crate) layer: ContainedLayer,
    pub(crate) wire: Waiting,
    /// Bytes from the socket that the layer has not taken.
    pub(crate) unread: Waiting,
    /// The number of bytes at the front of the queue whose ciphertext is in `wire`.
    pub(crate) sealed: usize,
    /// The number of bytes at the front of the queue that were written before the
    /// layer began.
    pub(crate) clear: usize,
    /// The layer has said that it holds no plaintext, and was given nothing since.
    pub(crate) is_drained: bool,
    /// The peer has ended its direction in the layer's way.
    pub(crate) has_ended: bool,
    /// An error to be reported behind the plaintext that came before it.
    pub(crate) failed: Option<io::Error>,
    is_finished: bool,
    /// It is one of [`Layers::under_way`].
    is_counted: bool,
    /// The origin of the connection, once that is known.
    pub(crate) origin: Option<Box<Origin>>,
}

impl Layered {
    /// The layer of a connection with `clear` bytes of output before it.
    pub(crate) const fn new(layer: ContainedLayer, clear: usize) -> Self {
        Self {
            layer,
            wire: Waiting::NONE,
            unread: Waiting::NONE,
            sealed: 0,
            clear,
            is_drained: false,
            has_ended: false,
            failed: None,
            is_finished: false,
            is_counted: false,
            origin: None,
        }
    }

    /// Ends our direction, if that was not done yet. True if it was not.
    pub(crate) fn finish(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.is_finished, true);
        if is_first {
            self.layer.finish();
        }
        is_first
    }
}

impl fmt::Debug for Layered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = (self.wire.len(), self.unread.len());
        f.debug_struct("Layered").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// Bytes that wait to be taken from the front.
pub(crate) struct Waiting {
    bytes: Vec<u8>,
    taken: usize,
}

impl Waiting {
    const NONE: Self = Self { bytes: Vec::new(), taken: 0 };

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes `count` bytes off; an empty one owns no buffer.
    pub(crate) fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            *self = Self::NONE;
        }
    }
}

/// The buffers that all layers of a reactor share.
pub(crate) struct Scratch {
    /// Where reads from the socket of a layered connection go.
    pub(crate) inward: Vec<u8>,
    /// What a layer has for the socket and the socket has not taken.
    pub(crate) outward: Vec<u8>,
    /// [`Config::layer_buffer`](crate::Config::layer_buffer).
    size: usize,
}

impl Scratch {
    /// The plaintext that a layer is given in one flush, at most.
    pub(crate) const fn share(&self) -> usize {
        self.size
    }

    /// The bytes that one connection may keep for its socket, at most.
    pub(crate) const fn most_wire(&self) -> usize {
        self.size.saturating_mul(MOST_WIRE)
    }
}

/// The layers of a reactor, beside the table of connections.
pub(crate) struct Layers {
    slots: Slots<Box<Layered>>,
    scratch: Scratch,
    /// The accepted connections whose handshake is not complete.
    pub(crate) under_way: usize,
    /// The turn in which a step of a handshake was last taken, and how many were.
    steps: (u64, usize),
}

impl Layers {
    pub(crate) const fn new(size: usize) -> Self {
        let scratch = Scratch { inward: Vec::new(), outward: Vec::new(), size };
        Self { slots: Slots::new(), scratch, under_way: 0, steps: (0, 0) }
    }

    pub(crate) fn insert(&mut self, key: Key, layered: Layered) {
        self.slots.insert(key, Box::new(layered));
        self.scratch.inward.resize(self.scratch.size, 0);
    }

    /// The same for a connection that was accepted: its handshake is under way until
    /// [`completed`](Self::completed) or [`remove`](Self::remove).
    pub(crate) fn insert_accepted(&mut self, key: Key, layer: ContainedLayer, origin: Origin) {
        let mut layered = Layered::new(layer, 0);
        layered.is_counted = true;
        layered.origin = Some(Box::new(origin));
        self.under_way += 1;
        self.insert(key, layered);
    }

    pub(crate) fn remove(&mut self, key: Key) {
        let layered = self.slots.take(key);
        self.under_way -= usize::from(layered.is_some_and(|layered| layered.is_counted));
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Layered> {
        self.slots.get(key).map(|layered| &**layered)
    }

    /// True once the socket of a connection with a layer is connected.
    pub(crate) fn is_begun(&self, key: Key) -> bool {
        self.get(key).is_some_and(|layered| layered.origin.is_some())
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Layered> {
        self.slots.get_mut(key).map(|layered| &mut **layered)
    }

    /// The layer in a slot, and the buffers to work with.
    pub(crate) fn parts(&mut self, key: Key) -> Option<(&mut Layered, &mut Scratch)> {
        Some((self.slots.get_mut(key)?, &mut self.scratch))
    }

    /// Notes that a handshake is complete.
    pub(crate) fn completed(&mut self, key: Key) {
        let Some(layered) = self.get_mut(key) else { return };
        if std::mem::take(&mut layered.is_counted) {
            self.under_way -= 1;
        }
    }

    /// The layer of a connection, to look at.
    pub(crate) fn look(&self, key: Key) -> Option<&dyn Layer> {
        self.get(key)?.layer.get()
    }

    /// True while a turn has steps of handshakes left, of `most`.
    pub(crate) const fn has_steps(&self, turn: u64, most: usize) -> bool {
        self.steps.0 != turn || self.steps.1 < most
    }

    pub(crate) const fn count_step(&mut self, turn: u64) {
        let before = if self.steps.0 == turn { self.steps.1 } else { 0 };
        self.steps = (turn, before + 1);
    }

    /// The number of layers, for the checks of the simulation.
    #[cfg(feature = "sim")]
    pub(crate) fn len(&self) -> usize {
        self.slots.count()
    }

    /// The number of handshakes that are counted, for the same checks.
    #[cfg(feature = "sim")]
    pub(crate) fn counted(&self) -> usize {
        self.slots.iter().filter(|layered| layered.is_counted).count()
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}
