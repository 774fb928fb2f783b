//! The bus that the chat is on, if there is one.

use serve_forever::BoxError;
use serve_forever::bus::{Bus, BusOptions, BusUrl};
use serve_forever::services::SharedChat;
use serve_forever::tls::{Client, ClientOptions, Roots};

use super::cli::{Arguments, Kind};

/// The connections of a bus: that to its Redis.
pub(crate) const CONNECTIONS: usize = 1;

/// The bus of the chat; `None` if the chat is in this process alone.
pub(crate) fn bus(arguments: &Arguments) -> Result<Option<Bus>, BoxError> {
    let Some(url) = &arguments.bus else { return Ok(None) };
    let has_chat = arguments.served.iter().any(|served| matches!(served.kind, Kind::Chat | Kind::Web));
    if !has_chat {
        return Err("--bus: it is for a chat; serve chat=ENDPOINT or web=ENDPOINT as well".into());
    }
    let tls = match url.starts_with("rediss:") {
        true => Some(Client::new(&ClientOptions::new(Roots::system()?))?),
        false => None,
    };
    let url: BusUrl = url.parse().map_err(|error| format!("--bus: {error}"))?;
    let options = BusOptions { tls, ..SharedChat::bus_options() };
    Ok(Some(Bus::new(url, options)?))
}
