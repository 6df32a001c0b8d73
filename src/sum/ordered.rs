//! Results that come in any order leave in the order of their places.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The most places that wait for their result, or behind one that does.
const WINDOW: usize = 2048;
/// The most bytes that belong to them, unless one place alone has more.
const WINDOW_BYTES: usize = 64 << 20;

struct Slot<V> {
    result: Option<V>,
    bytes: usize,
}

struct OrderedState<V, F> {
    /// The place of the first slot.
    first: u64,
    slots: VecDeque<Slot<V>>,
    bytes: usize,
    leave: F,
    /// Some results will never come.
    given_up: bool,
}

impl<V, F> OrderedState<V, F> {
    fn is_full(&self, bytes: usize) -> bool {
        let is_heavy = !self.slots.is_empty() && self.bytes + bytes > WINDOW_BYTES;
        self.slots.len() >= WINDOW || is_heavy
    }
}

/// Gives each place's result to `leave`, one after the other.
pub struct Ordered<V, F> {
    state: Mutex<OrderedState<V, F>>,
    room: Condvar,
}

impl<V, F: FnMut(V)> Ordered<V, F> {
    /// Nothing has a place yet.
    pub fn new(leave: F) -> Self {
        Self {
            state: Mutex::new(OrderedState {
                first: 0,
                slots: VecDeque::new(),
                bytes: 0,
                leave,
                given_up: false,
            }),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, OrderedState<V, F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place, for what takes this number of bytes of memory until it leaves. Blocks while
    /// too many wait; `before_waiting` has to make sure that all of them get their results.
    pub fn place(&self, bytes: usize, before_waiting: impl FnOnce()) -> u64 {
        let mut state = self.lock();
        if state.is_full(bytes) {
            drop(state);
            before_waiting();
            state = self.lock();
        }
        while state.is_full(bytes) && !state.given_up {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.slots.push_back(Slot { result: None, bytes });
        state.bytes += bytes;
        state.first + state.slots.len() as u64 - 1
    }

    /// Takes the result of a place. All results that have no gap before them leave.
    pub fn put(&self, place: u64, result: V) {
        let mut state = self.lock();
        let index = (place - state.first) as usize;
        state.slots[index].result = Some(result);
        while state.slots.front().is_some_and(|slot| slot.result.is_some()) {
            if let Some(Slot { result: Some(result), bytes }) = state.slots.pop_front() {
                state.first += 1;
                state.bytes -= bytes;
                (state.leave)(result);
            }
        }
        self.room.notify_one();
    }

    /// Ends all waiting: some results will never come, since a thread panicked.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_leave_in_order() {
        let mut seen = Vec::new();
        let ordered = Ordered::new(|place| seen.push(place));
        let places: Vec<u64> =
            (0..100).map(|_| ordered.place(1, || panic!("there is room"))).collect();
        for &place in places.iter().rev() {
            ordered.put(place, place);
        }
        drop(ordered);
        assert_eq!(seen, places);
    }

    #[test]
    fn a_full_window_waits_until_the_first_place_has_its_result() {
        let mut seen = 0;
        let ordered = Ordered::new(|_: u64| seen += 1);
        for place in 0..WINDOW as u64 {
            assert_eq!(ordered.place(0, || panic!("there is room")), place);
        }
        std::thread::scope(|scope| {
            let mut asked = false;
            let before_waiting = || {
                asked = true;
                scope
                    .spawn(|| (0..WINDOW as u64).rev().for_each(|place| ordered.put(place, place)));
            };
            assert_eq!(ordered.place(0, before_waiting), WINDOW as u64);
            assert!(asked);
        });
        drop(ordered);
        assert_eq!(seen, WINDOW);
    }

    #[test]
    fn what_is_heavy_waits_for_what_is_before_it() {
        let mut seen = Vec::new();
        let ordered = Ordered::new(|place: u64| seen.push(place));
        assert_eq!(ordered.place(2 * WINDOW_BYTES, || panic!("nothing is before it")), 0);
        let mut asked = 0;
        for place in 1..4 {
            let before_waiting = || {
                ordered.put(place - 1, place - 1);
                asked += 1;
            };
            assert_eq!(ordered.place(WINDOW_BYTES / 2 + 1, before_waiting), place);
        }
        assert_eq!(asked, 3);
        drop(ordered);
        assert_eq!(seen, [0, 1, 2]);
    }

    #[test]
    fn nobody_waits_for_what_will_never_come() {
        let ordered = Ordered::new(|_: u64| ());
        ordered.give_up();
        for _ in 0..2 * WINDOW {
            ordered.place(0, || ());
        }
    }
}
