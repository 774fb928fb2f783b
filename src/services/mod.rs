//! Ready-made services, built on the public interface alone.

mod chat;
#[cfg(feature = "command")]
mod command;
mod console;
mod echo;
mod framing;
mod http_guard;
mod once;
mod text;
#[cfg(feature = "upload")]
mod upload;
mod upper;
#[cfg(feature = "ws")]
mod web;

pub use self::chat::{Chat, ChatEvent, ChatSession, Local, Reach};
#[cfg(feature = "bus")]
pub use self::chat::{Shared, SharedChat};
#[cfg(feature = "command")]
pub use self::command::{Audit, Command, CommandSession, Reply, Status};
pub use self::console::{Console, ConsoleSession};
pub use self::echo::Echo;
pub use self::framing::{Framing, LineTooLong};
pub use self::once::Once;
#[cfg(feature = "upload")]
pub use self::upload::{Upload, UploadedFile};
pub use self::upper::Upper;
#[cfg(all(feature = "bus", feature = "ws"))]
pub use self::web::SharedWeb;
#[cfg(feature = "ws")]
pub use self::web::{Web, WebSession};
