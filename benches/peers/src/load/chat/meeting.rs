//! Waiting until everybody is a member: that a connection stands does not say
//! that the server has taken it in.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::super::{patience, unless_blocked};
use super::script::LINE;
use crate::Result;

/// Between two calls.
const PAUSE: Duration = Duration::from_millis(5);

/// The first member calls until every other has heard it, then says that the
/// meeting begins, and waits until everybody has heard that.
///
/// # Errors
///
/// Somebody does not hear it in time, or hears something else.
pub(in crate::load) fn await_everybody(members: &mut [TcpStream]) -> Result<()> {
    let [caller, others @ ..] = members else { return Ok(()) };
    let mut heard = vec![Vec::new(); others.len()];
    let until = Instant::now() + patience::LIMIT;
    let mut calls = 0;
    while heard.iter().any(Vec::is_empty) {
        say(caller, &call(calls))?;
        calls += 1;
        sleep(PAUSE);
        hear(others, &mut heard, until)?;
        if unless_blocked(caller.read(&mut [0; LINE]))?.is_some() {
            return Err("the first member heard itself, or was closed".into());
        }
    }
    let end = call(usize::MAX);
    say(caller, &end)?;
    while heard.iter().any(|heard| !heard.ends_with(&end)) {
        hear(others, &mut heard, until)?;
    }
    for (index, heard) in heard.iter().enumerate() {
        // From the first that it heard on, it must have heard all.
        let count = heard.len() / LINE - 1;
        let all: Vec<u8> =
            (calls.saturating_sub(count)..calls).flat_map(call).chain(end.iter().copied()).collect();
        if *heard != all {
            return Err(format!("member {} did not hear every call once and in order", index + 1).into());
        }
    }
    Ok(())
}

fn call(number: usize) -> Vec<u8> {
    let mut line = format!("call {number:020} ").into_bytes();
    line.resize(LINE - 1, b'-');
    line.push(b'\n');
    line
}

fn say(caller: &mut TcpStream, line: &[u8]) -> Result<()> {
    if caller.write(line)? == line.len() { Ok(()) } else { Err("a line did not fit into a socket".into()) }
}

fn hear(others: &mut [TcpStream], heard: &mut [Vec<u8>], until: Instant) -> Result<()> {
    let mut buffer = [0; 4096];
    for (index, (member, heard)) in others.iter_mut().zip(heard).enumerate() {
        let member_error = |error: &dyn std::fmt::Display| format!("member {}: {error}", index + 1);
        while let Some(count) =
            unless_blocked(member.read(&mut buffer)).map_err(|error| member_error(&error))?
        {
            if count == 0 {
                return Err(member_error(&"it was closed").into());
            }
            heard.extend_from_slice(&buffer[..count]);
        }
    }
    if Instant::now() < until { Ok(()) } else { Err("not everybody heard the first member in time".into()) }
}
