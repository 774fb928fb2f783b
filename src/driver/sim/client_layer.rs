//! `ClientLayer`: the layer at the other end of a simulated connection, so that a
//! script in plaintext plays against a server with TLS or the like.

use std::fmt;

use crate::layer::{ContainedLayer, LayerFactory};

/// Room for the plaintext of one step.
const STEP: usize = 4096;

/// The layer of a simulated client.
pub(super) struct ClientLayer {
    layer: ContainedLayer,
    /// All bytes that it has had for the wire.
    pub(super) wire: Vec<u8>,
    /// How many bytes of what the script has sent it has taken.
    taken: usize,
    is_finished: bool,
    pub(super) is_ready: bool,
    pub(super) has_ended: bool,
    pub(super) error: Option<String>,
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer").field("error", &self.error).finish_non_exhaustive()
    }
}

impl ClientLayer {
    /// A layer behind what the script has sent already.
    pub(super) fn new(factory: &LayerFactory, sent: &[u8]) -> Self {
        let layer = factory.make().expect("the test makes a layer that works");
        Self {
            layer,
            wire: sent.to_vec(),
            taken: sent.len(),
            is_finished: false,
            is_ready: false,
            has_ended: false,
            error: None,
        }
    }

    /// Gives the layer what the script has sent, and then its end if `finishes`.
    pub(super) fn send(&mut self, sent: &[u8], finishes: bool) {
        while self.error.is_none() && self.taken < sent.len() && self.is_ready {
            match self.layer.write(&sent[self.taken..]) {
                Ok(count) => self.taken += count,
                Err(error) => self.error = Some(error.to_string()),
            }
            self.collect();
        }
        if finishes && self.taken == sent.len() && self.is_ready && !self.is_finished {
            self.is_finished = true;
            self.layer.finish();
        }
        self.collect();
    }

    /// Gives the layer what has come from the server, and appends the plaintext.
    pub(super) fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) {
        while self.error.is_none() && !bytes.is_empty() {
            match self.layer.receive(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) => self.error = Some(error.to_string()),
            }
            self.collect();
            let mut buffer = [0; STEP];
            while let Ok(count @ 1..) = self.layer.read(&mut buffer) {
                plain.extend_from_slice(&buffer[..count]);
            }
        }
    }

    /// Has nothing more to say, not even its end.
    pub(super) const fn cut_off(&mut self) {
        self.is_finished = true;
    }

    /// True when nothing more will come of it after the client has finished.
    pub(super) const fn is_done(&self) -> bool {
        self.is_finished || self.error.is_some()
    }

    fn collect(&mut self) {
        if let Err(error) = self.layer.take_wire(&mut self.wire) {
            self.error = Some(error.to_string());
        }
        self.is_ready = self.layer.is_ready();
        self.has_ended = self.layer.has_ended();
    }
}
