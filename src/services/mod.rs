//! Services that are ready to use, built on the public contract alone.

mod echo;
mod once;
mod upper;

pub use self::echo::Echo;
pub use self::once::Once;
pub use self::upper::Upper;
