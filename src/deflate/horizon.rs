//! How far a stream has been inflated, told to a thread that works on the same stream behind the inflater.
//!
//! Whoever reuses a stream must change one bit of its *last* block's header, and which block is the last is known only once it
//! has ended. So the follower may take bytes as they are up to where the block begins that is being inflated, and no
//! further; this is how it learns that position, and at the end the [`BlockMap`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::BlockMap;

/// Shared by the inflating thread and the follower.
#[derive(Debug, Default)]
pub struct Horizon {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    clear_bytes: u64,
    end: Option<Ended>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The stream is whole, and so is what it inflated to.
    Whole {
        /// Of the stream.
        map: BlockMap,
        /// Of what it inflated to.
        content_crc32: u32,
    },
    /// It is not, or nobody will ever know.
    Useless,
}

/// The answer to [`Horizon::wait_for`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The bytes that were asked for lie before the block that is being inflated.
    Clear,
    /// Inflating has ended.
    End(Ended),
}

impl Horizon {
    /// The inflating side. Dropped without [`Reaching::end`], it tells the follower that nothing will come of it.
    pub fn reaching(&self) -> Reaching<'_> {
        Reaching { horizon: self }
    }

    /// Waits until the first `bytes` bytes of the stream are certain not to hold the last block's header, or until the end.
    pub fn wait_for(&self, bytes: u64) -> Reached {
        let mut state = self.state();
        loop {
            if let Some(end) = &state.end {
                return Reached::End(end.clone());
            }
            if state.clear_bytes >= bytes {
                return Reached::Clear;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Horizon::reaching`].
#[derive(Debug)]
pub struct Reaching<'a> {
    horizon: &'a Horizon,
}

impl Reaching<'_> {
    /// The block that is being inflated begins at this bit of the stream.
    pub fn block_begins(&self, bit: u64) {
        self.horizon.state().clear_bytes = bit / 8;
        self.horizon.changed.notify_one();
    }

    /// Nothing more will be inflated.
    pub fn end(self, end: Ended) {
        self.horizon.state().end = Some(end);
    }
}

impl Drop for Reaching<'_> {
    fn drop(&mut self) {
        self.horizon.state().end.get_or_insert(Ended::Useless);
        self.horizon.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_follower_gets_what_lies_before_the_open_block_and_then_the_end() {
        let horizon = Horizon::default();
        let reaching = horizon.reaching();
        reaching.block_begins(8 * 100 + 3);
        assert_eq!(horizon.wait_for(100), Reached::Clear);
        let map = BlockMap { last_block_bit: 803, end_bit: 1000, stream_crc32: 7 };
        let end = Ended::Whole { map, content_crc32: 9 };
        thread::scope(|scope| {
            let waiting = scope.spawn(|| horizon.wait_for(101));
            reaching.end(end.clone());
            assert_eq!(waiting.join().unwrap(), Reached::End(end));
        });
    }

    #[test]
    fn an_inflater_that_gives_up_lets_nobody_wait() {
        let horizon = Horizon::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| horizon.wait_for(1));
            drop(horizon.reaching());
            assert_eq!(waiting.join().unwrap(), Reached::End(Ended::Useless));
        });
    }
}
