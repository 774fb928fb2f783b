//! Child processes: their pipes as connections, how they end, and that nothing
//! of them stays behind.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serve_forever::process::{Command, Exit, ExitCause, Pipe};
use serve_forever::services::Echo;
use serve_forever::{
    AfterEof, BoxError, ChildId, CloseReason, Config, ConnId, Io, Limits, Origin, Reactor, Sent, Service,
    StreamHandler,
};

use crate::util::{Client, PATIENCE, SOON, alone, eventually, listen_anywhere, noise, open_files};

/// What became of one child.
#[derive(Default)]
struct Run {
    out: Vec<u8>,
    err: Vec<u8>,
    /// Pipes that are open.
    open: usize,
    ends: Vec<String>,
    exit: Option<Exit>,
    failure: Option<io::ErrorKind>,
    /// The most that was queued for its input.
    most_queued: usize,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, err, open, ends, exit, failure, .. } = self;
        write!(f, "{} and {} bytes, {open} open, {ends:?}, {exit:?}, {failure:?}", out.len(), err.len())
    }
}

/// Runs programs, and notes what they write.
#[derive(Debug, Default)]
struct Runner {
    runs: BTreeMap<u64, Run>,
    /// What is still to be written to the child of each tag.
    to_write: BTreeMap<u64, (Vec<u8>, usize)>,
    /// Output is not read from the children of these tags.
    paused: Vec<u64>,
    /// What is started as soon as one has ended.
    waiting: VecDeque<(Command, u64)>,
    /// Children ended because of a failing callback, as a test of panics.
    panics_at: Option<u64>,
}

#[derive(Debug)]
struct PipeOf {
    tag: u64,
    pipe: Pipe,
}

impl Runner {
    fn run(&mut self, tag: u64) -> &mut Run {
        self.runs.entry(tag).or_default()
    }

    fn start_waiting(&mut self, io: &mut Io<'_>) {
        if let Some((command, tag)) = self.waiting.pop_front() {
            io.spawn(command, tag).expect("one has just ended");
        }
    }

    /// Writes to a child until its queue is full.
    fn feed(&mut self, io: &mut Io<'_>, tag: u64) {
        let Some((data, at)) = self.to_write.get_mut(&tag) else { return };
        while *at < data.len() {
            let end = data.len().min(*at + 10_000);
            let sent = io.write(&data[*at..end]);
            assert!(sent.is_queued(), "{sent:?} at {at}");
            *at = end;
            let queued = io.queued(io.id()).expect("it is open");
            let run = self.runs.entry(tag).or_default();
            run.most_queued = run.most_queued.max(queued);
            if sent == Sent::Full {
                return;
            }
        }
        io.finish(io.id());
    }
}

impl StreamHandler for Runner {
    type Session = PipeOf;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<PipeOf, BoxError> {
        let Origin::Pipe { child, tag, pipe, .. } = origin else { return Err("no client".into()) };
        assert_eq!(io.pipe(*child, *pipe), Some(io.id()));
        if self.panics_at == Some(*tag) {
            panic!("as it was told to");
        }
        self.run(*tag).open += 1;
        if *pipe == Pipe::Stdin {
            self.feed(io, *tag);
        } else if self.paused.contains(tag) {
            io.pause(io.id());
        }
        if *pipe != Pipe::Stdin {
            assert_eq!(io.write(b"it takes none"), Sent::Gone);
        }
        Ok(PipeOf { tag: *tag, pipe: *pipe })
    }

    fn data(&mut self, _: &mut Io<'_>, of: &mut PipeOf, input: &mut BytesMut) -> Result<(), BoxError> {
        let run = self.run(of.tag);
        assert!(run.exit.is_none(), "the exit comes last");
        match of.pipe {
            Pipe::Stdin => return Err("it has no input".into()),
            Pipe::Stdout => run.out.extend_from_slice(input),
            Pipe::Stderr => run.err.extend_from_slice(input),
        }
        input.clear();
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, of: &mut PipeOf, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        assert_ne!(of.pipe, Pipe::Stdin);
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, of: &mut PipeOf) -> Result<(), BoxError> {
        self.feed(io, of.tag);
        Ok(())
    }

    fn close(&mut self, _: &mut Io<'_>, of: PipeOf, why: &CloseReason) {
        let run = self.run(of.tag);
        assert!(run.exit.is_none(), "the exit comes last");
        run.open -= 1;
        run.ends.push(format!("{:?}: {why}", of.pipe));
    }

    fn child_exited(&mut self, io: &mut Io<'_>, _: ChildId, tag: u64, exit: &Exit) {
        self.start_waiting(io);
        let run = self.run(tag);
        assert_eq!(run.open, 0, "its pipes are closed before");
        assert!(run.exit.is_none() && run.failure.is_none(), "it is told once");
        run.exit = Some(*exit);
    }

    fn spawn_failed(&mut self, _: &mut Io<'_>, _: ChildId, tag: u64, error: &io::Error) {
        let run = self.run(tag);
        assert!(run.exit.is_none() && run.failure.is_none(), "it is told once");
        assert_eq!(run.open, 0);
        run.failure = Some(error.kind());
    }
}

/// A reactor that runs programs, turned by the test itself.
struct Shop {
    reactor: Reactor,
    service: Service<Runner>,
}

impl Shop {
    fn new() -> Self {
        Self::with(Runner::default(), Config::default())
    }

    fn with(runner: Runner, config: Config) -> Self {
        let mut reactor = Reactor::new(config).expect("a good configuration");
        let service = reactor.add(runner, Limits::default()).expect("good limits");
        Self { reactor, service }
    }

    /// Does something with the runner in a turn.
    fn ask<R: Send + 'static>(
        &mut self,
        question: impl FnOnce(&mut Runner, &mut Io<'_>) -> R + Send + 'static,
    ) -> R {
        let (tell, told) = std::sync::mpsc::channel();
        let handle = self.reactor.handle(&self.service);
        let ask = move |runner: &mut Runner, io: &mut Io<'_>| {
            tell.send(question(runner, io)).expect("the test waits for it");
        };
        handle.call(ask).expect("there is room");
        loop {
            self.reactor.turn(Some(PATIENCE)).expect("the loop runs");
            if let Ok(answer) = told.try_recv() {
                return answer;
            }
        }
    }

    fn spawn(&mut self, command: Command, tag: u64) -> ChildId {
        self.ask(move |_, io| io.spawn(command, tag)).expect("there is room")
    }

    fn runner(&mut self) -> &mut Runner {
        self.reactor.get_mut(&self.service)
    }

    /// Turns until this holds.
    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}: {:?}", self.runner().runs);
            self.reactor.turn(Some(Duration::from_millis(100))).expect("the loop runs");
        }
    }

    /// Turns until the child of this tag has ended, and returns how.
    #[track_caller]
    fn end_of(&mut self, tag: u64) -> Run {
        self.until("the child has ended", |shop| {
            let run = shop.runner().run(tag);
            run.exit.is_some() || run.failure.is_some()
        });
        self.runner().runs.remove(&tag).expect("it was there")
    }

    #[track_caller]
    fn run(&mut self, command: Command) -> Run {
        self.spawn(command, 0);
        self.end_of(0)
    }

    /// Nothing is left of any child.
    #[track_caller]
    fn expect_baseline(&mut self) {
        self.until("nothing is left", |shop| shop.reactor.children() == 0);
        assert_eq!(self.reactor.connections(), 0);
    }
}

fn code(run: &Run) -> Option<i32> {
    run.exit?.status?.code()
}

fn signal(run: &Run) -> Option<i32> {
    run.exit?.status?.signal()
}

/// The process group of this number has nobody left in it.
fn is_gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
}

#[test]
fn output_errors_and_exit_code_of_a_child_arrive_each_by_itself() {
    let mut shop = Shop::new();
    let run = shop.run(Command::shell("echo out; echo err >&2; exit 3"));
    assert_eq!((&run.out[..], &run.err[..], code(&run)), (&b"out\n"[..], &b"err\n"[..], Some(3)));
    assert_eq!(run.exit.map(|exit| exit.cause), Some(ExitCause::Itself));
    assert_eq!(run.ends.len(), 2);
    assert!(run.ends.iter().all(|end| end.ends_with("both sides finished")), "{:?}", run.ends);
    shop.expect_baseline();
    let stats = shop.reactor.stats();
    assert_eq!((stats.children_started, stats.children_exited, stats.children_failed), (1, 1, 0));
}

#[test]
fn errors_and_output_can_share_one_pipe_in_their_order() {
    let mut shop = Shop::new();
    let run = shop.run(Command::shell("echo 1; echo 2 >&2; echo 3; echo 4 >&2").stderr_to_stdout());
    assert_eq!((&run.out[..], run.ends.len()), (&b"1\n2\n3\n4\n"[..], 1));
}

#[test]
fn a_child_without_pipes_is_told_of_too() {
    let mut shop = Shop::new();
    let run = shop.run(Command::new("true").null_stdout().null_stderr());
    assert_eq!((code(&run), run.ends.len()), (Some(0), 0));
    let run = shop.run(Command::new("false").null_stdout().stderr_to_stdout());
    assert_eq!((code(&run), run.ends.len()), (Some(1), 0));
}

#[test]
fn arguments_environment_and_directory_are_as_they_were_given() {
    let mut shop = Shop::new();
    let command = Command::shell(r#"printf '%s|' "$@" "$A" "${HOME-none}" "$PWD""#)
        .args(["sh", "a b", "", "*"])
        .env_clear()
        .env("A", "1")
        .env("B", "2")
        .env_remove("B")
        .current_dir("/");
    let run = shop.run(command);
    assert_eq!(String::from_utf8_lossy(&run.out), "a b||*|1|none|/|");
}

// docs/guarantees.md, 34.
#[test]
fn without_a_pipe_its_input_is_empty() {
    let mut shop = Shop::new();
    let run = shop.run(Command::new("cat"));
    assert_eq!((&run.out[..], code(&run)), (&b""[..], Some(0)));
}

// docs/guarantees.md, 38.
#[test]
fn what_is_written_to_a_child_arrives_whole_with_the_queue_under_its_mark() {
    let mut shop = Shop::new();
    let data = noise(5_000_000);
    shop.runner().to_write.insert(0, (data.clone(), 0));
    let run = shop.run(Command::new("cat").piped_stdin());
    assert!(run.out == data, "{} bytes came back", run.out.len());
    let mark = Limits::default().high_mark;
    assert!((mark..mark + 10_000).contains(&run.most_queued), "{}", run.most_queued);
    assert_eq!(code(&run), Some(0));
    shop.expect_baseline();
}

#[test]
fn input_can_be_sent_before_the_child_has_begun() {
    let mut shop = Shop::new();
    shop.ask(|_, io| {
        let child = io.spawn(Command::new("cat").piped_stdin(), 0).expect("there is room");
        let stdin = io.pipe(child, Pipe::Stdin).expect("it is piped");
        assert_eq!(io.send(stdin, "early"), Sent::Queued);
        assert_eq!(io.pipe(child, Pipe::Stdout).map(|out| io.send(out, "no")), Some(Sent::Gone));
        io.finish(stdin);
    });
    let run = shop.end_of(0);
    assert_eq!(&run.out[..], b"early");
}

#[test]
fn a_child_that_closes_its_input_ends_that_connection_alone() {
    let mut shop = Shop::new();
    shop.runner().to_write.insert(0, (noise(1_000_000), 0));
    let run = shop.run(Command::shell("exec <&-; echo still here; exit 4").piped_stdin());
    assert_eq!((&run.out[..], code(&run)), (&b"still here\n"[..], Some(4)));
    assert!(run.ends.iter().any(|end| end.starts_with("Stdin: broken")), "{:?}", run.ends);
    shop.expect_baseline();
}

#[test]
fn a_child_waits_while_its_output_is_paused_and_loses_nothing() {
    let mut shop = Shop::new();
    shop.runner().paused.push(0);
    let command = Command::shell("head -c 1000000 /dev/zero; exit 5").null_stderr().pipe_grace(SOON);
    let child = shop.spawn(command, 0);
    let quiet = Instant::now();
    while quiet.elapsed() < 3 * SOON {
        shop.reactor.turn(Some(SOON)).expect("the loop runs");
    }
    assert!(shop.runner().run(0).out.is_empty() && shop.runner().run(0).exit.is_none());
    shop.ask(move |_, io| {
        let out = io.pipe(child, Pipe::Stdout).expect("it is there");
        io.resume(out);
    });
    let run = shop.end_of(0);
    assert_eq!((run.out.len(), code(&run)), (1_000_000, Some(5)));
}

#[test]
fn what_is_in_a_paused_pipe_outlives_the_child_and_its_grace() {
    let mut shop = Shop::new();
    shop.runner().paused.push(0);
    let command = Command::shell("echo last words").null_stderr().pipe_grace(Duration::ZERO);
    let child = shop.spawn(command, 0);
    let quiet = Instant::now();
    while quiet.elapsed() < 3 * SOON {
        shop.reactor.turn(Some(SOON)).expect("the loop runs");
    }
    assert!(shop.runner().run(0).out.is_empty() && shop.runner().run(0).exit.is_none());
    shop.ask(move |_, io| io.resume(io.pipe(child, Pipe::Stdout).expect("it is there")));
    let run = shop.end_of(0);
    assert_eq!(&run.out[..], b"last words\n");
}

// docs/guarantees.md, 33.
#[test]
fn a_grandchild_that_holds_the_pipe_is_given_a_grace_and_no_more() {
    let mut shop = Shop::new();
    for holder in ["sleep 1000", "yes"] {
        let line = format!("echo start; {holder} & echo $! >&2; exit 6");
        let command = Command::shell(line).pipe_grace(SOON);
        shop.spawn(command, 0);
        let run = shop.end_of(0);
        assert_eq!(code(&run), Some(6), "{holder}");
        let pid = String::from_utf8_lossy(&run.err).trim().to_owned();
        // It is no child of ours any more, and lives on.
        if holder != "yes" {
            assert!(
                std::process::Command::new("kill").arg("-9").arg(&pid).status().is_ok_and(|s| s.success())
            );
        }
        shop.expect_baseline();
    }
}

// docs/guarantees.md, 30, 31.
#[test]
fn a_child_over_its_time_is_terminated_and_says_so() {
    let mut shop = Shop::new();
    let run = shop.run(Command::new("sleep").arg("1000").timeout(SOON));
    assert_eq!((signal(&run), run.exit.map(|exit| exit.cause)), (Some(15), Some(ExitCause::TimedOut)));
    let run = shop.run(Command::new("yes").timeout(SOON));
    assert_eq!((signal(&run), run.exit.map(|exit| exit.cause)), (Some(15), Some(ExitCause::TimedOut)));
    assert!(run.out.len() > 10_000, "it was read meanwhile");
    shop.expect_baseline();
}

#[test]
fn one_that_ignores_that_is_killed_and_what_it_started_too() {
    let mut shop = Shop::new();
    let line = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.01; done";
    let child = shop.spawn(Command::shell(line).kill_after(SOON), 0);
    shop.until("it says its child's number", |shop| shop.runner().run(0).out.ends_with(b"\n"));
    assert!(shop.ask(move |_, io| io.terminate(child)));
    let run = shop.end_of(0);
    assert_eq!((signal(&run), run.exit.map(|exit| exit.cause)), (Some(9), Some(ExitCause::Killed)));
    let grandchild = String::from_utf8_lossy(&run.out).into_owned();
    eventually("the grandchild is gone", || is_gone(&grandchild));
}

// docs/guarantees.md, 32.
#[test]
fn terminating_reaches_the_group_even_after_its_leader_has_exited() {
    let mut shop = Shop::new();
    let line = "(trap '' TERM; echo ready; while :; do sleep 0.01; done) & echo $!; wait";
    let id = shop.spawn(Command::shell(line).kill_after(SOON).pipe_grace(SOON), 0);
    shop.until("both are there", |shop| {
        shop.runner().run(0).out.iter().filter(|b| **b == b'\n').count() == 2
    });
    assert!(shop.ask(move |_, io| io.terminate(id) && io.terminate(id)));
    let run = shop.end_of(0);
    assert_eq!((signal(&run), run.exit.map(|exit| exit.cause)), (Some(15), Some(ExitCause::Killed)));
    let text = String::from_utf8_lossy(&run.out).into_owned();
    let grandchild = text.lines().find(|line| *line != "ready").expect("its number").to_owned();
    eventually("the grandchild is gone", || {
        shop.reactor.turn(Some(SOON)).expect("the loop runs");
        is_gone(&grandchild)
    });
    shop.expect_baseline();
    assert!(!shop.ask(move |_, io| io.terminate(id) || io.kill(id)), "it is gone");
}

// docs/guarantees.md, 35.
#[test]
fn what_cannot_be_started_is_told_with_the_systems_reason() {
    let mut shop = Shop::new();
    let run = shop.run(Command::new("/nonexistent/program"));
    assert_eq!(run.failure, Some(io::ErrorKind::NotFound));
    let run = shop.run(Command::new("/etc/passwd"));
    assert_eq!(run.failure, Some(io::ErrorKind::PermissionDenied));
    let run = shop.run(Command::new("true").current_dir("/nonexistent"));
    assert_eq!(run.failure, Some(io::ErrorKind::NotFound));
    // docs/guarantees.md, 36.
    let run = shop.run(Command::new("true").arg("x".repeat(10_000_000)));
    assert_eq!(run.failure, Some(io::ErrorKind::ArgumentListTooLong));
    let run = shop.run(Command::shell("exit 127"));
    assert_eq!(code(&run), Some(127));
    let run = shop.run(Command::shell("kill -SEGV $$"));
    assert_eq!(signal(&run), Some(11));
    shop.expect_baseline();
    assert_eq!(shop.reactor.stats().children_failed, 4);
}

#[test]
fn a_child_that_is_ended_before_it_began_is_never_started() {
    let mut shop = Shop::new();
    shop.ask(|_, io| {
        for tag in 0..2 {
            let child = io.spawn(Command::new("true"), tag).expect("there is room");
            assert!(if tag == 0 { io.terminate(child) } else { io.kill(child) });
        }
    });
    assert_eq!(shop.end_of(0).failure, Some(io::ErrorKind::ConnectionAborted));
    assert_eq!(shop.end_of(1).failure, Some(io::ErrorKind::ConnectionAborted));
    shop.expect_baseline();
    assert_eq!(shop.reactor.stats().children_started, 0);
}

#[test]
fn a_pipe_that_the_handler_ends_is_closed_and_the_child_notices() {
    let mut shop = Shop::new();
    let id = shop.spawn(Command::new("yes"), 0);
    shop.until("it writes", |shop| !shop.runner().run(0).out.is_empty());
    shop.ask(move |_, io| io.close(io.pipe(id, Pipe::Stdout).expect("it is there")));
    let run = shop.end_of(0);
    assert_eq!(signal(&run), Some(13), "SIGPIPE, as programs expect");
    assert!(run.ends.iter().any(|end| end == "Stdout: closed by the handler"), "{:?}", run.ends);
}

#[test]
fn children_are_limited_and_their_pipes_are_no_connections() {
    let mut shop = Shop::with(Runner::default(), Config { max_children: 2, ..Config::default() });
    let answers = shop.ask(|_, io| {
        [0, 1, 2]
            .map(|tag| io.spawn(Command::new("cat").piped_stdin(), tag).map_err(|error| error.to_string()))
    });
    assert!(answers[0].is_ok() && answers[1].is_ok());
    let refusal = answers[2].as_ref().expect_err("one too many");
    assert!(refusal.contains("child processes") && refusal.contains('2'), "{refusal}");
    let [first, second] = [&answers[0], &answers[1]].map(|id| *id.as_ref().expect("there was room"));
    shop.ask(move |_, io| {
        for child in [first, second] {
            io.finish(io.pipe(child, Pipe::Stdin).expect("it is piped"));
        }
    });
    for tag in 0..2 {
        assert_eq!(code(&shop.end_of(tag)), Some(0));
    }
    shop.expect_baseline();

    // Clients leave them room.
    let config = Config { max_connections: Some(1), ..Config::default() };
    let mut shop = Shop::with(Runner::default(), config);
    assert_eq!(code(&shop.run(Command::new("true"))), Some(0));
    shop.expect_baseline();
}

#[test]
fn a_panic_in_the_callback_of_a_pipe_ends_that_pipe_and_no_child() {
    let mut shop = Shop::new();
    shop.runner().panics_at = Some(0);
    let run = shop.run(Command::shell("echo lost; exit 7"));
    assert_eq!((run.out.len(), run.ends.len()), (0, 0), "it has no session");
    // With nobody to read, writing raises SIGPIPE, if it comes to that.
    assert!(code(&run) == Some(7) || signal(&run) == Some(13), "{run:?}");
    shop.expect_baseline();
}

// docs/guarantees.md, 37.
#[test]
fn a_child_inherits_its_three_streams_and_nothing_else() {
    alone("children::a_child_inherits_its_three_streams_and_nothing_else", || {
        let file = fs::File::open("/dev/null").expect("it is there");
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("a flag of descriptors");
        let mut shop = Shop::new();
        // Of the numbers, `ls` has one open for the directory itself.
        let run = shop.run(Command::new("ls").arg("/proc/self/fd").piped_stdin());
        let text = String::from_utf8_lossy(&run.out).into_owned();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
        drop(file);
    });
}

#[test]
fn a_hundred_children_leave_no_descriptor_and_no_zombie() {
    alone("children::a_hundred_children_leave_no_descriptor_and_no_zombie", || {
        let mut shop = Shop::new();
        shop.run(Command::new("true"));
        let before = open_files();
        for tag in 1..=100 {
            let id = shop.spawn(Command::shell("cat; exit 3").piped_stdin(), tag);
            shop.ask(move |_, io| io.pipe(id, Pipe::Stdin).map(|stdin| io.finish(stdin)));
        }
        for tag in 1..=100 {
            assert_eq!(code(&shop.end_of(tag)), Some(3));
        }
        shop.expect_baseline();
        assert_eq!(open_files(), before);
        // ECHILD: there is nobody to wait for.
        let waited = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(waited.expect_err("no child is left"), rustix::io::Errno::CHILD);
    });
}

// The children of the host program are its own.
#[test]
fn no_child_of_the_program_itself_is_reaped() {
    let mut own = std::process::Command::new("true").spawn().expect("there is such a program");
    let mut shop = Shop::new();
    for _ in 0..10 {
        shop.run(Command::new("true"));
    }
    assert!(own.wait().expect("it is ours to wait for").success());
}

#[test]
fn a_child_that_somebody_else_has_reaped_is_told_of_without_a_status() {
    alone("children::a_child_that_somebody_else_has_reaped_is_told_of_without_a_status", || {
        let mut shop = Shop::new();
        let id = shop.spawn(Command::new("cat").piped_stdin(), 0);
        shop.ask(move |_, io| io.pipe(id, Pipe::Stdin).map(|stdin| io.finish(stdin)));
        // Before the reactor turns again.
        rustix::process::wait(rustix::process::WaitOptions::empty()).expect("it is there");
        let run = shop.end_of(0);
        assert_eq!(run.exit.map(|exit| exit.status), Some(None));
        shop.expect_baseline();
    });
}

#[test]
fn a_shutdown_waits_for_a_child_until_its_deadline() {
    let mut shop = Shop::new();
    shop.spawn(Command::shell("read line; echo $line; exit 8").piped_stdin(), 0);
    let handle = shop.reactor.handle(&shop.service);
    handle.shutdown(PATIENCE);
    for _ in 0..5 {
        assert!(!shop.reactor.turn(Some(Duration::ZERO)).expect("the loop runs").finished);
    }
    shop.ask(|runner, io| {
        let id = runner.runs.len();
        assert_eq!((id, io.children()), (1, 1));
    });
    handle.shutdown(SOON);
    while !shop.reactor.turn(None).expect("the loop runs").finished {}
    let run = shop.runner().runs.remove(&0).expect("it was told");
    assert_eq!((signal(&run), run.exit.map(|exit| exit.cause)), (Some(9), Some(ExitCause::Shutdown)));
}

#[test]
fn dropping_the_reactor_ends_and_reaps_its_children() {
    alone("children::dropping_the_reactor_ends_and_reaps_its_children", || {
        let mut shop = Shop::new();
        for tag in 0..3 {
            shop.spawn(Command::new("sleep").arg("1000"), tag);
        }
        drop(shop);
        let waited = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(waited.expect_err("no child is left"), rustix::io::Errno::CHILD);
    });
}

#[test]
fn a_panic_that_drops_the_reactor_ends_and_reaps_its_children() {
    let pid = std::sync::Mutex::new(String::new());
    let panics = std::panic::AssertUnwindSafe(|| {
        let mut shop = Shop::new();
        shop.spawn(Command::shell("echo $$; exec sleep 1000"), 0);
        shop.until("it says its number", |shop| shop.runner().run(0).out.ends_with(b"\n"));
        *pid.lock().expect("nobody else has it") =
            String::from_utf8_lossy(&shop.runner().run(0).out).into_owned();
        std::panic::resume_unwind(Box::new("the program's own"));
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    let pid = pid.lock().expect("nobody else has it").clone();
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists(), "{pid}");
}

/// Beside children, others are served: it is one loop.
#[test]
fn an_echo_beside_running_children_is_served() {
    let mut shop = Shop::new();
    let echo = shop.reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    let listener = shop.reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let at = shop.reactor.local(listener).expect("it is open").clone();
    for tag in 0..8 {
        shop.spawn(Command::new("yes").timeout(PATIENCE), tag);
    }
    let client = std::thread::spawn(move || {
        let client = Client::connect(&at);
        for number in 0..200 {
            let text = format!("{number}\n");
            client.send(&text);
            client.expect(&text);
        }
    });
    shop.until("the client is served", |_| client.is_finished());
    client.join().expect("every echo came");
    shop.ask(|_, io| io.stop());
    for tag in 0..8 {
        assert_eq!(signal(&shop.end_of(tag)), Some(9));
    }
}

// docs/guarantees.md, 39.
#[test]
fn many_children_a_few_at_a_time_leave_nothing_and_an_echo_beside_them_is_served() {
    alone("children::many_children_a_few_at_a_time_leave_nothing_and_an_echo_beside_them_is_served", || {
        let mut shop = Shop::with(Runner::default(), Config { max_children: 16, ..Config::default() });
        let echo = shop.reactor.add(Echo::new(), Echo::limits()).expect("good limits");
        let listener = shop.reactor.listen(&echo, &listen_anywhere()).expect("a free port");
        let at = shop.reactor.local(listener).expect("it is open").clone();
        shop.run(Command::new("true"));
        let before = open_files();
        let client = std::thread::spawn(move || {
            let client = Client::connect(&at);
            for _ in 0..200 {
                client.send("hello\n");
                client.expect("hello\n");
            }
        });
        let command = |tag: u64| (Command::shell("echo $0; exit 3").arg(tag.to_string()), tag);
        shop.runner().waiting = (1..=200).map(command).collect();
        shop.ask(|runner, io| (0..16).for_each(|_| runner.start_waiting(io)));
        let mut last = 200;
        // There are always more, until all echoes have come.
        shop.until("the client is served", |shop| {
            while shop.runner().waiting.len() < 32 {
                last += 1;
                shop.runner().waiting.push_back(command(last));
            }
            client.is_finished()
        });
        client.join().expect("every echo came");
        shop.until("all have ended", |shop| {
            let queued = shop.runner().waiting.is_empty();
            queued && shop.ask(|_, io| io.children()) == 0
        });
        for tag in 1..=last {
            let run = shop.end_of(tag);
            assert_eq!((code(&run), &run.out[..]), (Some(3), format!("{tag}\n").as_bytes()));
        }
        shop.expect_baseline();
        assert_eq!(open_files(), before);
        let waited = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert_eq!(waited.expect_err("no child is left"), rustix::io::Errno::CHILD);
    });
}

#[test]
fn an_id_of_a_child_is_good_for_one_life() {
    let mut shop = Shop::new();
    let old = shop.spawn(Command::new("true"), 0);
    shop.end_of(0);
    shop.expect_baseline();
    let new = shop.spawn(Command::new("sleep").arg("1000"), 1);
    assert_ne!(old, new);
    let touched = shop.ask(move |_, io| (io.kill(old), io.pipe(old, Pipe::Stdout).is_some()));
    assert_eq!(touched, (false, false));
    let pipe: Option<ConnId> = shop.ask(move |_, io| io.pipe(new, Pipe::Stdout));
    assert!(pipe.is_some());
    assert!(shop.ask(move |_, io| io.kill(new)));
    assert_eq!(signal(&shop.end_of(1)), Some(9));
}
