//! Teaches: a server in one call. It sends back what comes.
//!
//! ```text
//! cargo run --example echo -- 127.0.0.1:7007
//! printf 'hello\n' | nc -N 127.0.0.1 7007
//! ```

use std::env;

use serve_forever::services::Echo;

fn main() -> serve_forever::Result<()> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".into());
    serve_forever::serve(&at, Echo::new())
}
