//! The system's allocator, which counts.

#![allow(unsafe_code, reason = "a global allocator cannot be written without; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

thread_local! {
    // Const, so that its first use does not allocate in its turn.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
    /// Bytes allocated by this thread and not given back by it.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// Whether this thread counts what it allocates and gives back with others.
    static SHARES: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that the threads which share have allocated and not given back: what one of
/// them allocates another one may give back.
static SHARED: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, which counts on threads that ask for it.
struct Counting;

fn count_one() {
    // While a thread ends there may be no cell any more, and nothing to count.
    let _ = COUNT.try_with(|count| count.set(count.get().map(|count| count + 1)));
}

/// This many bytes more are in use, or less.
fn count_bytes(more: usize, less: usize) {
    let change = more as isize - less as isize;
    let _ = LIVE.try_with(|live| live.set(live.get() + change));
    if SHARES.try_with(Cell::get) == Ok(true) {
        SHARED.fetch_add(change, Ordering::Relaxed);
    }
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        count_bytes(layout.size(), 0);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        count_bytes(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_bytes(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates in `work`.
#[allow(dead_code, reason = "not every test counts them")]
pub(crate) fn allocations_in(work: impl FnOnce()) -> u64 {
    COUNT.set(Some(0));
    work();
    COUNT.replace(None).expect("it was set")
}

/// Bytes that this thread has allocated and not given back.
#[allow(dead_code, reason = "not every test looks at them")]
pub(crate) fn live() -> isize {
    LIVE.get()
}

/// From now on this thread shares its count with every other one that does. One test
/// alone may.
#[allow(dead_code, reason = "not every test shares")]
pub(crate) fn share() {
    SHARES.set(true);
}

/// Bytes that the threads which share have allocated and not given back.
#[allow(dead_code, reason = "not every test looks at them")]
pub(crate) fn shared() -> isize {
    SHARED.load(Ordering::Relaxed)
}
