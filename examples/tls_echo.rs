//! Teaches: TLS under any service, and certificates that are read again while it
//! runs.
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!     -keyout server.key -out server.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost
//! cargo run --features tls --example tls_echo -- 127.0.0.1:7443 server.pem server.key
//! openssl s_client -connect 127.0.0.1:7443 -CAfile server.pem -servername localhost
//! ```
//!
//! A line that says `reload` on its standard input has it read the two files again.

use std::{env, io, thread};

use bytes::BytesMut;
use serve_forever::tls::{Identity, Server, ServerOptions, Tls};
use serve_forever::{BoxError, Config, Endpoint, Io, Limits, ListenOptions, Origin, Reactor, StreamHandler};

struct Echo;

impl StreamHandler for Echo {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
        // The handshake is complete: what it has agreed on is there to be asked for.
        let tls = io.layer::<Tls>(io.id()).ok_or("every connection has one")?;
        let name = tls.server_name().unwrap_or("no name");
        println!("{}: {:?}, {:?}, asks for {name}", origin.peer(), tls.version(), tls.suite());
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        io.reply_buf(input);
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [at, chain, key] = &arguments[..] else { return Err("give an endpoint and two files in PEM".into()) };
    let (at, chain, key): (Endpoint, _, _) = (at.parse()?, chain.clone(), key.clone());
    let options = move || -> Result<ServerOptions, serve_forever::Error> {
        let identities = vec![Identity::from_pem_files(&chain, &key)?];
        Ok(ServerOptions { identities, ..ServerOptions::default() })
    };
    let tls = Server::new(&options()?)?;

    let mut reactor = Reactor::new(Config::default())?;
    let echo = reactor.add(Echo, Limits::default())?;
    let layer = Some(tls.factory());
    let listener = reactor.listen_with(&echo, &at, &ListenOptions { layer, ..ListenOptions::default() })?;
    println!("listening on {}", reactor.local(listener).expect("it was just made"));

    // A server of TLS is for any thread. Whoever is connected stays so.
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok).filter(|line| line == "reload") {
            match options().and_then(|options| tls.replace(&options)) {
                Ok(()) => println!("{line}: new connections get the new certificate"),
                Err(error) => println!("{line}: the old one stays, for {error}"),
            }
        }
    });
    Ok(reactor.serve_forever()?)
}
