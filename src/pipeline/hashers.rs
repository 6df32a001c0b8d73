//! The threads that hash blocks: rayon's.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use super::budget::Budget;
use super::message::{Mailbox, Message};
use crate::report::{Meter, Totals};

/// Has rayon's threads do something, whose answer is sent to the loop. A panic is one too: rayon
/// would end the process for it. The caller does the work itself where the threads cannot be made,
/// which rayon would panic about, and `meter` counts.
pub fn spawn(
    budget: Budget,
    meter: &Meter,
    mailbox: Mailbox,
    work: impl FnOnce() -> Message + Send + 'static,
) {
    let work = move || {
        mailbox.send(catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(Message::Panicked));
    };
    if threads(budget, meter) > 0 {
        rayon::spawn(work);
    } else {
        Totals::add(&meter.missing_threads, 1);
        work();
    }
}

/// How much of what no one waits for may be in their hands, so that they always have something to
/// do, and what is urgent waits for little.
pub fn idle_work_max(budget: Budget, meter: &Meter) -> usize {
    2 * threads(budget, meter).max(1)
}

/// How many threads there are; none if they cannot be made.
fn threads(budget: Budget, meter: &Meter) -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        // 0 is as many as there are cores.
        let wanted = budget.hashers(meter).unwrap_or(0);
        match rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global() {
            // That they are there has no further cause.
            Err(error) if error.source().is_some() => 0,
            _ => rayon::current_num_threads(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use linux_aio::Wakeup;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no eventfd")]
    fn a_panic_is_an_answer() {
        let (mailbox, inbox) = Mailbox::new(Arc::new(Wakeup::new().unwrap()));
        for work in [|| panic!("of a test"), || Message::Stop] {
            spawn(Budget::default(), &Meter::default(), mailbox.clone(), work);
            match inbox.recv_timeout(Duration::from_secs(20)).unwrap() {
                Message::Panicked(panic) => {
                    assert_eq!(panic.downcast_ref(), Some(&"of a test"));
                }
                message => assert!(matches!(message, Message::Stop)),
            }
        }
    }
}
