//! `serve`: the library's echo or upper, until a signal comes.

use std::io::Write;
use std::process::ExitCode;

use serve_forever::services::{Echo, Upper};
use serve_forever::tls::{Identity, Server, ServerOptions};
use serve_forever::{
    Bound, BoxError, Config, DatagramHandler, Limits, ListenOptions, Reactor, Signals, StreamHandler,
};

use crate::backlog::Backlog;
use crate::cli::{ServeArgs, Served};
use crate::place::Channel;
use crate::standing;

/// The exit status of an impossible request: a bad address, or one in use.
const USAGE: u8 = 2;

/// Serves until a signal comes, and returns the exit status.
pub(crate) fn run(args: &ServeArgs, errors: &mut Backlog) -> ExitCode {
    let served = match args.service {
        Served::Echo => serve(args, "echo", Echo::new()),
        Served::Upper => serve(args, "upper", Upper::new()),
    };
    match served {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(status)) => ExitCode::from(status),
        Err(error) => {
            // The program goes on without a reader.
            let _ = errors.write_all(format!("reactor-echo: {error}\n").as_bytes());
            ExitCode::from(USAGE)
        }
    }
}

/// The TLS of the `tls://` endpoints; `None` if there is none.
fn tls(args: &ServeArgs) -> Result<Option<Server>, BoxError> {
    let has_endpoint = args.endpoints.iter().any(|place| place.channel == Channel::Tls);
    match args.tls_cert.as_ref().zip(args.tls_key.as_ref()) {
        Some((chain, key)) if has_endpoint => {
            let identities = vec![Identity::from_pem_files(chain, key)?];
            Ok(Some(Server::new(&ServerOptions { identities, ..ServerOptions::default() })?))
        }
        Some(_) => Err("there is a --tls-cert and nothing speaks TLS: write tls://HOST:PORT".into()),
        None if has_endpoint => Err("tls://: give --tls-cert FILE and --tls-key FILE".into()),
        None => Ok(None),
    }
}

/// Serves one handler on every endpoint. `Some` exit status if a second
/// signal cut the end short.
fn serve<S>(args: &ServeArgs, name: &str, handler: S) -> Result<Option<u8>, BoxError>
where
    S: StreamHandler + DatagramHandler,
{
    let most = args.max_connections.map(|most| most as usize);
    // Beside them, one for each signal.
    let config =
        Config { max_connections: most.map(|most| most + Signals::CONNECTIONS), ..Config::default() };
    let mut reactor = Reactor::new(config)?;
    let signals = Signals::watch(&mut reactor, args.grace)?;

    let mut limits = Limits::default();
    limits.max_connections = most.unwrap_or(limits.max_connections);
    limits.idle = args.idle.or(limits.idle).filter(|idle| !idle.is_zero());
    let service = reactor.add(handler, limits)?;
    let tls = tls(args)?;
    let mut listening = String::new();
    for place in &args.endpoints {
        let bound: Bound = if place.at.is_datagram() {
            reactor.bind(&service, &place.at)?.into()
        } else {
            let layer = tls.as_ref().filter(|_| place.channel == Channel::Tls).map(Server::factory);
            let options = ListenOptions { layer, ..ListenOptions::default() };
            reactor.listen_with(&service, &place.at, &options)?.into()
        };
        let local = reactor.local(bound).expect("it was just opened");
        listening += &format!("listening {name} {}\n", place.shown(local));
    }
    standing::say(listening).map_err(|error| format!("standard output: {error}"))?;
    reactor.serve_forever()?;
    Ok(reactor.get(&signals).forced().and_then(|signal| u8::try_from(128 + signal).ok()))
}
