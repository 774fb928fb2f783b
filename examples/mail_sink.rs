//! Teaches: deadlines, frames and a last word. A mail sink takes mails by SMTP (RFC
//! 5321, the commands that a sender needs) and prints the first line and the size of
//! each: for programs under test that send mail.
//!
//! ```text
//! cargo run --example mail_sink -- 127.0.0.1:2525
//! ```
//!
//! A sender may be silent between two commands for as long as RFC 5321, 4.5.3.2.7
//! says, but has a minute to finish a line or the text of a mail that it has begun,
//! and learns by `421` why its connection ends.

use std::env;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::{BoxError, CloseReason, Config, Io, Limits, Origin, Reactor, StreamHandler};

/// The longest mail, in bytes.
const LONGEST: usize = 10 << 20;

pub(crate) struct MailSink {
    pub(crate) on_mail: Box<dyn FnMut(&Mail) + Send>,
}

/// A mail, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) text: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Sender {
    mail: Mail,
    /// Its text follows, up to a line that is a dot.
    is_text: bool,
}

impl MailSink {
    pub(crate) fn limits() -> Limits {
        Limits {
            idle: Some(Duration::from_secs(300)),
            frame: Some(Duration::from_secs(60)),
            ..Limits::default()
        }
    }

    /// Takes a command, and answers it. An error is a reply that ends the connection.
    fn command(io: &mut Io<'_>, sender: &mut Sender, line: &str) {
        let (verb, rest) = line.split_at(line.find([' ', ':']).unwrap_or(line.len()));
        let path = || rest.split_once(':').map(|(_, path)| path.trim().to_owned());
        let reply = match (verb.to_ascii_uppercase().as_str(), path()) {
            ("HELO" | "EHLO" | "NOOP", _) => "250 ok\r\n",
            ("RSET", _) => {
                sender.mail = Mail::default();
                "250 ok\r\n"
            }
            ("MAIL", Some(path)) => {
                sender.mail = Mail { from: path, ..Mail::default() };
                "250 ok\r\n"
            }
            ("RCPT", Some(path)) if !sender.mail.from.is_empty() => {
                sender.mail.to.push(path);
                "250 ok\r\n"
            }
            ("DATA", _) if !sender.mail.to.is_empty() => {
                sender.is_text = true;
                // One frame: the text has its time however many lines come.
                io.begin_frame(io.id());
                "354 end with a line that is a dot\r\n"
            }
            ("RCPT" | "DATA", _) => "503 not yet\r\n",
            ("QUIT", _) => {
                io.reply(b"221 bye\r\n");
                return io.close(io.id());
            }
            _ => "500 what?\r\n",
        };
        io.reply(reply.as_bytes());
    }

    /// Takes a line of the text. RFC 5321, 4.5.2: a dot at its beginning is doubled.
    fn text(&mut self, io: &mut Io<'_>, sender: &mut Sender, line: &[u8]) -> Result<(), BoxError> {
        let mail = &mut sender.mail;
        if line == b"." {
            sender.is_text = false;
            io.end_frame(io.id());
            (self.on_mail)(mail);
            *mail = Mail::default();
            io.reply(b"250 taken\r\n");
            return Ok(());
        }
        if mail.text.len() + line.len() > LONGEST {
            return Err("552 it is too long".into());
        }
        mail.text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        mail.text.push(b'\n');
        Ok(())
    }
}

impl StreamHandler for MailSink {
    type Session = Sender;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Sender, BoxError> {
        io.reply(b"220 mail sink\r\n");
        Ok(Sender::default())
    }

    fn data(&mut self, io: &mut Io<'_>, sender: &mut Sender, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            let line = line.strip_suffix(b"\r\n").unwrap_or(&line[..end]);
            if sender.is_text {
                self.text(io, sender, line)?;
            } else {
                Self::command(io, sender, &String::from_utf8_lossy(line));
            }
        }
        Ok(())
    }

    fn last_word(&mut self, io: &mut Io<'_>, _: &mut Sender, why: &CloseReason) {
        let reply = match why {
            CloseReason::Failed(error) => format!("{error}\r\n"),
            CloseReason::Shutdown => "421 the service goes down\r\n".into(),
            why => format!("421 {why}\r\n"),
        };
        io.reply(reply.as_bytes());
    }
}

fn main() -> Result<(), BoxError> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".into());
    let mut reactor = Reactor::new(Config::default())?;
    let on_mail = |mail: &Mail| {
        let first = mail.text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let (first, size) = (String::from_utf8_lossy(first), mail.text.len());
        println!("from {} to {}: {size} bytes, {first:?}", mail.from, mail.to.join(" "));
    };
    let sink = reactor.add(MailSink { on_mail: Box::new(on_mail) }, MailSink::limits())?;
    let listener = reactor.listen(&sink, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
