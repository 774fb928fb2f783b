//! Teaches: standard input, standard output and a socket in one loop, at the
//! pace of the slowest. A client for a chat, an echo, a console, or `nc -l`.
//!
//! ```text
//! cargo run --features cli --example client -- 127.0.0.1:8098
//! ```

#[path = "common/address.rs"]
mod address;
#[path = "../src/bin/reactor-echo/streams.rs"]
mod streams;
#[path = "../src/bin/reactor-echo/tls.rs"]
mod tls;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use bytes::BytesMut;
use clap::Parser;
use serve_forever::{
    AfterEof, BoxError, CloseReason, Config, ConnId, Io, Limits, Origin, Reactor, Sent, Side, StreamHandler,
};

use self::address::Address;
use self::tls::TlsArguments;

/// Connects standard input and output to a server.
///
/// What is typed is sent, what comes is printed. At the end of the input its
/// side of the connection ends; it leaves when the server has ended the other.
/// Exit status: 0 then, 1 when the connection could not be made or broke, 2
/// when the arguments make no sense.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    tls: TlsArguments,
    /// HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:PATH; every address of a name
    /// is tried
    #[arg(value_parser = address::parse)]
    endpoint: Address,
}

/// The three connections; each is known once it is open.
struct Client {
    to: Address,
    server: Option<ConnId>,
    input: Option<ConnId>,
    output: Option<ConnId>,
    failure: Option<String>,
}

#[derive(Clone, Copy)]
enum End {
    Input,
    Output,
    Server,
}

impl Client {
    /// Where bytes from there go to.
    fn sink(&self, from: End) -> Option<ConnId> {
        match from {
            End::Input => self.server,
            End::Server => self.output,
            End::Output => None,
        }
    }

    /// The first failure tells why; others follow from it.
    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }
}

impl StreamHandler for Client {
    type Session = End;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<End, BoxError> {
        Ok(match origin {
            Origin::Adopted { side: Side::Input, .. } => {
                self.input = Some(io.id());
                // Until it is known which address of the server it goes to.
                io.pause(io.id());
                End::Input
            }
            Origin::Adopted { .. } => {
                self.output = Some(io.id());
                End::Output
            }
            _ => {
                self.input.into_iter().for_each(|input| io.resume(input));
                End::Server
            }
        })
    }

    fn data(&mut self, io: &mut Io<'_>, from: &mut End, input: &mut BytesMut) -> Result<(), BoxError> {
        if let Some(to) = self.sink(*from)
            && io.send(to, input.split()) == Sent::Full
        {
            io.pause(io.id());
        }
        input.clear();
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, of: &mut End) -> Result<(), BoxError> {
        let source = match of {
            End::Server => self.input,
            End::Output => self.server,
            End::Input => None,
        };
        source.into_iter().for_each(|source| io.resume(source));
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, from: &mut End, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        match from {
            End::Input => self.server.into_iter().for_each(|server| io.finish(server)),
            // Whatever is still typed, nobody hears it.
            End::Server => self.output.into_iter().for_each(|output| io.close(output)),
            End::Output => {}
        }
        Ok(AfterEof::Stay)
    }

    fn close(&mut self, io: &mut Io<'_>, of: End, why: &CloseReason) {
        match (of, why) {
            (End::Input, CloseReason::Io(_)) => {
                self.fail(format!("standard input: {why}"));
                self.server.into_iter().for_each(|server| io.finish(server));
            }
            (End::Input, _) => {}
            (End::Output, CloseReason::Closed | CloseReason::Shutdown) => io.stop(),
            (End::Output, _) => {
                self.fail(format!("standard output: {why}"));
                io.stop();
            }
            (End::Server, CloseReason::Finished | CloseReason::Closed | CloseReason::Shutdown) => {}
            (End::Server, _) => {
                self.fail(format!("{}: {why}", self.to));
                self.output.into_iter().for_each(|output| io.close(output));
            }
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &io::Error) {
        self.fail(self.to.failure(error));
        io.stop();
    }
}

fn run(to: Address) -> Result<Option<String>, BoxError> {
    let mut reactor = Reactor::new(Config::default())?;
    let limits = Limits { idle: None, frame: None, write_stall: None, ..Limits::default() };
    let client = Client { to: to.clone(), server: None, input: None, output: None, failure: None };
    let client = reactor.add(client, limits)?;
    let server = to.connect(&mut reactor, &client)?;
    reactor.get_mut(&client).server = Some(server);
    reactor
        .adopt_output(&client, io::stdout().as_fd().try_clone_to_owned()?)
        .map_err(|error| format!("standard output: {error}"))?;
    reactor
        .adopt_input(&client, io::stdin().as_fd().try_clone_to_owned()?)
        .map_err(|error| format!("standard input: {error}"))?;
    reactor.serve_forever()?;
    let failure = reactor.get_mut(&client).failure.take();
    if failure.is_none() {
        streams::all_is_written().map_err(|error| format!("standard output: {error}"))?;
    }
    Ok(failure)
}

fn main() -> ExitCode {
    let Arguments { mut endpoint, tls } =
        Arguments::try_parse().unwrap_or_else(|error| streams::leave(&error));
    let message = match endpoint.secure(&tls).map_err(Into::into).and_then(|()| run(endpoint)) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(failure)) => failure,
        Err(error) => error.to_string(),
    };
    // Whether anybody reads it changes nothing.
    let _ = writeln!(io::stderr(), "client: {message}");
    ExitCode::FAILURE
}
