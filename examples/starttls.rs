//! Teaches: TLS that begins in the middle of a dialogue, like SMTP's STARTTLS.
//!
//! ```text
//! cargo run --features tls --example starttls -- 127.0.0.1:2525 server.pem server.key
//! openssl s_client -starttls smtp -connect 127.0.0.1:2525 -CAfile server.pem -crlf
//! ```

use std::env;

use bytes::BytesMut;
use serve_forever::tls::{Identity, Server, ServerOptions};
use serve_forever::{BoxError, Config, Io, Limits, ListenOptions, Origin, Reactor, StreamHandler};

/// The greeting and a few commands of SMTP (RFC 5321), and no mail.
struct Dialogue {
    tls: Server,
}

/// Whether a client speaks through TLS.
#[derive(PartialEq)]
enum Channel {
    Clear,
    Protected,
}

impl StreamHandler for Dialogue {
    type Session = Channel;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Channel, BoxError> {
        io.reply(b"220 localhost ESMTP\r\n");
        Ok(Channel::Clear)
    }

    fn data(&mut self, io: &mut Io<'_>, channel: &mut Channel, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            match &line.trim_ascii().to_ascii_uppercase()[..] {
                b"STARTTLS" if *channel == Channel::Clear => {
                    io.reply(b"220 Ready to start TLS\r\n");
                    io.start_layer(io.id(), self.tls.layer()?);
                    // What is left would be cleartext that somebody on the way may have
                    // put there: leaving it here ends the connection.
                    return Ok(());
                }
                b"QUIT" => {
                    io.reply(b"221 Bye\r\n");
                    io.close(io.id());
                    return Ok(());
                }
                verb if verb.starts_with(b"EHLO") && *channel == Channel::Clear => {
                    io.reply(b"250-localhost\r\n250 STARTTLS\r\n");
                }
                verb if verb.starts_with(b"EHLO") => io.reply(b"250 localhost\r\n"),
                b"NOOP" => io.reply(b"250 OK\r\n"),
                _ if *channel == Channel::Clear => io.reply(b"530 Must issue a STARTTLS command first\r\n"),
                _ => io.reply(b"502 Command not implemented\r\n"),
            }
        }
        Ok(())
    }

    fn layer_ready(&mut self, _: &mut Io<'_>, channel: &mut Channel) -> Result<(), BoxError> {
        // The dialogue begins anew: what was said in the clear counts for nothing.
        *channel = Channel::Protected;
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [at, chain, key] = &arguments[..] else { return Err("give an endpoint and two files in PEM".into()) };
    let identities = vec![Identity::from_pem_files(chain, key)?];
    let tls = Server::new(&ServerOptions { identities, ..ServerOptions::default() })?;
    let mut reactor = Reactor::new(Config::default())?;
    let dialogue = reactor.add(Dialogue { tls }, Limits::default())?;
    let listener = reactor.listen_with(&dialogue, &at.parse()?, &ListenOptions::default())?;
    println!("listening on {}", reactor.local(listener).expect("it was just made"));
    Ok(reactor.serve_forever()?)
}
