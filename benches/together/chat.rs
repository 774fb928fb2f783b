//! A chat whose members talk at a steady rate, and hear each other.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What is said, behind its number.
const TEXT: &str = "the quick brown fox jumps over the lazy dog";

/// How long what was said may take to be heard.
const PATIENCE: Duration = Duration::from_secs(60);

struct Member {
    socket: TcpStream,
    /// What has come and is no whole line yet.
    rest: Vec<u8>,
    /// Of each member, the lines that this one has heard.
    heard: Vec<u64>,
    joined: usize,
}

/// See the module.
pub(crate) struct Chat {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    members: Vec<Member>,
    /// Of each member, the lines that it has said.
    said: Vec<u64>,
    speaker: usize,
    pause: Duration,
}

impl Chat {
    /// So many members, who all know of each other then, and will say so many
    /// lines a second, one after the other.
    pub(crate) fn enter(to: SocketAddr, count: usize, lines: u32) -> Self {
        let poll = Poll::new().expect("a descriptor is free");
        let pause = Duration::from_secs(1) / lines;
        let (events, buffer) = (Events::with_capacity(1024), vec![0; 64 << 10]);
        let mut chat =
            Self { poll, events, buffer, members: Vec::new(), said: vec![0; count], speaker: 0, pause };
        for number in 0..count {
            // Blocking, so that they come in this order and are numbered so.
            let mut socket = std::net::TcpStream::connect(to).expect("the server listens");
            let mut welcome = vec![0; format!("* you are guest{}\n", number + 1).len()];
            socket.read_exact(&mut welcome).expect("the server greets");
            assert!(welcome.ends_with(format!("guest{}\n", number + 1).as_bytes()));
            socket.set_nonblocking(true).expect("it is a socket");
            socket.set_nodelay(true).expect("an option of TCP");
            let mut socket = TcpStream::from_std(socket);
            let token = Token(number);
            chat.poll.registry().register(&mut socket, token, Interest::READABLE).expect("it is a socket");
            chat.members.push(Member { socket, rest: Vec::new(), heard: vec![0; count], joined: 0 });
        }
        chat.listen_until(|chat| (0..count).all(|number| chat.members[number].joined == count - 1 - number));
        chat
    }

    /// How many lines came to somebody.
    pub(crate) fn heard(&self) -> u64 {
        self.members.iter().flat_map(|member| &member.heard).sum()
    }

    /// Talks until it is over, and then until everybody has heard everything.
    pub(crate) fn talk(&mut self, is_over: &AtomicBool) {
        let mut due = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= due {
                self.say();
                due += self.pause;
            }
            self.listen(due.saturating_duration_since(now));
        }
        self.listen_until(|chat| {
            let all = |(number, member): (usize, &Member)| {
                let mut heard = member.heard.iter().zip(&chat.said).enumerate();
                heard.all(|(other, (heard, said))| *heard == if other == number { 0 } else { *said })
            };
            chat.members.iter().enumerate().all(all)
        });
    }

    /// The next member says something.
    fn say(&mut self) {
        let number = self.said[self.speaker];
        let line = format!("{number} {TEXT}\n");
        // It is short, and all that was said before is read.
        let count = self.members[self.speaker].socket.write(line.as_bytes()).expect("the server reads");
        assert_eq!(count, line.len());
        self.said[self.speaker] += 1;
        self.speaker = (self.speaker + 1) % self.members.len();
    }

    fn listen_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_done(self) {
            assert!(began.elapsed() < PATIENCE, "not everything was heard by everybody");
            self.listen(Duration::from_millis(10));
        }
    }

    /// Reads what has come, or comes within this time.
    fn listen(&mut self, time: Duration) {
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            outcome => outcome.expect("it can wait"),
        }
        for event in &self.events {
            self.members[event.token().0].listen(event.token().0, &mut self.buffer);
        }
    }
}

impl Member {
    /// Takes all lines that have come.
    fn listen(&mut self, number: usize, buffer: &mut [u8]) {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => panic!("the server has ended {number}"),
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{number}: {error}"),
            }
        }
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.rest.split_off(end);
        let lines = std::mem::replace(&mut self.rest, rest);
        let lines = String::from_utf8(lines).expect("UTF-8");
        lines.lines().for_each(|line| self.hear(number, line));
    }

    fn hear(&mut self, number: usize, line: &str) {
        if line.starts_with("* ") && line.ends_with(" joined") {
            self.joined += 1;
            return;
        }
        let said = line.strip_prefix("<guest").and_then(|line| line.split_once("> "));
        let (guest, text) = said.expect("nothing else is said");
        let speaker = guest.parse::<usize>().expect("a number") - 1;
        assert_ne!(speaker, number, "nobody hears itself");
        let next = self.heard[speaker];
        assert_eq!(text, format!("{next} {TEXT}"), "{number} has missed something of {speaker}");
        self.heard[speaker] += 1;
    }
}
