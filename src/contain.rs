//! Containment of panics in user code that runs outside of a callback.
//!
//! Values that a handler leaves with the loop run code of their own: an error
//! (`Display`, `Drop`), the owner of shared bytes, a call of a handle, sessions and
//! handlers at the end. The loop prints and drops them in many places. Each such
//! value has a type of this crate whose `Drop` or `Display` catches the panic, so no
//! place of the loop has to remember it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::printable::Printable;

/// Runs user code and returns the payload of a panic as the error.
#[inline(always)]
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> thread::Result<R> {
    catch_unwind(AssertUnwindSafe(run))
}

/// Drops a value of the user's, and logs a panic of its `Drop` with `what` as the
/// value's name.
pub(crate) fn discard<T>(what: &str, value: T) {
    if let Err(payload) = caught(|| drop(value)) {
        // Made outside of `log::error!`, whose arguments are not evaluated below the
        // log level: the payload must be dropped in any case, and may panic again.
        let said = message(payload);
        log::error!("dropping {what} panicked: {}", Printable(said));
    }
}

/// The text of a panic. Its payload is dropped here, since that may panic as well.
#[cold]
pub(crate) fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    if let Err(again) = caught(|| drop(payload)) {
        // A payload that panics as it drops may do so without end, so it is leaked.
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
