//! Teaches: a Unix socket for one user. The system vouches for who is at the
//! other end, and `verify` turns everybody else away.
//!
//! ```text
//! cargo run --example unix_echo -- unix:/tmp/echo.sock
//! printf 'hello\n' | socat - UNIX-CONNECT:/tmp/echo.sock
//! ```

use std::env;

use bytes::BytesMut;
use serve_forever::services::Echo;
use serve_forever::{BoxError, Io, Origin, Peer, Reactor, StreamHandler};

struct UserEcho {
    user: u32,
    echo: Echo,
}

impl StreamHandler for UserEcho {
    type Session = ();

    fn verify(&mut self, peer: &Peer) -> bool {
        // On TCP there are no credentials: nobody comes in.
        peer.credentials.is_some_and(|credentials| credentials.uid == self.user)
    }

    fn open(&mut self, _: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        let who = origin.peer().credentials.ok_or("no credentials")?;
        println!("user {}, group {}, process {}", who.uid, who.gid, who.pid.unwrap_or(0));
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.echo.data(io, &mut (), input)
    }
}

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let at = args.next().unwrap_or_else(|| "unix:/tmp/echo.sock".into());
    let ours = rustix::process::geteuid().as_raw();
    let user = args.next().map_or(Ok(ours), |user| user.parse())?;
    let mut reactor = Reactor::new(serve_forever::Config::default())?;
    #[cfg(feature = "signals")] // without it, a signal leaves no time to clean up
    serve_forever::Signals::watch(&mut reactor, serve_forever::SHUTDOWN_DEADLINE)?;
    let service = reactor.add(UserEcho { user, echo: Echo::new() }, Echo::limits())?;
    let listener = reactor.listen(&service, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
