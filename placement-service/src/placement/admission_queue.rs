//! The admission queue of one pool: placements that found every engine full wait here in order of arrival, and
//! only the head of the queue looks for capacity. Dropping a ticket leaves the queue. Knows no engines.

use crate::config;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// The queue of one pool.
#[derive(Debug)]
pub(super) struct AdmissionQueue {
    max_length: u32,
    timeout: Duration,
    length: AtomicU32,
    /// Held by the head of the queue. Tokio's mutex is fair: it is acquired in the order of the requests.
    head: Mutex<()>,
}

/// A position in the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct QueueTicket<'a>(&'a AdmissionQueue);

impl AdmissionQueue {
    pub(super) fn new(config: config::Queue) -> Self {
        Self {
            max_length: config.max_length,
            timeout: config.timeout,
            length: AtomicU32::new(0),
            head: Mutex::new(()),
        }
    }

    /// How long a placement may wait.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The length of the queue.
    pub(super) fn length(&self) -> u32 {
        self.length.load(Ordering::Acquire)
    }

    /// Joins the queue at its end; `None` if the queue is full.
    pub(super) fn enqueue(&self) -> Option<QueueTicket<'_>> {
        let try_increment = |length: u32| (length < self.max_length).then_some(length + 1);
        let enqueued = self
            .length
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, try_increment);
        enqueued.ok().map(|_| QueueTicket(self))
    }
}

impl QueueTicket<'_> {
    /// Waits until this ticket is the head of the queue. The order is that of the first polls.
    pub(super) async fn head(&self) -> MutexGuard<'_, ()> {
        self.0.head.lock().await
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        self.0.length.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Waits<'a> = Pin<Box<dyn Future<Output = (QueueTicket<'a>, u32)> + 'a>>;

    /// Stays at the head of the queue until `may_leave` is set.
    fn waits<'a>(
        queue: &'a AdmissionQueue,
        name: u32,
        may_leave: &'a std::cell::Cell<bool>,
    ) -> Option<Waits<'a>> {
        let ticket = queue.enqueue()?;
        Some(Box::pin(async move {
            let first = ticket.head().await;
            std::future::poll_fn(|_| {
                if may_leave.get() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            drop(first);
            (ticket, name)
        }))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        /// The client at this position gives up.
        Leave(prop::sample::Index),
        /// Capacity for one.
        Capacity,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Enter),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            2 => Just(Step::Capacity),
        ]
    }

    proptest! {
        /// However clients join and leave: the queue is first in, first out, never longer than its limit, and
        /// no position is lost.
        #[test]
        fn the_queue_is_first_in_first_out(steps in prop::collection::vec(step(), 0..200), most in 0..6_u32) {
            let time = Duration::from_secs(5);
            let queue = AdmissionQueue::new(config::Queue { max_length: most, timeout: time });
            let go = std::cell::Cell::new(false);
            let mut context = Context::from_waker(Waker::noop());
            let mut line: VecDeque<(u32, Waits<'_>)> = VecDeque::new();
            for (name, step) in (0..).zip(steps) {
                match step {
                    Step::Enter => match waits(&queue, name, &go) {
                        Some(mut waiting) => {
                            prop_assert!(waiting.as_mut().poll(&mut context).is_pending());
                            line.push_back((name, waiting));
                        }
                        None => prop_assert_eq!(line.len(), most as usize),
                    },
                    Step::Leave(which) if !line.is_empty() => {
                        line.remove(which.index(line.len()));
                    }
                    Step::Leave(_) => {}
                    Step::Capacity => {
                        go.set(true);
                        // Only the head may proceed, whatever the order of the polls.
                        let mut gone = None;
                        for (at, (name, waiting)) in line.iter_mut().enumerate().rev() {
                            if let Poll::Ready((_, who)) = waiting.as_mut().poll(&mut context) {
                                prop_assert_eq!((at, who), (0, *name));
                                gone = Some(at);
                            }
                        }
                        go.set(false);
                        prop_assert_eq!(gone.is_some(), !line.is_empty());
                        line.pop_front();
                        for (_, waiting) in &mut line {
                            prop_assert!(waiting.as_mut().poll(&mut context).is_pending());
                        }
                    }
                }
                prop_assert_eq!(queue.length() as usize, line.len());
            }
            line.clear();
            prop_assert_eq!(queue.length(), 0);
        }
    }
}
