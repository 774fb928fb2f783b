//! `Layer`: a protocol between the socket of a connection and its handler, such
//! as TLS; and `LayerFactory`, which makes one for each connection of a listener.

use std::any::Any;
use std::sync::Arc;
use std::{fmt, io};

use crate::contain::{caught, discard, message};

/// A protocol that stands between the socket of a connection and its handler: it
/// turns what comes over the wire into plaintext for the handler, and what the
/// handler writes into bytes for the wire. TLS is one, as the feature `tls` has it.
///
/// A layer does no I/O. The loop reads from the socket and writes to it, and calls
/// the layer between callbacks, never inside one. [`ListenOptions::layer`] gives one
/// to each accepted connection, [`ConnectOptions::layer`] to an outbound one, and
/// [`Io::start_layer`] to a connection that is already open.
///
/// # Handshake
///
/// A layer begins with a handshake: until [`is_ready`](Self::is_ready) is true it
/// has no plaintext to give and takes none. The loop calls `open` only then. The
/// handshake of an accepted connection has [`Limits::handshake`] to complete; that
/// of an outbound one counts under [`Limits::connect`].
///
/// # End
///
/// A layer has an end of its own in each direction, so that a cut connection is no
/// ordinary end. The loop has it [finish](Self::finish) before our FIN. The peer's
/// end ([`has_ended`](Self::has_ended)) is what a handler sees as `eof`. A FIN
/// without it is an error, and the connection ends with [`CloseReason::Io`].
///
/// # Errors and panics
///
/// An error of a layer ends its connection with [`CloseReason::Io`], after the
/// plaintext that came before it. What the layer has for the wire then, such as an
/// alert, is offered to the socket once. The loop contains a panic of a layer, and
/// treats it as an error.
///
/// [`ListenOptions::layer`]: crate::ListenOptions::layer
/// [`ConnectOptions::layer`]: crate::ConnectOptions::layer
/// [`Io::start_layer`]: crate::Io::start_layer
/// [`Limits::handshake`]: crate::Limits::handshake
/// [`Limits::connect`]: crate::Limits::connect
/// [`CloseReason::Io`]: crate::CloseReason::Io
pub trait Layer: Any {
    /// The name of the protocol, for logs: `"TLS"`.
    fn name(&self) -> &'static str;

    /// Takes the next bytes from the wire, and returns how many it has taken. It
    /// takes fewer than all of them only while plaintext waits to be
    /// [read](Self::read): the loop offers the rest again after that.
    ///
    /// # Errors
    ///
    /// The peer has broken the protocol, or is refused. The error's text reaches
    /// the log and the handler.
    fn receive(&mut self, wire: &[u8]) -> io::Result<usize>;

    /// Copies plaintext that has been received into `into`, and returns the number
    /// of bytes; 0 if there is none.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes plaintext to be sent, and returns how many bytes it has taken: at
    /// least one. The loop calls this only when the layer is ready, has not
    /// [finished](Self::finish), and has handed out everything for the wire.
    ///
    /// # Errors
    ///
    /// The plaintext cannot be sent.
    fn write(&mut self, plain: &[u8]) -> io::Result<usize>;

    /// Writes all bytes that are to be sent over the wire into `into`, which takes
    /// every one and does not fail. What the socket has room for leaves at once,
    /// without being copied, so one
    /// [`write_vectored`](io::Write::write_vectored) costs less than many writes. The
    /// loop calls this after every `receive`, `write` and `finish`, and once at the
    /// beginning.
    ///
    /// # Errors
    ///
    /// Those of `into`, which a layer hands on.
    fn take_wire(&mut self, into: &mut dyn io::Write) -> io::Result<()>;

    /// True once the handshake is complete. It stays true.
    fn is_ready(&self) -> bool;

    /// True once the peer has ended its direction in the layer's own way. All of
    /// its plaintext may be read before or afterwards.
    fn has_ended(&self) -> bool;

    /// Ends our direction in the layer's own way, behind all plaintext written.
    /// The loop calls this once, perhaps before the layer is ready.
    fn finish(&mut self);
}

/// The maker of layers for the connections that a listener accepts.
///
/// ```
/// use serve_forever::{ListenOptions, LayerFactory};
/// # use serve_forever::Layer;
///
/// fn behind(new_layer: fn() -> Box<dyn Layer>) -> ListenOptions {
///     let layer = LayerFactory::new(move || Ok(new_layer()));
///     ListenOptions { layer: Some(layer), ..ListenOptions::default() }
/// }
/// ```
#[derive(Clone)]
pub struct LayerFactory(Arc<dyn Fn() -> io::Result<Box<dyn Layer>> + Send + Sync>);

impl LayerFactory {
    /// A factory that calls `make` for each accepted connection, after
    /// [`verify`](crate::StreamHandler::verify) has let it in. An error closes the
    /// connection, and is logged; so is a panic.
    pub fn new(make: impl Fn() -> io::Result<Box<dyn Layer>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// Makes a layer.
    pub(crate) fn make(&self) -> io::Result<ContainedLayer> {
        caught(|| (self.0)())
            .unwrap_or_else(|payload| Err(panicked(message(payload))))
            .map(ContainedLayer::new)
    }
}

impl fmt::Debug for LayerFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerFactory")
    }
}

impl PartialEq for LayerFactory {
    /// True for clones of one factory.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LayerFactory {}

/// A layer whose panics are errors.
pub(crate) struct ContainedLayer(Option<Box<dyn Layer>>);

impl ContainedLayer {
    pub(crate) fn new(layer: Box<dyn Layer>) -> Self {
        Self(Some(layer))
    }

    pub(crate) fn name(&mut self) -> &'static str {
        self.run(|layer| Ok(layer.name())).unwrap_or("a layer that panicked")
    }

    pub(crate) fn receive(&mut self, wire: &[u8]) -> io::Result<usize> {
        let taken = self.run(|layer| layer.receive(wire))?;
        if taken > wire.len() { Err(broken("took more than it was given")) } else { Ok(taken) }
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.run(|layer| layer.read(into))?;
        if count > into.len() { Err(broken("gave more than there is room for")) } else { Ok(count) }
    }

    pub(crate) fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        match self.run(|layer| layer.write(plain))? {
            0 => Err(broken("took none of the plaintext, though it is ready")),
            taken if taken > plain.len() => Err(broken("took more than it was given")),
            taken => Ok(taken),
        }
    }

    pub(crate) fn take_wire(&mut self, into: &mut dyn io::Write) -> io::Result<()> {
        self.run(|layer| layer.take_wire(into))
    }

    /// False of one that has panicked.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.run(|layer| Ok(layer.is_ready())).unwrap_or(false)
    }

    /// False of one that has panicked.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.run(|layer| Ok(layer.has_ended())).unwrap_or(false)
    }

    pub(crate) fn finish(&mut self) {
        // Of a layer that has panicked nothing follows.
        let _ = self.run(|layer| {
            layer.finish();
            Ok(())
        });
    }

    /// Runs a method of the layer. A layer that has panicked is not called again.
    fn run<R>(&mut self, method: impl FnOnce(&mut dyn Layer) -> io::Result<R>) -> io::Result<R> {
        let Some(layer) = &mut self.0 else { return Err(panicked("before".into())) };
        caught(|| method(&mut **layer)).unwrap_or_else(|payload| {
            discard("a layer", self.0.take());
            Err(panicked(message(payload)))
        })
    }

    /// The layer itself, to look at.
    pub(crate) fn get(&self) -> Option<&dyn Layer> {
        self.0.as_deref()
    }
}

impl Drop for ContainedLayer {
    fn drop(&mut self) {
        discard("a layer", self.0.take());
    }
}

impl fmt::Debug for ContainedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContainedLayer")
    }
}

#[cold]
fn broken(how: &str) -> io::Error {
    io::Error::other(format!("the layer breaks its contract: it {how}"))
}

#[cold]
fn panicked(said: String) -> io::Error {
    io::Error::other(format!("the layer panicked: {said}"))
}
