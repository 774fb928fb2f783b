//! An echo client with one message at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use hdrhistogram::Histogram;

const MESSAGE: [u8; 64] = [b'x'; 64];

/// See the module.
pub(crate) struct Echo(TcpStream);

impl Echo {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).expect("the server listens");
        socket.set_nodelay(true).expect("an option of TCP");
        Self(socket)
    }

    /// One round trip.
    pub(crate) fn measure(&mut self, trips: &mut Histogram<u64>) {
        let mut reply = [0; MESSAGE.len()];
        let began = Instant::now();
        self.0.write_all(&MESSAGE).expect("the server reads");
        self.0.read_exact(&mut reply).expect("the server answers");
        let nanos = u64::try_from(began.elapsed().as_nanos()).expect("it is less than centuries");
        trips.record(nanos).expect("the histogram grows");
        assert_eq!(reply, MESSAGE);
    }
}
