//! The cost of one loop for all services, seen by the smallest round trip: an echo with
//! one message of 64 bytes at a time, alone, and beside a chat of many members at a
//! steady rate, a large upload, running commands, and all of these. One process serves
//! them all on one thread: the example `serve`, compiled into this program, which runs
//! itself as its child.
//!
//! ```text
//! TMPDIR=/dev/shm cargo bench --features cli --bench together
//! ```
//!
//! It is a test as well: every line of the chat is heard once, in order, by
//! everybody else; the files are what was sent; each command's reply is its
//! own. `--help` (behind `--`) lists the sizes, and `--smoke` is all of it in a
//! second or two.
//!
//! The clients are blocking sockets, and a bare `mio` loop for the chat. They
//! need processors too: where there are fewer than three, what the echo waits
//! for is as often a processor as the server.

#[path = "together/chat.rs"]
mod chat;
#[path = "together/commands.rs"]
mod commands;
#[path = "together/echo.rs"]
mod echo;
#[path = "../examples/serve/main.rs"]
#[allow(unused_imports, reason = "its unit tests are not built here, and what they import is")]
mod serve;
#[path = "together/server.rs"]
mod server;
#[path = "together/upload.rs"]
mod upload;

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;

use self::chat::Chat;
use self::commands::Commands;
use self::echo::Echo;
use self::server::Server;
use self::upload::Upload;

/// An echo beside everything else that a server does.
#[derive(Debug, Parser)]
struct Options {
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// For how long, in seconds, at least; what is uploaded is waited for
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Members of the chat
    #[arg(long, default_value_t = 200)]
    members: usize,
    /// What all of them say in a second, in lines
    #[arg(long, default_value_t = 200)]
    lines: u32,
    /// The size of the file
    #[arg(long, default_value_t = 1024)]
    mebibytes: u64,
    /// Commands at once; the server runs 32
    #[arg(long, default_value_t = 32)]
    commands: usize,
    /// All of it, and as little of it as there can be; `cargo test` has it so
    #[arg(long)]
    smoke: bool,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn smaller(self) -> Self {
        Self { rounds: 1, seconds: 0.2, members: 20, lines: 500, mebibytes: 16, commands: 4, ..self }
    }
}

/// What is measured at once, and what was measured.
struct Phase {
    name: &'static str,
    chat: bool,
    upload: bool,
    commands: bool,
    /// Round trips in nanoseconds.
    trips: Histogram<u64>,
    /// Of the server, and of the clock.
    cpu: Duration,
    wall: Duration,
    /// What the uploads took.
    uploading: Duration,
}

impl Phase {
    fn new(name: &'static str, chat: bool, upload: bool, commands: bool) -> Self {
        let trips = Histogram::new(3).expect("three digits are possible");
        let none = Duration::ZERO;
        Self { name, chat, upload, commands, trips, cpu: none, wall: none, uploading: none }
    }
}

/// All who talk to the server.
struct Clients {
    echo: Echo,
    chat: Chat,
    upload: Upload,
    commands: Commands,
}

impl Clients {
    /// Measures one phase once, and checks what came of the rest.
    fn run(&mut self, phase: &mut Phase, server: &Server, least: Duration) {
        let Self { echo, chat, upload, commands } = self;
        let is_over = &AtomicBool::new(false);
        thread::scope(|scope| {
            if phase.chat {
                scope.spawn(|| chat.talk(is_over));
            }
            if phase.commands {
                scope.spawn(|| commands.run(is_over));
            }
            let sending = phase.upload.then(|| scope.spawn(|| upload.send()));
            let (began, before) = (Instant::now(), server.cpu());
            while began.elapsed() < least || sending.as_ref().is_some_and(|sending| !sending.is_finished()) {
                echo.measure(&mut phase.trips);
            }
            phase.wall += began.elapsed();
            phase.cpu += server.cpu() - before;
            is_over.store(true, Ordering::Relaxed);
            if let Some(sending) = sending {
                phase.uploading += sending.join().expect("the server takes the file");
            }
        });
        if phase.upload {
            self.upload.check();
        }
    }
}

fn show(phases: &[Phase], options: &Options) {
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "beside", "echoes", "p50 µs", "p99 µs", "max µs", "server", "MiB/s"
    );
    for phase in phases {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let rate = (options.mebibytes * u64::from(options.rounds)) as f64 / phase.uploading.as_secs_f64();
        println!(
            "{:<12} {:>9} {:>9.1} {:>9.1} {:>9.1} {:>6.0}% {:>7}",
            phase.name,
            phase.trips.len(),
            micros(phase.trips.value_at_quantile(0.5)),
            micros(phase.trips.value_at_quantile(0.99)),
            micros(phase.trips.max()),
            100.0 * phase.cpu.as_secs_f64() / phase.wall.as_secs_f64(),
            if phase.upload { format!("{rate:.0}") } else { String::new() },
        );
    }
}

fn main() -> ExitCode {
    if env::var_os(server::ROLE).is_some() {
        return serve::main();
    }
    let options = Options::parse();
    let options = if options.smoke || !options.bench { options.smaller() } else { options };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path(), options.mebibytes << 20);
    let mut clients = Clients {
        echo: Echo::connect(server.echo),
        chat: Chat::enter(server.chat, options.members, options.lines),
        upload: Upload::new(server.upload, directory.path(), options.mebibytes),
        commands: Commands::connect(server.command, options.commands),
    };
    let mut phases = [
        Phase::new("nothing", false, false, false),
        Phase::new("a chat", true, false, false),
        Phase::new("an upload", false, true, false),
        Phase::new("commands", false, false, true),
        Phase::new("all of them", true, true, true),
    ];
    for _ in 0..options.rounds {
        for phase in &mut phases {
            clients.run(phase, &server, Duration::from_secs_f64(options.seconds));
        }
    }
    println!(
        "{} rounds; {} in a chat that say {} lines a second, a file of {} MiB, {} commands\n",
        options.rounds, options.members, options.lines, options.mebibytes, options.commands
    );
    show(&phases, &options);
    println!(
        "\n{} lines were heard, {} commands answered, {} files stored, each as it should be",
        clients.chat.heard(),
        clients.commands.answered(),
        2 * options.rounds
    );
    drop(clients);
    println!("the server had {} KiB of memory at most", server.stop());
    ExitCode::SUCCESS
}
