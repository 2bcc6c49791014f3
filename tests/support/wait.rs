//! Waiting for a condition, with a limit: the only place of the tests that lets time pass.
//!
//! A condition is looked at again and again until it holds; nothing is ever assumed to be done "after a second".
//!
//! ```ignore
//! wait::until("the server answers", || TcpStream::connect(address).is_ok());
//! let line = wait::some("a mail", || mails.pop());
//! ```

use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything here needs: reached only when something is broken, never on a merely slow machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns once `condition` holds; panics with `what` after a minute.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    some(what, || condition().then_some(()));
}

/// The first value that `look` finds; panics with `what` after a minute.
pub fn some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match some_within(LIMIT, look) {
        Some(found) => found,
        None => panic!("waited {} s in vain for: {what}", LIMIT.as_secs()),
    }
}

/// The first value that `look` finds within `limit`.
pub fn some_within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
