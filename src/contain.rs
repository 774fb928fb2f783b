//! User code that runs outside of a callback: what it panics with ends nothing.
//!
//! A handler leaves values with the loop that have code of their own: an error
//! (`Display`, `Drop`), the owner of shared bytes, a call of a handle, sessions
//! and handlers at the end. The loop prints and drops them wherever it happens
//! to be, so each such type contains that by itself, and no place has to
//! remember it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::printable::Printable;

/// Runs user code; a panic comes back as its payload.
#[inline(always)]
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> thread::Result<R> {
    catch_unwind(AssertUnwindSafe(run))
}

/// Drops a value of the user's. A panic of that is logged, as one of `what`.
pub(crate) fn discard<T>(what: &str, value: T) {
    if let Err(payload) = caught(|| drop(value)) {
        // Also if nobody logs: the payload may panic in its turn.
        let said = message(payload);
        log::error!("dropping {what} panicked: {}", Printable(said));
    }
}

/// What a panic said, without its payload, which may panic as it drops.
#[cold]
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    if let Err(again) = caught(|| drop(payload)) {
        // There is no end to those that panic as they drop.
        std::mem::forget(again);
    }
    text.unwrap_or_else(|| "of no text".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics as it drops, with another one.
    struct Hydra(usize);

    impl Drop for Hydra {
        fn drop(&mut self) {
            std::panic::panic_any(Self(self.0 + 1));
        }
    }

    #[test]
    fn a_panic_of_a_drop_goes_no_further_whatever_its_payload_does() {
        discard("a hydra", Hydra(0));
        assert_eq!(message(Box::new(Hydra(0))), "of no text");
    }

    #[test]
    fn a_panic_says_what_it_said() {
        let said = |run: fn()| message(caught(run).expect_err("it panics"));
        assert_eq!(said(|| panic!("a text")), "a text");
        assert_eq!(said(|| panic!("a text of {} words", 5)), "a text of 5 words");
        assert_eq!(said(|| std::panic::panic_any(7)), "of no text");
    }
}
