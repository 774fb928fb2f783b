//! Holds the tables of README.md against the code. (Its example is compiled
//! as a doctest of the library.)

use std::fmt::Display;
use std::time::Duration;

use serve_forever::{Config, DRAIN, Limits, Overflow};

const README: &str = include_str!("../README.md");

/// The table has this value for this name.
#[track_caller]
fn assert_says(name: &str, value: impl Display) {
    let cells = format!("| `{name}` | {value} |");
    assert!(README.contains(&cells), "README.md does not say {cells}");
}

fn bytes(count: usize) -> String {
    if count >= 1 << 20 { format!("{} MiB", count >> 20) } else { format!("{} KiB", count >> 10) }
}

fn count(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn time(period: impl Into<Option<Duration>>) -> String {
    let period = period.into().expect("the table has no word for never");
    if period.subsec_millis() == 0 {
        format!("{} s", period.as_secs())
    } else {
        format!("{} ms", period.as_millis())
    }
}

// Taken apart without `..`: a new field has to be told of here.

#[test]
fn the_limits_are_those_of_the_table() {
    let Limits {
        max_connections,
        read_budget,
        max_input,
        connect,
        idle,
        first_frame,
        frame,
        write_stall,
        linger,
        low_mark,
        high_mark,
        hard_mark,
        overflow,
        max_datagram,
        datagrams_per_turn,
        max_datagrams,
    } = Limits::default();
    assert_eq!(max_connections, usize::MAX);
    assert_says("Limits::max_connections", "none beneath that");
    assert_says("Limits::read_budget", bytes(read_budget));
    assert_says("Limits::max_input", bytes(max_input));
    assert_says("Limits::connect", time(connect));
    assert_says("Limits::idle", time(idle));
    assert_says("Limits::first_frame", time(first_frame));
    assert_says("Limits::frame", time(frame));
    assert_says("Limits::write_stall", time(write_stall));
    assert_says("Limits::linger", time(linger));
    assert_says("Limits::low_mark", bytes(low_mark));
    assert_says("Limits::high_mark", bytes(high_mark));
    assert_says("Limits::hard_mark", bytes(hard_mark));
    assert_eq!(overflow, Overflow::Close);
    assert_says("Limits::overflow", "the connection ends");
    assert_says("Limits::max_datagram", count(max_datagram));
    assert_says("Limits::datagrams_per_turn", count(datagrams_per_turn));
    assert_says("Limits::max_datagrams", count(max_datagrams));
    assert_says("DRAIN", time(DRAIN));
}

#[test]
fn the_configuration_is_that_of_the_table() {
    let Config {
        max_connections,
        max_listeners,
        max_sockets,
        accepts_per_turn,
        accept_retry,
        events_per_turn,
        read_buffer,
        spare_output,
        max_calls,
        max_timers,
        max_groups,
        max_children,
        max_groups_per_connection,
        slow_callback,
        catch_panics,
    } = Config::default();
    assert_eq!(max_connections, None);
    assert_says("Config::max_connections", "10,000, or half of the fd limit");
    assert_says("Config::max_listeners", count(max_listeners));
    assert_says("Config::max_sockets", count(max_sockets));
    assert_says("Config::accepts_per_turn", count(accepts_per_turn));
    assert_says("Config::accept_retry", time(accept_retry));
    assert_says("Config::events_per_turn", count(events_per_turn));
    assert_says("Config::read_buffer", bytes(read_buffer));
    assert_says("Config::spare_output", bytes(spare_output));
    assert_says("Config::max_calls", count(max_calls));
    assert_says("Config::max_timers", count(max_timers));
    assert_says("Config::max_groups", count(max_groups));
    assert_says("Config::max_groups_per_connection", count(max_groups_per_connection));
    assert_says("Config::max_children", count(max_children));
    assert_says("Config::slow_callback", time(slow_callback));
    assert!(catch_panics);
    assert_says("Config::catch_panics", "on");
}
