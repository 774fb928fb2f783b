//! Children that get out of reach: out of their group, out of the knowledge of
//! their parent, and what they leave behind.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serve_forever::process::{Command, Exit, ExitCause};
use serve_forever::{BoxError, ChildId, Config, Io, Limits, Origin, Reactor, Service, StreamHandler};

use crate::util::{PATIENCE, SOON, role, run_self};
#[cfg(feature = "signals")]
use crate::util::{alone, eventually};

/// Runs programs one by one, and keeps what the last one wrote.
#[derive(Debug, Default)]
struct Jobs {
    out: Vec<u8>,
    exit: Option<Exit>,
    failure: Option<String>,
}

impl StreamHandler for Jobs {
    type Session = ();

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        Ok(())
    }

    fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        self.out.extend_from_slice(&input.split());
        Ok(())
    }

    fn child_exited(&mut self, _: &mut Io<'_>, _: ChildId, _: u64, exit: &Exit) {
        self.exit = Some(*exit);
    }

    fn spawn_failed(&mut self, _: &mut Io<'_>, _: ChildId, _: u64, error: &io::Error) {
        self.failure = Some(error.to_string());
    }
}

struct Shop {
    reactor: Reactor,
    jobs: Service<Jobs>,
}

impl Shop {
    fn new() -> Self {
        let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
        let jobs = reactor.add(Jobs::default(), Limits::default()).expect("good limits");
        Self { reactor, jobs }
    }

    fn ask<R: Send + 'static>(
        &mut self,
        question: impl FnOnce(&mut Jobs, &mut Io<'_>) -> R + Send + 'static,
    ) -> R {
        let (tell, told) = std::sync::mpsc::channel();
        let call = move |jobs: &mut Jobs, io: &mut Io<'_>| {
            tell.send(question(jobs, io)).expect("the test waits for it");
        };
        self.reactor.handle(&self.jobs).call(call).expect("there is room");
        loop {
            self.reactor.turn(Some(PATIENCE)).expect("the loop runs");
            if let Ok(answer) = told.try_recv() {
                return answer;
            }
        }
    }

    fn spawn(&mut self, command: Command) -> ChildId {
        *self.reactor.get_mut(&self.jobs) = Jobs::default();
        self.ask(move |_, io| io.spawn(command, 0)).expect("there is room")
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Jobs) -> bool) {
        let began = Instant::now();
        while !holds(self.reactor.get(&self.jobs)) {
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
            self.reactor.turn(Some(SOON)).expect("the loop runs");
        }
    }

    /// What it has written, once that is a line.
    #[track_caller]
    fn line(&mut self) -> String {
        self.until("it has written a line", |jobs| jobs.out.ends_with(b"\n"));
        String::from_utf8_lossy(&self.reactor.get(&self.jobs).out).trim().to_owned()
    }

    #[track_caller]
    fn exit(&mut self) -> Exit {
        self.until("it has ended", |jobs| jobs.exit.is_some());
        self.reactor.get(&self.jobs).exit.expect("it has just been there")
    }
}

fn is_gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')))
}

/// This test once more, as a program that goes over into the group of its
/// parent, says its number, and stays.
fn leaver(test: &str) -> Command {
    if role().as_deref() == Some("leaver") {
        let parent = rustix::process::getppid().expect("it has one");
        let group = rustix::process::getpgid(Some(parent)).expect("it has one");
        rustix::process::setpgid(None, Some(group)).expect("it is of the same session");
        println!("\nleft {}", rustix::process::getpid().as_raw_nonzero());
        std::thread::sleep(PATIENCE);
        std::process::exit(0);
    }
    let program = run_self(test, "leaver", &[]);
    let mut command = Command::new(program.get_program()).args(program.get_args()).kill_after(SOON);
    for (name, value) in program.get_envs() {
        command = command.env(name, value.expect("it is set"));
    }
    command
}

/// The number of a leaver that has left.
fn left(shop: &mut Shop) -> String {
    shop.until("it has left", |jobs| String::from_utf8_lossy(&jobs.out).contains("left "));
    shop.line().rsplit(' ').next().expect("its number").to_owned()
}

#[test]
fn one_that_leaves_its_group_is_ended_all_the_same() {
    let command = leaver("out_of_reach::one_that_leaves_its_group_is_ended_all_the_same");
    let mut shop = Shop::new();
    let how = |exit: Exit| (exit.status.and_then(|status| status.signal()), exit.cause);

    let child = shop.spawn(command.clone());
    left(&mut shop);
    assert!(shop.ask(move |_, io| io.kill(child)));
    assert_eq!(how(shop.exit()), (Some(9), ExitCause::Killed));

    let child = shop.spawn(command.clone());
    left(&mut shop);
    assert!(shop.ask(move |_, io| io.terminate(child)));
    assert_eq!(how(shop.exit()), (Some(15), ExitCause::Killed));

    shop.spawn(command.clone());
    left(&mut shop);
    shop.reactor.shutdown(Duration::ZERO);
    while !shop.reactor.turn(None).expect("the loop runs").finished {}
    assert_eq!(how(shop.exit()), (Some(9), ExitCause::Shutdown));

    shop.spawn(command);
    let pid = left(&mut shop);
    drop(shop);
    assert!(is_gone(&pid));
}

#[test]
fn one_that_leaves_its_group_has_its_time_and_no_more() {
    let command = leaver("out_of_reach::one_that_leaves_its_group_has_its_time_and_no_more");
    let mut shop = Shop::new();
    // Twice that, and it had been told before it has left.
    let mut time = Duration::from_secs(1);
    loop {
        shop.spawn(command.clone().timeout(time));
        let exit = shop.exit();
        let signal = exit.status.and_then(|status| status.signal());
        assert_eq!((signal, exit.cause), (Some(15), ExitCause::TimedOut));
        if String::from_utf8_lossy(&shop.reactor.get(&shop.jobs).out).contains("left ") {
            break;
        }
        time *= 2;
    }
}

// Its number may be another's, and so may that of its group.
#[test]
fn the_group_of_a_child_that_somebody_else_has_waited_for_gets_no_signal() {
    let mut shop = Shop::new();
    let line = "sleep 1000 & echo $$ $!; exec sleep 1000";
    let child = shop.spawn(Command::shell(line).pipe_grace(PATIENCE));
    let numbers = shop.line();
    let (leader, member) = numbers.split_once(' ').expect("two numbers");
    let [leader, member] =
        [leader, member].map(|pid| Pid::from_raw(pid.parse().expect("a number")).expect("not 0"));
    rustix::process::kill_process(leader, Signal::TERM).expect("it is there");
    let waited = rustix::process::waitid(WaitId::Pid(leader), WaitIdOptions::EXITED);
    assert!(waited.expect("it is ours").is_some());
    assert!(shop.ask(move |_, io| io.kill(child)));
    // That call's turn has carried it out, or the next one does.
    shop.ask(|_, _| ());
    // SIGKILL is instantaneous for a signal that is sent to oneself alone; for
    // another the process has to be asked for until it would have ended.
    for _ in 0..50 {
        assert!(!is_gone(&member.as_raw_nonzero().to_string()), "it was signalled");
        std::thread::sleep(Duration::from_millis(2));
    }
    rustix::process::kill_process(member, Signal::KILL).expect("it is there");
    assert_eq!(shop.exit().status, None);
}

/// Runs a test with SIGCHLD ignored, as it is inherited.
#[track_caller]
fn with_sigchld_ignored(test: &str, body: impl FnOnce()) {
    if role().as_deref() == Some(test) {
        return body();
    }
    // Of a shell's `trap '' CHLD` some shells hand nothing on.
    let ignoring = ["env", "--ignore-signal=CHLD"];
    let can = std::process::Command::new(ignoring[0]).args([ignoring[1], "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return;
    }
    let output = run_self(test, test, &ignoring).output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn while_sigchld_is_ignored_nobody_knows_how_a_child_ended_and_it_is_told_of_all_the_same() {
    let test = "out_of_reach::while_sigchld_is_ignored_nobody_knows_how_a_child_ended_and_it_is_told_of_all_the_same";
    with_sigchld_ignored(test, || {
        let mut shop = Shop::new();
        for line in ["echo 1; exit 3", "kill -9 $$"] {
            shop.spawn(Command::shell(line));
            assert_eq!(shop.exit().status, None);
        }
        assert_eq!(shop.ask(|_, io| io.children()), 0);
        // The standard library waits for one that could not become the program.
        shop.spawn(Command::new("no-such-program").env("PATH", "/none"));
        shop.until("it is told", |jobs| jobs.failure.is_some());
        shop.spawn(Command::new("sleep").arg("1000"));
        drop(shop);
    });
}

#[cfg(feature = "signals")]
#[test]
fn who_watches_for_orphans_knows_how_a_child_ended_though_sigchld_was_ignored() {
    let test = "out_of_reach::who_watches_for_orphans_knows_how_a_child_ended_though_sigchld_was_ignored";
    with_sigchld_ignored(test, || {
        let mut shop = Shop::new();
        serve_forever::Orphans::watch(&mut shop.reactor).expect("descriptors");
        shop.spawn(Command::shell("exit 3"));
        assert_eq!(shop.exit().status.and_then(|status| status.code()), Some(3));
        // And what it starts ignores nothing.
        shop.spawn(Command::shell("grep SigIgn /proc/self/status"));
        let mask = shop.line();
        let mask = u64::from_str_radix(mask.rsplit('\t').next().expect("a mask"), 16).expect("a mask");
        assert_eq!(mask & 1 << 16, 0);
    });
}

#[cfg(all(feature = "signals", target_os = "linux"))]
#[test]
fn what_children_leave_behind_is_reaped_where_it_is_ours_and_nothing_else() {
    alone("out_of_reach::what_children_leave_behind_is_reaped_where_it_is_ours_and_nothing_else", || {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("Linux can");
        let mut shop = Shop::new();
        let orphans = serve_forever::Orphans::watch(&mut shop.reactor).expect("descriptors");
        for _ in 0..20 {
            // In its group, and in one of its own.
            shop.spawn(Command::shell("sleep 0.01 & setsid sleep 0.01 & exit 5"));
            assert_eq!(shop.exit().status.and_then(|status| status.code()), Some(5));
        }
        let began = Instant::now();
        while shop.reactor.get(&orphans).reaped() < 40 {
            assert!(began.elapsed() < PATIENCE, "{:?}", shop.reactor.get(&orphans));
            shop.reactor.turn(Some(SOON)).expect("the loop runs");
        }
        let no_child = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);
        eventually("no child is left", || {
            rustix::process::waitid(WaitId::All, no_child).err() == Some(rustix::io::Errno::CHILD)
        });
        assert_eq!(shop.ask(|_, io| io.child_pids().count()), 0);
    });
}
