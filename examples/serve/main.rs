//! Teaches: many services in one reactor, and signals. Every service of the
//! library on any endpoints, in one thread.
//!
//! ```text
//! cargo run --features cli --example serve -- echo=127.0.0.1:7007 chat=127.0.0.1:8098
//! ```

#[path = "../../src/bin/reactor-echo/backlog.rs"]
mod backlog;
mod bus;
mod cli;
#[path = "../common/inherited.rs"]
mod inherited;
#[path = "../../src/bin/reactor-echo/logging.rs"]
mod logging;
#[path = "../../src/bin/reactor-echo/place.rs"]
mod place;
#[path = "../../src/bin/reactor-echo/standing.rs"]
mod standing;
#[path = "../../src/bin/reactor-echo/streams.rs"]
mod streams;
mod tls;

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::BytesMut;
use clap::Parser;
use serve_forever::bus::{Bus, OnBus};
use serve_forever::driver::{Adopt, Driver, MioDriver};
use serve_forever::record::{RecordOptions, Recorder};
use serve_forever::services::{Chat, Command, Console, Echo, Framing, Once, Reach, Upload, Upper, Web};
use serve_forever::ws::Origins;
use serve_forever::{
    BoxError, Config, DatagramHandler, Endpoint, Error, Limits, ListenOptions, ListenerId, Orphans, Reactor,
    Service, Signals, StreamHandler, WorkerOptions, Workers,
};

use self::cli::{Arguments, Kind, Served};

/// What was asked for cannot be done.
const USAGE: u8 = 2;

/// The connections of a console's operator: standard input and output.
const OPERATOR: usize = 2;

/// A reactor, and what it serves so far.
struct Server<'a, D: Driver> {
    reactor: Reactor<D>,
    arguments: &'a Arguments,
    /// Where each of the arguments is served, with its real port.
    listening: Vec<Option<Endpoint>>,
    /// The TLS of the endpoints that have it.
    tls: Option<serve_forever::tls::Server>,
    /// The bus of the chat, until that is served.
    bus: Option<Bus>,
    /// The console, whose operator is at standard input and output.
    operated: Option<Service<Console>>,
}

impl<D: Driver> Server<'_, D> {
    /// The limits of a service, as the command line changes them.
    fn limits(&self, limits: Limits) -> Limits {
        let idle = self.arguments.idle.or(limits.idle).filter(|idle| !idle.is_zero());
        Limits { idle, ..limits }
    }

    fn add<S: StreamHandler>(&mut self, handler: S, limits: Limits) -> Result<Service<S>, BoxError> {
        let limits = self.limits(limits);
        Ok(self.reactor.add(handler, limits)?)
    }

    fn serves(&self, kind: Kind) -> bool {
        self.arguments.served.iter().any(|served| served.kind == kind)
    }

    /// Serves streams at all endpoints of this kind. Returns the listeners.
    fn listen<S: StreamHandler>(
        &mut self,
        kind: Kind,
        service: &Service<S>,
    ) -> Result<Vec<ListenerId>, BoxError> {
        let mut listeners = Vec::new();
        for (served, local) in self.arguments.served.iter().zip(&mut self.listening) {
            if served.kind == kind && !served.place.at.is_datagram() {
                let tls = self.tls.as_ref().filter(|_| served.has_tls());
                let layer = tls.map(serve_forever::tls::Server::factory);
                let options = ListenOptions { layer, ..ListenOptions::default() };
                let listener = self.reactor.listen_with(service, &served.place.at, &options)?;
                *local = self.reactor.local(listener).cloned();
                listeners.push(listener);
            }
        }
        Ok(listeners)
    }

    /// Adds a service, and serves streams at all endpoints of this kind.
    fn serve_streams<S: StreamHandler>(
        &mut self,
        kind: Kind,
        handler: S,
        limits: Limits,
    ) -> Result<(), BoxError> {
        let service = self.add(handler, limits)?;
        self.listen(kind, &service).map(drop)
    }

    /// Adds a web server, whose chat is the one of all endpoints.
    fn serve_web<S: StreamHandler>(
        &mut self,
        web: S,
        chat_on: impl Fn(&mut S, ListenerId),
    ) -> Result<(), BoxError> {
        let service = self.add(web, Web::limits())?;
        self.listen(Kind::Web, &service)?;
        for listener in self.listen(Kind::Chat, &service)? {
            chat_on(self.reactor.get_mut(&service), listener);
        }
        Ok(())
    }

    /// Serves streams and datagrams at all endpoints of this kind.
    fn listen_and_bind<S>(&mut self, kind: Kind, service: &Service<S>) -> Result<(), BoxError>
    where
        S: StreamHandler + DatagramHandler,
    {
        self.listen(kind, service)?;
        for (served, local) in self.arguments.served.iter().zip(&mut self.listening) {
            if served.kind == kind && served.place.at.is_datagram() {
                let socket = self.reactor.bind(service, &served.place.at)?;
                *local = self.reactor.local(socket).cloned();
            }
        }
        Ok(())
    }

    /// Says where it listens.
    fn tell(&self) -> io::Result<()> {
        let listening = self.arguments.served.iter().zip(self.listening.iter().flatten());
        standing::say(
            listening
                .map(|(served, local)| {
                    format!("listening {} {}\n", served.kind.name(), served.place.shown(local))
                })
                .collect(),
        )
    }

    /// Adds a service, and opens its endpoints.
    fn serve(&mut self, kind: Kind) -> Result<(), BoxError> {
        let arguments = self.arguments;
        match kind {
            Kind::Echo => {
                let service = self.add(Echo::new(), Echo::limits())?;
                self.listen_and_bind(kind, &service)
            }
            Kind::Upper => {
                let service = self.add(Upper::new(), Upper::limits())?;
                self.listen_and_bind(kind, &service)
            }
            Kind::Once => {
                let once = Once::framed(&arguments.once_text, arguments.framing);
                let service = self.add(once, Once::limits())?;
                self.listen_and_bind(kind, &service)
            }
            // The room is in the web server, if there is one.
            Kind::Chat if self.serves(Kind::Web) => Ok(()),
            Kind::Chat => match self.bus.take() {
                None => self.serve_streams(kind, chat(arguments), Chat::limits()),
                Some(bus) => {
                    self.serve_streams(kind, OnBus::new(chat(arguments).on_bus(bus)), Chat::limits())
                }
            },
            Kind::Web => match self.bus.take() {
                None => self.serve_web(web(chat(arguments), arguments)?, Web::chat_on),
                Some(bus) => {
                    let web = web(chat(arguments).on_bus(bus), arguments)?;
                    self.serve_web(OnBus::new(web), |web, listener| web.handler_mut().chat_on(listener))
                }
            },
            Kind::Command => {
                let command = command(arguments)?;
                let asks_who_it_is = |served: &Served| served.has_tls() && arguments.tls_client_ca.is_some();
                let is_open = |served: &&Served| !command.serves(&served.place.at) && !asks_who_it_is(served);
                let mut endpoints = arguments.served.iter().filter(|served| served.kind == kind);
                if let Some(served) = endpoints.find(is_open) {
                    let at = served.place.shown(&served.place.at);
                    return Err(format!(
                        "{at} can be reached from other machines: give a --token-file, or serve it on \
                         tls:// with a --tls-client-ca"
                    )
                    .into());
                }
                let limits = command.limits();
                let service = self.add(command, limits)?;
                self.listen(kind, &service).map(drop)
            }
            Kind::Upload => {
                let service = self.add(upload(arguments)?, Upload::limits())?;
                self.listen(kind, &service).map(drop)
            }
            Kind::Console => {
                let service = self.add(Console::new(arguments.framing), Console::limits())?;
                self.operated = Some(service.clone());
                self.listen(kind, &service).map(drop)
            }
        }
    }
}

fn command(arguments: &Arguments) -> Result<Command, BoxError> {
    let command = match (arguments.shell, arguments.allow.is_empty()) {
        (true, _) => Command::shell(),
        (false, false) => Command::allow(&arguments.allow),
        (false, true) => return Err("command: say what may be run: --allow PROGRAM, or --shell".into()),
    };
    let mut command = command
        .framing(arguments.framing)
        .reply(arguments.reply)
        .timeout(arguments.command_timeout)
        .gap(Duration::from_millis(arguments.gap))
        .await_ack(arguments.ack)
        .greeting(arguments.greeting.as_str());
    if arguments.tls_client_ca.is_some() {
        command = command.certified_clients();
    }
    if let Some(bytes) = arguments.command_output {
        command = command.output(bytes);
    }
    if let Some(path) = &arguments.token_file {
        let token = token(path, arguments.framing).map_err(|error| format!("{}: {error}", path.display()))?;
        command = command.token(token).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(command)
}

/// The text of a file without its line end; an error if no client could send
/// it.
fn token(path: &Path, framing: Framing) -> io::Result<Vec<u8>> {
    let mut token = fs::read(path)?;
    while token.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        token.pop();
    }
    let mut sent = BytesMut::from([token.as_slice(), framing.end().as_bytes()].concat().as_slice());
    match framing.next(&mut sent) {
        Ok(Some(request)) if request == token => Ok(token),
        Ok(Some(_)) | Err(_) => {
            let wrong = "its text is no single request, which a token has to be";
            let right = match framing {
                Framing::Lines => "write one line of at most 65,536 bytes into it",
                _ => "write text into it that does not end in white space",
            };
            Err(io::Error::other(format!("{wrong}; {right}")))
        }
        Ok(_) => Ok(token),
    }
}

fn chat(arguments: &Arguments) -> Chat {
    match arguments.lines_per_second {
        Some(lines) => Chat::new().lines_per_second(lines),
        None => Chat::new(),
    }
}

fn web<R: Reach>(chat: Chat<R>, arguments: &Arguments) -> Result<Web<R>, BoxError> {
    let idle = arguments.idle.filter(|idle| !idle.is_zero());
    let origins = Origins::Also(arguments.origin.clone());
    let web = Web::new(chat).lines_idle(idle).origins(&origins);
    Ok(match &arguments.www {
        Some(directory) => web.files(directory)?,
        None => web,
    })
}

fn upload(arguments: &Arguments) -> Result<Upload, BoxError> {
    let directory = arguments.dir.as_ref().ok_or("upload: say where files go: --dir DIR")?;
    let upload = Upload::into(directory)?;
    Ok(upload
        .max(arguments.max_upload)
        .overwrite(arguments.overwrite)
        .sync(arguments.sync)
        .framing(arguments.framing))
}

/// How it ended.
enum Ended {
    InOrder,
    /// A second signal, this one, cut the end short.
    Forced(i32),
    /// The last listener had failed, and could not be made again.
    Lost(Error),
}

/// Serves, with or without a recording.
fn run(arguments: &Arguments) -> Result<Ended, BoxError> {
    // Beside the clients there are the program's own connections.
    let has_operator = arguments.served.iter().any(|served| served.kind == Kind::Console);
    let own = Signals::CONNECTIONS
        + usize::from(arguments.record.is_some())
        + Orphans::CONNECTIONS
        + if arguments.bus.is_some() { bus::CONNECTIONS } else { 0 }
        + if has_operator { OPERATOR } else { 0 };
    let max_connections = arguments.max_connections.map(|most| most.get().saturating_add(own));
    let config = Config { max_connections, ..Config::default() };
    let Some(file) = arguments.record.clone() else {
        let mut reactor = Reactor::new(config)?;
        let signals = Signals::watch(&mut reactor, arguments.grace)?;
        return run_in(reactor, &signals, arguments);
    };
    let options = RecordOptions {
        bytes: arguments.record_bytes,
        payloads: arguments.record_payloads,
        file: Some(file),
        ..RecordOptions::default()
    };
    let driver = Recorder::new(MioDriver::new(config.events_per_turn)?, options)?;
    let request = driver.request();
    let mut reactor = Reactor::with_driver(driver, config)?;
    let signals = Signals::watch(&mut reactor, arguments.grace)?;
    Signals::on_user_signal(&mut reactor, &signals, move || request.ask())?;
    run_in(reactor, &signals, arguments)
}

/// Serves until a signal comes, or there is nothing left to serve.
fn run_in<D: Adopt>(
    mut reactor: Reactor<D>,
    signals: &Service<Signals>,
    arguments: &Arguments,
) -> Result<Ended, BoxError> {
    // Its children are commands, and it may be the first process of a container.
    Orphans::watch(&mut reactor)?;
    inherited::keep_from_children()?;
    let listening = vec![None; arguments.served.len()];
    let tls = tls::server(arguments)?;
    if let Some(tls) = tls.clone() {
        let arguments = arguments.clone();
        reactor.get_mut(signals).on_hangup(move || tls::read_again(&tls, &arguments));
    }
    // Workers write uploads and look the name of a Redis up, so nobody else waits for that.
    // A replay has no workers, so what is recorded does without.
    let has_work =
        arguments.bus.is_some() || arguments.served.iter().any(|served| served.kind == Kind::Upload);
    if has_work && arguments.record.is_none() {
        let options = WorkerOptions { name: "worker".into(), ..WorkerOptions::default() };
        reactor.set_workers(&Workers::new(options)?);
    }
    let bus = bus::bus(arguments)?;
    let mut server = Server { reactor, arguments, listening, tls, bus, operated: None };
    for (place, served) in arguments.served.iter().enumerate() {
        let is_first = arguments.served[..place].iter().all(|earlier| earlier.kind != served.kind);
        if is_first {
            server.serve(served.kind)?;
        }
    }
    server.tell().map_err(|error| format!("standard output: {error}"))?;
    if let Some(console) = &server.operated {
        server
            .reactor
            .adopt_output(console, io::stdout().as_fd().try_clone_to_owned()?)
            .map_err(|error| format!("standard output: {error}"))?;
        server
            .reactor
            .adopt_input(console, io::stdin().as_fd().try_clone_to_owned()?)
            .map_err(|error| format!("standard input: {error}"))?;
    }
    match server.reactor.serve_forever() {
        Err(error @ Error::Listen { .. }) => Ok(Ended::Lost(error)),
        outcome => {
            outcome?;
            Ok(server.reactor.get(signals).forced().map_or(Ended::InOrder, Ended::Forced))
        }
    }
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| streams::leave(&error));
    let mut backlog = logging::init(arguments.verbose, arguments.quiet);
    let status = match run(&arguments) {
        Ok(Ended::InOrder) => ExitCode::SUCCESS,
        Ok(Ended::Forced(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Ok(Ended::Lost(error)) => {
            let _ = backlog.write_all(
                format!(
                    "serve: nothing is left to serve: {error}
"
                )
                .as_bytes(),
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            // Whether anybody reads it changes nothing.
            let _ = backlog.write_all(format!("serve: {error}\n").as_bytes());
            ExitCode::from(USAGE)
        }
    };
    backlog.end();
    status
}
