//! Where a client connects to, as its user writes it.

use std::net::ToSocketAddrs;

use serve_forever::Endpoint;

/// An endpoint for streams: `HOST:PORT`, `tcp://HOST:PORT` or `unix:PATH`.
/// Names are looked up, which the library leaves to programs: it blocks.
pub(crate) fn resolve(text: &str) -> Result<Endpoint, String> {
    let unknown = match text.parse::<Endpoint>() {
        Ok(endpoint) if endpoint.is_datagram() => {
            return Err(format!("{text} is for datagrams; this client speaks tcp:// and unix:"));
        }
        Ok(endpoint) => return Ok(endpoint),
        Err(error) => error.to_string(),
    };
    let Some(name) = Some(text.strip_prefix("tcp://").unwrap_or(text)).filter(|name| !name.contains("//"))
    else {
        return Err(unknown);
    };
    match name.to_socket_addrs() {
        Ok(mut found) => found.next().map(Endpoint::Tcp).ok_or(unknown),
        // Not even the shape of one, or nobody knows it.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Err(unknown),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
