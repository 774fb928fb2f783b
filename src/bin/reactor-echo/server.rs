//! The embedded server: the library's reactor with its echo, on a thread of
//! its own, whose counters can be read while it runs.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serve_forever::services::Echo;
use serve_forever::{Config, Handle, Limits, Reactor};

use crate::endpoint::Endpoint;
use crate::load::thread_cpu_time;
use crate::pin::{self, Cpu};

/// How long to wait for a sample: the server is at rest when it is asked, so
/// only a server that hangs takes longer.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The resources that the server has used so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerSample {
    /// CPU time of its thread.
    pub(crate) cpu: Duration,
    /// System calls by name, always the same names in the same order.
    pub(crate) calls: Vec<(&'static str, u64)>,
}

impl ServerSample {
    /// The resources used between `earlier` and this.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let calls = self.calls.iter().map(|&(name, count)| {
            let before = earlier.calls.iter().find(|(other, _)| *other == name);
            (name, count - before.map_or(0, |(_, count)| *count))
        });
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), calls: calls.collect() }
    }
}

/// An echo server in this process.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// Where it listens.
    endpoint: Endpoint,
    /// The handle to it.
    handle: Handle<Echo>,
    /// The server's thread.
    thread: JoinHandle<serve_forever::Result<()>>,
}

impl Embedded {
    /// Starts it on a free port of the loopback, its thread on `cpu` where the
    /// system allows.
    pub(crate) fn start(cpu: Option<Cpu>) -> io::Result<Self> {
        let (ready, started) = mpsc::channel();
        let thread = thread::Builder::new().name("echo-server".to_owned()).spawn(move || {
            if let Some(cpu) = cpu {
                pin::current_thread(cpu, "server");
            }
            // Made here, as a reactor is bound to its thread.
            let (mut reactor, handle, address) = echo()?;
            // The program may have given up already.
            let _ = ready.send((handle, address));
            reactor.serve_forever()
        })?;
        let Ok((handle, address)) = started.recv() else {
            return Err(ended(thread).err().unwrap_or_else(|| io::Error::other("it ended at once")));
        };
        log::info!("the embedded server listens on {address}");
        let endpoint = address.to_string().parse().map_err(io::Error::other)?;
        Ok(Self { endpoint, handle, thread })
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The resources that it has used so far. A sample costs it a wake.
    ///
    /// # Errors
    ///
    /// It has stopped or does not answer.
    pub(crate) fn sample(&self) -> io::Result<ServerSample> {
        let (answer, sample) = mpsc::channel();
        let take = move |_: &mut Echo, io: &mut serve_forever::Io<'_>| {
            let calls = io.stats().system.by_name().to_vec();
            // The caller may have timed out.
            let _ = answer.send(ServerSample { cpu: thread_cpu_time(), calls });
        };
        self.handle.call(take).map_err(io::Error::other)?;
        sample
            .recv_timeout(SAMPLE_TIMEOUT)
            .map_err(|error| io::Error::other(format!("the embedded server: {error}")))
    }

    /// Stops it.
    ///
    /// # Errors
    ///
    /// The error that ended it before.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.handle.shutdown(Duration::ZERO);
        ended(self.thread)
    }
}

/// An echo on a free port, for clients that may say nothing for as long as
/// they like and be as many as the process has descriptors for.
fn echo() -> serve_forever::Result<(Reactor, Handle<Echo>, serve_forever::Endpoint)> {
    let config = Config { max_connections: Some(usize::MAX), ..Config::default() };
    let mut reactor = Reactor::new(config)?;
    let echo = reactor.add(Echo::new(), Limits { idle: None, ..Echo::limits() })?;
    let listener = reactor.listen(&echo, &"127.0.0.1:0".parse()?)?;
    let address = reactor.local(listener).expect("it was just opened").clone();
    let handle = reactor.handle(&echo);
    Ok((reactor, handle, address))
}

/// How the server's thread ended.
fn ended(thread: JoinHandle<serve_forever::Result<()>>) -> io::Result<()> {
    let outcome = thread.join().map_err(|_| io::Error::other("the embedded server panicked"))?;
    outcome.map_err(|error| io::Error::other(format!("the embedded server: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn serves_counts_and_stops() {
        let server = Embedded::start(None).expect("a loopback port");
        let Endpoint::Tcp { host, port } = server.endpoint().clone() else {
            panic!("it listens on TCP");
        };
        let before = server.sample().expect("a sample");
        let mut stream = TcpStream::connect((host, port)).expect("a connection");
        stream.write_all(b"echo").expect("a request");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"echo");
        let used = server.sample().expect("a sample").since(&before);
        assert!(used.cpu > Duration::ZERO);
        assert!(used.calls.iter().map(|(_, count)| count).sum::<u64>() >= 4);
        server.stop().expect("a clean end");
    }

    #[test]
    fn a_difference_is_by_name() {
        let sample = |cpu, reads, writes| ServerSample {
            cpu: Duration::from_secs(cpu),
            calls: vec![("read", reads), ("write", writes)],
        };
        assert_eq!(sample(7, 30, 5).since(&sample(4, 10, 5)), sample(3, 20, 0));
        let empty = ServerSample::default();
        assert_eq!(sample(7, 30, 5).since(&empty), sample(7, 30, 5));
    }
}
