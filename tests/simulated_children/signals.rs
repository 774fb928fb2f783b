//! Time-outs, SIGTERM, SIGKILL, and what they reach.

use std::time::Duration;

use serve_forever::driver::sim::{Grandchild, Odds, Program, Weather};
use serve_forever::process::{Command, ExitCause, Pipe, Signal};

use super::jobs::*;

/// The signals that a process got, in seconds since the start.
fn signals(shop: &Shop) -> Vec<(u64, Signal)> {
    process(shop, 0).signals().map(|(at, signal)| (at.as_nanos() / 1_000_000_000, signal)).collect()
}

#[test]
fn a_child_may_run_for_a_day() {
    for (_, mut shop) in shops(0..10) {
        shop.net_mut().install("backup", Program::new().after(DAY));
        assert_eq!(how(run(&mut shop, Command::new("backup").timeout(2 * DAY))), exited(0));
        assert!(told_at(&shop) >= DAY && told_at(&shop) < DAY + SECOND);
    }
}

#[test]
fn a_time_out_goes_on_while_the_output_is_paused() {
    let mut shop = shop(Weather { buffer: 16, ..Weather::calm() });
    shop.net_mut().install("yes", Program::new().write_for_ever("y\n"));
    shop.handler().paused.push(0);
    let child = spawn(&mut shop, Command::new("yes").timeout(SECOND), 0);
    shop.run_for(60 * SECOND).expect("it keeps its promises");
    assert_eq!(
        process(&shop, 0).status().and_then(|it| std::os::unix::process::ExitStatusExt::signal(&it)),
        Some(15)
    );
    assert!(shop.recording().told().is_empty(), "what it wrote is not handed over yet");
    let (out, err) = (pipe(&mut shop, child, Pipe::Stdout), pipe(&mut shop, child, Pipe::Stderr));
    ask(&mut shop, move |_, io| [out, err].map(|pipe| io.resume(pipe)));
    assert_eq!(how(finish(&mut shop)).2, ExitCause::TimedOut);
    assert_eq!(shop.handler().runs[&0].out, b"y\ny\ny\ny\ny\ny\ny\ny\n");
}

#[test]
fn the_longest_times_are_never() {
    let mut shop = shop(Weather::calm());
    shop.net_mut().install("job", Program::new().after(DAY).leaving(Grandchild::living(DAY)));
    let command =
        Command::new("job").timeout(Duration::MAX).kill_after(Duration::MAX).pipe_grace(Duration::MAX);
    assert_eq!(how(run(&mut shop, command)), exited(0));
    assert!(told_at(&shop) >= 2 * DAY);
}
