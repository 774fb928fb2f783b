//! Teaches: a reactor that does something else, and has metrics, a health check
//! and a chat for its operators on a port of their own.
//!
//! ```text
//! cargo run --features ws --example metrics -- 127.0.0.1:7007 127.0.0.1:9090
//! curl http://127.0.0.1:9090/metrics
//! ```

use std::env;

use serve_forever::services::{Chat, Echo, Web};
use serve_forever::{Config, Reactor};

fn main() -> serve_forever::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut address = |default: &str| arguments.next().unwrap_or_else(|| default.into()).parse();
    let mut reactor = Reactor::new(Config::default())?;
    let echo = reactor.add(Echo::new(), Echo::limits())?;
    let web = reactor.add(Web::new(Chat::new()), Web::limits())?;
    let listeners = [
        reactor.listen(&echo, &address("127.0.0.1:7007")?)?,
        reactor.listen(&web, &address("127.0.0.1:9090")?)?,
    ];
    for local in listeners.into_iter().filter_map(|listener| reactor.local(listener)) {
        println!("listening on {local}");
    }
    reactor.serve_forever()
}
