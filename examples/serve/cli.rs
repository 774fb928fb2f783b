//! The command line.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serve_forever::record::{Payloads, RecordOptions};
use serve_forever::services::{Framing, Reply};

use super::place::{Channel, Place};

const EXAMPLES: &str = "\
Examples:
  serve echo=127.0.0.1:7007 upper=udp://127.0.0.1:9999 chat=127.0.0.1:8098
      three services, two of them on TCP; talk to the chat with `nc`
  serve --allow uptime --allow df command=unix:/tmp/cmd.sock
      two programs, for whoever may open that socket
  serve --dir /srv/in --max-upload 100000000 upload=127.0.0.1:8898
  serve --www /srv/www web=127.0.0.1:8080 chat=127.0.0.1:8098
      files, http://127.0.0.1:8080/chat, and `nc` in the same room
  serve --bus redis://127.0.0.1/lobby chat=127.0.0.1:8098 web=127.0.0.1:8080
      the same room on any number of machines, through a Redis

For each listener there is a line on stdout, `listening SERVICE ENDPOINT`.
SIGINT, SIGTERM and SIGHUP end it: what has arrived is answered, within the time
of --grace; a second one, a second or more later, ends it at once. With tls://,
SIGHUP has it read the certificates again instead; connections stay. With --record,
SIGUSR1 has it write its recording.

A listener that fails is made again.

Exit status: 0, or 128 + N after a second signal N; 1 when the last listener has
failed and could not be made again for 60 s; 2 when the arguments make no sense
or an endpoint cannot be served.";

/// Serves echo, upper, once, chat, command, upload, console and web, on any
/// endpoints, from one thread.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What to serve, and where: SERVICE=HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT
    /// or unix:PATH;
    /// echo, upper and once also on udp://HOST:PORT and unixgram:PATH. All
    /// endpoints of one service share one instance: one chat room
    #[arg(value_name = "SERVICE=ENDPOINT", required = true)]
    pub(crate) served: Vec<Served>,

    /// Where a request of once, command, upload and console ends
    #[arg(long, value_name = "lines|chunk", default_value = "lines", value_parser = framing)]
    pub(crate) framing: Framing,
    /// Connections at once, of the whole process [default: 10000, or half of
    /// the limit of file descriptors]
    #[arg(long, value_name = "N", value_parser = number::<NonZeroUsize>)]
    pub(crate) max_connections: Option<NonZeroUsize>,
    /// Seconds without a byte after which a connection is closed; 0: never
    /// [default: 300; web: 100; chat and console: never]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) idle: Option<Duration>,
    /// After a signal, how long connections and commands have to finish; 0: no time
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// What once answers
    #[arg(long, value_name = "TEXT", default_value = "goodbye")]
    pub(crate) once_text: String,
    /// Lines that a member of the chat may send in a second [default: any number]
    #[arg(long, value_name = "N", value_parser = number::<NonZeroU32>)]
    pub(crate) lines_per_second: Option<NonZeroU32>,

    /// A Redis, as redis://[[USER]:PASSWORD@]HOST[:PORT][/PREFIX] or
    /// redis+unix:PATH[?prefix=PREFIX]: the chat, in the browser too, is one room with that
    /// of every process that names the same Redis and prefix
    #[arg(long, value_name = "URL")]
    pub(crate) bus: Option<String>,

    /// A program that clients may run; the first word of their line must be
    /// exactly this
    #[arg(long, value_name = "PROGRAM", conflicts_with = "shell", help_heading = "Command")]
    pub(crate) allow: Vec<String>,
    /// Clients may run anything, by /bin/sh -c
    #[arg(long, help_heading = "Command")]
    pub(crate) shell: bool,
    /// A file with a token that has to be a client's first request
    #[arg(long, value_name = "FILE", help_heading = "Command")]
    pub(crate) token_file: Option<PathBuf>,
    /// What a client is greeted with; empty: nothing
    #[arg(long, value_name = "TEXT", default_value = "欢迎登录", help_heading = "Command")]
    pub(crate) greeting: String,
    /// What is sent of the output: framed with its length, raw, or as it comes
    #[arg(long, value_name = "framed|raw|stream", default_value = "framed", value_parser = reply, help_heading = "Command")]
    pub(crate) reply: Reply,
    /// In chunks, a framed reply's payload waits for a word of the client
    #[arg(long, help_heading = "Command")]
    pub(crate) ack: bool,
    /// In chunks, how much later than its length a payload is sent
    #[arg(long, value_name = "MS", default_value = "10", value_parser = number::<u64>, help_heading = "Command")]
    pub(crate) gap: u64,
    /// How long a command may run
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = positive_seconds, help_heading = "Command")]
    pub(crate) command_timeout: Duration,
    /// How much a command may write [default: 1 MiB; streamed: any amount]
    #[arg(long, value_name = "BYTES", value_parser = number::<usize>, help_heading = "Command")]
    pub(crate) command_output: Option<usize>,

    /// The directory whose files are shown
    #[arg(long, value_name = "DIR", help_heading = "Web")]
    pub(crate) www: Option<PathBuf>,
    /// An origin, as in https://example.org, whose pages may open WebSockets beside
    /// those of the same host (may be repeated)
    #[arg(long, value_name = "ORIGIN", value_parser = origin, help_heading = "Web")]
    pub(crate) origin: Vec<String>,

    /// For tls://: the certificate and its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "TLS")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// For tls://: the private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    pub(crate) tls_key: Option<PathBuf>,
    /// For trying tls://: a certificate for this name is made at the start
    #[arg(long, value_name = "NAME", conflicts_with = "tls_cert", help_heading = "TLS")]
    pub(crate) tls_self_signed: Option<String>,
    /// For tls://: clients need a certificate that these have issued, in PEM
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// The directory that files are received into
    #[arg(long, value_name = "DIR", help_heading = "Upload")]
    pub(crate) dir: Option<PathBuf>,
    /// The largest file
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30, value_parser = number::<u64>, help_heading = "Upload")]
    pub(crate) max_upload: u64,
    /// Replace files of the same name
    #[arg(long, help_heading = "Upload")]
    pub(crate) overwrite: bool,
    /// Have a file on the disk before it is acknowledged; with --record, everybody
    /// waits meanwhile
    #[arg(long, help_heading = "Upload")]
    pub(crate) sync: bool,

    /// Keep the last calls of the loop in memory, and write them to FILE.1, FILE.2 and
    /// so on: at a SIGUSR1, when a callback fails, panics or is slow. Uploads are then
    /// written by the loop itself, as a replay has no workers
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    pub(crate) record: Option<PathBuf>,
    /// What is recorded of input: its hashes, or the bytes, passwords and all; only with
    /// those can the recording be replayed
    #[arg(long, value_name = "hashed|kept", default_value = "hashed", value_parser = payloads, help_heading = "Recording")]
    pub(crate) record_payloads: Payloads,
    /// The longest recording, in bytes; the oldest calls make room for new ones
    #[arg(long, value_name = "BYTES", default_value_t = RecordOptions::default().bytes, value_parser = number::<usize>, help_heading = "Recording")]
    pub(crate) record_bytes: usize,

    /// Say more on stderr; twice: still more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Echo,
    Upper,
    Once,
    Chat,
    Command,
    Upload,
    Console,
    Web,
}

impl Kind {
    /// As it is written.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    const fn takes_datagrams(self) -> bool {
        matches!(self, Self::Echo | Self::Upper | Self::Once)
    }
}

/// A service at an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
}

impl Served {
    pub(crate) fn has_tls(&self) -> bool {
        self.place.channel == Channel::Tls
    }
}

impl FromStr for Served {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, at) = text.split_once('=').ok_or("write SERVICE=ENDPOINT, as in echo=127.0.0.1:7007")?;
        let kind = Kind::from_str(name, false).map_err(|_| {
            let names: Vec<String> = Kind::value_variants().iter().map(|kind| kind.name()).collect();
            format!("there is no service {name:?}; there are {}", names.join(", "))
        })?;
        let place: Place = at.parse()?;
        if place.at.is_datagram() && !kind.takes_datagrams() {
            return Err(format!("{name} is a service for streams: tcp:// or unix:, not {}", place.at));
        }
        Ok(Self { kind, place })
    }
}

fn framing(text: &str) -> Result<Framing, String> {
    match text {
        "lines" => Ok(Framing::Lines),
        "chunk" => Ok(Framing::Chunk),
        _ => Err("there is no such framing; write lines or chunk".into()),
    }
}

/// An origin as a browser sends it (RFC 6454, 6.1).
fn origin(text: &str) -> Result<String, String> {
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_empty() && !host.contains('/') => Ok(text.to_ascii_lowercase()),
        _ => Err("that is no origin; write a scheme and a host, such as https://example.org".into()),
    }
}

fn payloads(text: &str) -> Result<Payloads, String> {
    match text {
        "hashed" => Ok(Payloads::Hashed),
        "kept" => Ok(Payloads::Kept),
        _ => Err("payloads are recorded in one of two ways; write hashed or kept".into()),
    }
}

fn reply(text: &str) -> Result<Reply, String> {
    match text {
        "framed" => Ok(Reply::Framed),
        "raw" => Ok(Reply::Raw),
        "stream" => Ok(Reply::Stream),
        _ => Err("there is no such kind of reply; write framed, raw or stream".into()),
    }
}

/// A whole number, of anything.
fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number => Ok(number),
        _ if !is_number => Err("that is no whole number; write digits alone, such as 1000".into()),
        _ if text.bytes().all(|digit| digit == b'0') => {
            Err("that is none; write a whole number from 1 on".into())
        }
        _ => Err("that is more than can be counted; write a smaller number".into()),
    }
}

/// Seconds, with a fraction if one likes.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.parse().map_err(|_| "that is no number; write a number of seconds, such as 0.5")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        let wrong = if seconds > 0.0 { "that is too long" } else { "that is no time" };
        format!("{wrong}; write a number of seconds from 0 on, such as 0.5")
    })
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|time| {
        if time.is_zero() { Err("that is none; write more than 0 seconds".into()) } else { Ok(time) }
    })
}
