//! `serve`: a server in one call.

use crate::error::Result;
use crate::handler::StreamHandler;
use crate::limits::{Config, Limits};
use crate::reactor::Reactor;

/// Serves one handler on one endpoint, as [`Endpoint`](crate::Endpoint) reads
/// it, until the handler asks for a shutdown ([`Io::shutdown`](crate::Io::shutdown)).
///
/// [`Limits::default`] holds: a client may be silent for five minutes, and has
/// one minute to finish what it has begun. A [`Reactor`] has all other settings.
///
/// ```no_run
/// serve_forever::serve("127.0.0.1:7007", serve_forever::services::Echo::new())?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Endpoint`](crate::Error::Endpoint) if `at` is no endpoint,
/// [`Error::Listen`](crate::Error::Listen) if it cannot be listened on,
/// [`Error::System`](crate::Error::System) if the loop cannot run.
pub fn serve<S: StreamHandler>(at: &str, handler: S) -> Result<()> {
    let mut reactor = Reactor::new(Config::default())?;
    let service = reactor.add(handler, Limits::default())?;
    let listener = reactor.listen(&service, &at.parse()?)?;
    if let Some(local) = reactor.local(listener) {
        log::info!("listening on {local}");
    }
    reactor.serve_forever()
}
