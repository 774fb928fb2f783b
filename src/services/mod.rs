//! Services that are ready to use, built on the public contract alone.

mod echo;
mod framing;
mod once;
mod upper;

pub use self::echo::Echo;
pub use self::framing::{Framing, LineTooLong};
pub use self::once::Once;
pub use self::upper::Upper;
