//! Services that are ready to use, built on the public contract alone.

#[cfg(feature = "command")]
mod command;
mod echo;
mod framing;
mod once;
#[cfg(feature = "upload")]
mod upload;
mod upper;

#[cfg(feature = "command")]
pub use self::command::{Audit, Command, CommandSession, Reply, Status};
mod chat;
mod echo;
mod framing;
mod once;
mod text;
mod upper;

pub use self::chat::{Chat, ChatEvent, ChatSession};
pub use self::echo::Echo;
pub use self::framing::{Framing, LineTooLong};
pub use self::once::Once;
#[cfg(feature = "upload")]
pub use self::upload::{Upload, UploadedFile};
pub use self::upper::Upper;
