//! The admission queue of one pool: placements that found every engine full wait here in order of arrival, and
//! only the head of the queue looks for capacity. Dropping a ticket leaves the queue. Knows no engines.

use crate::config;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// The queue of one pool.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    most: u32,
    time: Duration,
    waiting: AtomicU32,
    /// Held by the head of the queue. Tokio's mutex is fair: it is acquired in the order of the requests.
    first: Mutex<()>,
}

/// A position in the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a WaitingRoom);

impl WaitingRoom {
    pub(super) fn new(config: config::Queue) -> Self {
        Self {
            most: config.max_length,
            time: config.timeout,
            waiting: AtomicU32::new(0),
            first: Mutex::new(()),
        }
    }

    /// How long a placement may wait.
    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    /// The length of the queue.
    pub(super) fn count(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Joins the queue at its end; `None` if the queue is full.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let one_more = |waiting: u32| (waiting < self.most).then_some(waiting + 1);
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        entered.ok().map(|_| Place(self))
    }
}

impl Place<'_> {
    /// Waits until this ticket is the head of the queue. The order is that of the first polls.
    pub(super) async fn first(&self) -> MutexGuard<'_, ()> {
        self.0.first.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
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

    type Waits<'a> = Pin<Box<dyn Future<Output = (Place<'a>, u32)> + 'a>>;

    /// Stays at the head of the queue until `go` is set.
    fn waits<'a>(
        room: &'a WaitingRoom,
        name: u32,
        go: &'a std::cell::Cell<bool>,
    ) -> Option<Waits<'a>> {
        let place = room.enter()?;
        Some(Box::pin(async move {
            let first = place.first().await;
            std::future::poll_fn(|_| {
                if go.get() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            drop(first);
            (place, name)
        }))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        /// The client at this position gives up.
        Leave(prop::sample::Index),
        /// Capacity for one.
        Room,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Enter),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            2 => Just(Step::Room),
        ]
    }

    proptest! {
        /// However clients join and leave: the queue is first in, first out, never longer than its limit, and
        /// no position is lost.
        #[test]
        fn the_queue_is_first_in_first_out(steps in prop::collection::vec(step(), 0..200), most in 0..6_u32) {
            let time = Duration::from_secs(5);
            let room = WaitingRoom::new(config::Queue { max_length: most, timeout: time });
            let go = std::cell::Cell::new(false);
            let mut context = Context::from_waker(Waker::noop());
            let mut line: VecDeque<(u32, Waits<'_>)> = VecDeque::new();
            for (name, step) in (0..).zip(steps) {
                match step {
                    Step::Enter => match waits(&room, name, &go) {
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
                    Step::Room => {
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
                prop_assert_eq!(room.count() as usize, line.len());
            }
            line.clear();
            prop_assert_eq!(room.count(), 0);
        }
    }
}
