//! The least an echo can do on mio: one read, one write, nothing kept. No
//! limits, no deadlines, no back-pressure; a reply that does not fit into the
//! socket's buffer is a panic.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);

pub(crate) struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, TcpStream>,
    stop: Arc<Waker>,
}

impl Server {
    pub(crate) fn bind() -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let stop = Arc::new(Waker::new(poll.registry(), STOP)?);
        Ok(Self { poll, listener, connections: HashMap::new(), stop })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Waking it ends [`run`](Self::run).
    pub(crate) fn stopper(&self) -> Arc<Waker> {
        Arc::clone(&self.stop)
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 << 10];
        let mut next = 0;
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    STOP => return Ok(()),
                    LISTENER => self.accept(&mut next)?,
                    token => self.echo(token, &mut buffer)?,
                }
            }
        }
    }

    fn accept(&mut self, next: &mut usize) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    let token = Token(*next);
                    *next += 1;
                    self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    self.connections.insert(token, stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn echo(&mut self, token: Token, buffer: &mut [u8]) -> io::Result<()> {
        let Some(stream) = self.connections.get_mut(&token) else { return Ok(()) };
        match stream.read(buffer) {
            Ok(0) => drop(self.connections.remove(&token)),
            Ok(count) => assert_eq!(stream.write(&buffer[..count])?, count, "a reply fits"),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
