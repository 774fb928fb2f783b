//! The memory of a line to members who do not read: how far the server grows
//! by it. Then they read, and each must have all of it.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::Instant;

use mio::net::TcpStream;

use super::chat::meeting;
use super::connect::Connector;
use super::patience::Patience;
use super::{SETTLE, Target, unless_blocked};
use crate::Result;

/// Who gets what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broadcast {
    /// All of them, the sender included.
    pub(crate) members: usize,
    /// Bytes in the line.
    pub(crate) size: usize,
}

/// By how many resident bytes the server has grown when everybody else has a
/// part of the line in the socket, and the server has nothing left to do.
///
/// # Errors
///
/// A member is closed, or does not get the line as it was said.
pub(crate) fn run(broadcast: Broadcast, target: &Target) -> Result<f64> {
    let mut members = Connector::new(target.address).narrow().connect_many(broadcast.members)?;
    meeting::await_everybody(&mut members)?;
    settle(target)?;
    let before = target.process.resident()?;
    let line = line(broadcast.size);
    let [sender, others @ ..] = &mut members[..] else { return Err("nobody is there".into()) };
    say(sender, &line)?;
    await_all(others, |member| Ok(unless_blocked(member.peek(&mut [0]))? == Some(1)))?;
    settle(target)?;
    let after = target.process.resident()?;
    hear(others, &line)?;
    if unless_blocked(sender.read(&mut [0]))?.is_some() {
        return Err("the sender heard itself, or was closed".into());
    }
    Ok(after as f64 - before as f64)
}

/// Letters, no two neighbouring stretches of which are the same.
fn line(size: usize) -> Vec<u8> {
    let letter = |place: usize| b'a' + ((place * place / 7 + place) % 26) as u8;
    let mut line: Vec<u8> = (1..size).map(letter).collect();
    line.push(b'\n');
    line
}

/// Waits until the server does nothing.
fn settle(target: &Target) -> Result<()> {
    let mut patience = Patience::new();
    let mut before = target.process.cpu()?;
    loop {
        sleep(SETTLE);
        let now = target.process.cpu()?;
        if now.since(before).used < SETTLE / 100 {
            return Ok(());
        }
        before = now;
        patience.check(0, Instant::now())?;
    }
}

fn say(sender: &mut TcpStream, mut line: &[u8]) -> Result<()> {
    let mut patience = Patience::new();
    while !line.is_empty() {
        let count = unless_blocked(sender.write(line))?.unwrap_or(0);
        line = &line[count..];
        patience.check(line.len() as u64, Instant::now())?;
    }
    Ok(())
}

/// Asks each until all say yes.
fn await_all(members: &mut [TcpStream], mut ask: impl FnMut(&TcpStream) -> Result<bool>) -> Result<()> {
    let mut patience = Patience::new();
    let mut done = 0;
    while let Some(member) = members.get(done) {
        if ask(member)? {
            done += 1;
        } else {
            patience.check(done as u64, Instant::now())?;
            sleep(SETTLE / 20);
        }
    }
    Ok(())
}

/// Everybody reads, in turns, until each has the line; then nothing more.
fn hear(members: &mut [TcpStream], line: &[u8]) -> Result<()> {
    let mut heard = vec![0; members.len()];
    let mut patience = Patience::new();
    let mut buffer = vec![0; 64 << 10];
    while heard.iter().any(|heard| *heard < line.len()) {
        for (index, (member, heard)) in members.iter_mut().zip(&mut heard).enumerate() {
            let Some(count) = unless_blocked(member.read(&mut buffer))? else { continue };
            if count == 0 {
                return Err(format!("member {} was closed", index + 1).into());
            }
            let rest = &line[*heard..];
            if rest.len() < count || rest[..count] != buffer[..count] {
                return Err(format!("member {} heard what nobody said", index + 1).into());
            }
            *heard += count;
        }
        patience.check(heard.iter().sum::<usize>() as u64, Instant::now())?;
    }
    for member in members {
        if unless_blocked(member.read(&mut buffer))?.is_some() {
            return Err("a member heard what nobody said, or was closed".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::testing;

    #[test]
    fn a_server_that_only_echoes_is_no_chat() {
        let echo = testing::serve(|_, bytes| bytes.to_vec());
        let error = run(Broadcast { members: 2, size: 1000 }, &echo).expect_err("nobody else gets anything");
        assert!(error.to_string().contains("heard itself"), "{error}");
    }
}
