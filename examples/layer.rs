//! Teaches: a layer of one's own between the socket and the handler. This one
//! carries every byte as two hexadecimal digits, so that `nc` can speak it.
//!
//! ```text
//! $ cargo run --example layer -- 127.0.0.1:7010 &
//! $ printf 'HEX\n68656c6c6f.' | nc -N 127.0.0.1 7010
//! HEX
//! 48454c4c4f.
//! ```

use std::collections::VecDeque;
use std::io;

use serve_forever::services::Upper;
use serve_forever::{Config, Endpoint, Layer, LayerFactory, ListenOptions, Reactor};

/// The handshake of each side.
const HELLO: &[u8] = b"HEX\n";

/// The plaintext that waits before the layer takes no more from the wire.
const HELD: usize = 4096;

/// Hexadecimal digits on the wire, behind a line that says so; a full stop is the
/// end.
#[derive(Default)]
struct Hex {
    /// The number of bytes of the peer's hello that have come.
    greeted: usize,
    /// The first digit of a byte that is not complete.
    half: Option<u8>,
    plain: VecDeque<u8>,
    wire: Vec<u8>,
    has_ended: bool,
}

impl Layer for Hex {
    fn name(&self) -> &'static str {
        "Hex"
    }

    fn receive(&mut self, wire: &[u8]) -> io::Result<usize> {
        for (taken, byte) in wire.iter().enumerate() {
            if self.plain.len() == HELD {
                return Ok(taken); // the rest comes again when this has been read
            }
            if self.greeted < HELLO.len() {
                if *byte != HELLO[self.greeted] {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "expected a line that says HEX"));
                }
                self.greeted += 1;
                if self.is_ready() {
                    self.wire.extend(HELLO);
                }
                continue;
            }
            match (char::from(*byte), self.half) {
                ('.', None) => self.has_ended = true,
                ('\n', None) => {}
                (digit, half) => {
                    let Some(value) = digit.to_digit(16).and_then(|value| u8::try_from(value).ok()) else {
                        let text = format!("expected a hexadecimal digit and not {digit:?}");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                    };
                    match half {
                        None => self.half = Some(value),
                        Some(high) => {
                            self.half = None;
                            self.plain.push_back(high << 4 | value);
                        }
                    }
                }
            }
        }
        Ok(wire.len())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.plain, into)
    }

    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.wire.extend(plain.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
        Ok(plain.len())
    }

    fn take_wire(&mut self, into: &mut dyn io::Write) -> io::Result<()> {
        into.write_all(&std::mem::take(&mut self.wire))
    }

    fn is_ready(&self) -> bool {
        self.greeted == HELLO.len()
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn finish(&mut self) {
        self.wire.extend(b".\n");
    }
}

fn main() -> Result<(), serve_forever::Error> {
    let at: Endpoint = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:7010").parse()?;
    let mut reactor = Reactor::new(Config::default())?;
    let upper = reactor.add(Upper::new(), Upper::limits())?;
    // Every connection gets a layer of its own.
    let layer = LayerFactory::new(|| Ok(Box::new(Hex::default())));
    let options = ListenOptions { layer: Some(layer), ..ListenOptions::default() };
    let listener = reactor.listen_with(&upper, &at, &options)?;
    println!("listening on {}", reactor.local(listener).expect("it was just made"));
    reactor.serve_forever()
}
