//! `Names`: a subject that connects to a host by name for each line, and sends back
//! its greeting (feature `workers`).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::log::Life;
use super::subject::Subject;
use crate::driver::sim::{ClientId, Network, Rng, Script};
use crate::{BoxError, CloseReason, ConnId, Endpoint, Io, Limits, Origin, StreamHandler};

/// A service that connects by name for each line, to one host at a time for each
/// client; the first letter of the line selects the name. The reply is what the host
/// says, and a capital letter for how that ended.
///
/// Each connect is answered once, by a host that has the name, and in time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names;

/// The port of every host.
const PORT: u16 = 80;

/// The time for a lookup and all attempts.
const CONNECT: Duration = Duration::from_secs(10);

const MILLISECOND: Duration = Duration::from_millis(1);

/// The longest greeting, and its end.
const HEADROOM: usize = 64;

/// The host has said everything.
const WHOLE: u8 = b'E';
/// The connection to the host ended before.
const CUT: u8 = b'C';
/// There was no connection.
const FAILED: u8 = b'F';
/// There was no connection in time.
const TIMED_OUT: u8 = b'T';
/// There was no connection because of a shutdown.
const SHUT_DOWN: u8 = b'S';

/// The behaviour of the host at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It greets, and ends.
    Greets(IpAddr),
    /// It greets with half of its text, and resets.
    Resets(IpAddr),
    /// It never answers.
    IsSilent(IpAddr),
    /// Nobody is there.
    Nobody(IpAddr),
}

impl At {
    const fn ip(self) -> IpAddr {
        let (Self::Greets(ip) | Self::Resets(ip) | Self::IsSilent(ip) | Self::Nobody(ip)) = self;
        ip
    }

    fn endpoint(self) -> Endpoint {
        SocketAddr::new(self.ip(), PORT).into()
    }

    fn greeting(self) -> String {
        format!("this is {}", self.ip())
    }
}

const fn v4(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
}

const fn v6(number: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number))
}

/// A name, its addresses, and the time that a lookup takes.
type Named = (u8, Vec<At>, Duration);

/// A name that nobody knows.
const UNKNOWN: u8 = b'u';

/// All names that somebody knows, each a letter.
fn names() -> Vec<Named> {
    use At::{Greets, IsSilent, Nobody, Resets};
    vec![
        (b'a', vec![Greets(v4(1))], MILLISECOND),
        (b'b', vec![IsSilent(v4(2)), Nobody(v4(3)), Greets(v4(4))], 5 * MILLISECOND),
        (b'c', vec![Greets(v6(1)), Greets(v4(5)), Greets(v6(2))], MILLISECOND),
        (b'd', vec![Nobody(v4(6)), Nobody(v6(3))], MILLISECOND),
        (b'e', vec![Nobody(v4(7)), IsSilent(v6(4))], MILLISECOND),
        (b'g', Vec::new(), MILLISECOND),
        // Longer than there is time.
        (b'h', vec![Greets(v4(8))], 2 * CONNECT),
        (b'i', vec![Greets(v4(9)), IsSilent(v4(10))], CONNECT / 3),
        (b'r', vec![Resets(v4(11))], MILLISECOND),
    ]
}

impl Subject for Names {
    type Handler = NamesHandler;

    fn handler(&self) -> NamesHandler {
        NamesHandler::default()
    }

    fn limits(&self) -> Limits {
        Limits { connect: Some(CONNECT), ..Limits::default() }
    }

    fn has_workers(&self) -> bool {
        true
    }

    fn prepare(&self, net: &mut Network) {
        for (letter, hosts, takes) in names() {
            let addresses: Vec<IpAddr> = hosts.iter().map(|host| host.ip()).collect();
            net.name(&host_name(letter), &addresses, takes);
            for host in hosts {
                let says = host.greeting();
                let half = says[..says.len() / 2].to_owned();
                match host {
                    At::Greets(_) => net.host(&host.endpoint(), Script::new().send(says).finish()),
                    At::Resets(_) => {
                        net.host(&host.endpoint(), Script::new().send(half).after(MILLISECOND).reset());
                    }
                    At::IsSilent(_) => net.silent_host(&host.endpoint()),
                    At::Nobody(_) => {}
                }
            }
        }
    }

    /// Lines of one letter, and perhaps one without an end.
    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        let mut letters: Vec<u8> = names().iter().map(|(letter, ..)| *letter).collect();
        letters.push(UNKNOWN);
        // A connection costs more time than a line.
        let lines = (0..len.min(24).div_ceil(2)).map(|_| [letters[rng.size(0, letters.len() - 1)], b'\n']);
        let mut bytes: Vec<u8> = lines.flatten().collect();
        if rng.below(4) == 0 {
            bytes.pop();
        }
        bytes
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        let mut lines = seen.sent().split_inclusive(|byte| *byte == b'\n').filter(|line| line.len() == 2);
        let mut rest = seen.received();
        while let Some(end) = rest.iter().position(u8::is_ascii_uppercase) {
            let line =
                lines.next().ok_or_else(|| format!("client {client} got more replies than it sent lines"))?;
            check_reply(net, line[0], &rest[..end], rest[end])
                .map_err(|what| format!("client {client}: {what}"))?;
            rest = &rest[end + 1..];
        }
        if whole && (lines.next().is_some() || !rest.is_empty()) {
            return Err(format!("client {client} got no reply to one of its lines"));
        }
        Ok(())
    }

    fn check_handler(&self, handler: &NamesHandler, _: &[Life]) -> Result<(), String> {
        match handler.violations.first() {
            Some(what) => Err(what.clone()),
            None if handler.unanswered.is_empty() => Ok(()),
            None => Err(format!("{:?} were never answered", handler.unanswered)),
        }
    }

    fn headroom(&self) -> usize {
        HEADROOM
    }
}

fn host_name(letter: u8) -> String {
    format!("{}.test", char::from(letter))
}

/// Checks the reply to a line against what its name stands for.
fn check_reply(net: &Network, letter: u8, reply: &[u8], how: u8) -> Result<(), String> {
    let names = names();
    let named = names.iter().find(|(name, ..)| *name == letter);
    // The lookup of a name that nobody knows may take as long as any job.
    let (hosts, takes) = named.map_or((&[][..], Duration::MAX), |(_, hosts, takes)| (hosts, *takes));
    let speaks = |host: &&At| matches!(host, At::Greets(_) | At::Resets(_));
    let said = |host: &At| host.greeting().into_bytes();
    let greets = |host: &At| matches!(host, At::Greets(_)) && said(host) == reply;
    let is_in_time = takes < CONNECT;
    let faults = net.faults();
    let is_hindered = faults.jobs_lost + faults.jobs_panicked + faults.exhausted > 0;
    let was_stopped = faults.stopped > 0;
    let right = match how {
        WHOLE => (is_in_time || was_stopped) && hosts.iter().any(greets),
        CUT => {
            let resets = hosts.iter().any(|host| matches!(host, At::Resets(_)));
            (resets || was_stopped) && hosts.iter().filter(speaks).any(|host| said(host).starts_with(reply))
        }
        // A host that resets may do so before the connection is seen.
        FAILED => {
            reply.is_empty() && (!hosts.iter().any(|host| matches!(host, At::Greets(_))) || is_hindered)
        }
        TIMED_OUT => {
            let has_no_end = |host: &At| matches!(host, At::IsSilent(_));
            let is_silent = hosts.iter().any(has_no_end) && !hosts.iter().any(|host| speaks(&host));
            reply.is_empty() && (is_silent || !is_in_time || was_stopped || is_hindered)
        }
        SHUT_DOWN => reply.is_empty() || hosts.iter().any(|host| said(host).starts_with(reply)),
        _ => false,
    };
    if right {
        return Ok(());
    }
    let name = host_name(letter);
    Err(format!("{name} was answered with {}{}", reply.escape_ascii(), char::from(how)))
}

/// The handler of [`Names`].
#[derive(Debug, Default)]
pub struct NamesHandler {
    clients: BTreeMap<ConnId, Client>,
    /// The client of each connect that was not answered yet, by its tag.
    unanswered: BTreeMap<u64, ConnId>,
    next_tag: u64,
    is_shutting_down: bool,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
struct Client {
    /// The connection to a host.
    host: Option<ConnId>,
    /// True while its replies are above the high mark.
    is_full: bool,
}

/// A session of [`Names`].
#[derive(Debug)]
pub enum Party {
    /// A client.
    Client,
    /// A host that greets this client.
    Host(ConnId),
}

impl NamesHandler {
    fn send(&mut self, io: &mut Io<'_>, to: ConnId, data: impl Into<Bytes>) {
        let sent = io.send(to, data);
        if let Some(client) = self.clients.get_mut(&to) {
            client.is_full |= sent == crate::Sent::Full;
        }
    }

    /// Takes the answer to a connect; returns its client.
    fn take_answer(&mut self, tag: u64) -> Option<ConnId> {
        let client = self.unanswered.remove(&tag);
        if client.is_none() {
            self.violations.push(format!("connect {tag} is answered twice, or was never asked for"));
        }
        client
    }

    /// Ends a reply.
    fn ended(&mut self, io: &mut Io<'_>, to: ConnId, how: u8) {
        let Some(client) = self.clients.get_mut(&to) else { return };
        client.host = None;
        io.set_busy(to, false);
        let how = if self.is_shutting_down && how != WHOLE { SHUT_DOWN } else { how };
        self.send(io, to, vec![how]);
        self.go_on(io, to);
    }

    fn go_on(&self, io: &mut Io<'_>, id: ConnId) {
        if let Some(Client { host: None, is_full: false }) = self.clients.get(&id) {
            io.resume(id);
        }
    }

    /// Connects for the first complete line; the others wait.
    fn begin(&mut self, io: &mut Io<'_>, id: ConnId, input: &mut BytesMut) {
        while let Some(client) = self.clients.get_mut(&id).filter(|client| !client.is_full)
            && let Some(end) = input.iter().position(|byte| *byte == b'\n')
        {
            let line = input.split_to(end);
            input.advance(1);
            let name = format!("{}:{PORT}", host_name(line.first().copied().unwrap_or(UNKNOWN)));
            let tag = self.next_tag;
            self.next_tag += 1;
            // Refused at once if there is no room for one connection more.
            if let Ok(host) = io.connect_name(&name, tag) {
                client.host = Some(host);
                self.unanswered.insert(tag, id);
                io.set_busy(id, true);
                return io.pause(id);
            }
            self.send(io, id, vec![SHUT_DOWN]);
        }
        if self.clients.get(&id).is_some_and(|client| client.is_full) {
            io.pause(id);
        }
    }
}

impl StreamHandler for NamesHandler {
    type Session = Party;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Party, BoxError> {
        if let Origin::Connected { tag, .. } = origin {
            let client = self.take_answer(*tag).ok_or("nobody has asked for it")?;
            if !self.clients.contains_key(&client) {
                io.abort(io.id());
            }
            return Ok(Party::Host(client));
        }
        self.clients.insert(io.id(), Client::default());
        Ok(Party::Client)
    }

    fn data(&mut self, io: &mut Io<'_>, party: &mut Party, input: &mut BytesMut) -> Result<(), BoxError> {
        match party {
            Party::Client => self.begin(io, io.id(), input),
            Party::Host(client) => self.send(io, *client, input.split().freeze()),
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut Party) -> Result<(), BoxError> {
        let id = io.id();
        if let Some(client) = self.clients.get_mut(&id) {
            client.is_full = false;
            self.go_on(io, id);
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, party: Party, why: &CloseReason) {
        match party {
            Party::Client => {
                if let Some(Client { host: Some(host), .. }) = self.clients.remove(&io.id()) {
                    io.abort(host);
                }
            }
            Party::Host(client) => {
                let how = if matches!(why, CloseReason::Finished) { WHOLE } else { CUT };
                self.ended(io, client, how);
            }
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        if let Some(client) = self.take_answer(tag) {
            let how = if error.kind() == io::ErrorKind::TimedOut { TIMED_OUT } else { FAILED };
            self.ended(io, client, how);
        }
    }

    fn shutting_down(&mut self, _: &mut Io<'_>) {
        self.is_shutting_down = true;
    }
}
