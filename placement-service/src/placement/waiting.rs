//! The waiting room of one pool: who finds every engine full waits here, first come, first served, and
//! only the first in line looks for room. Whoever leaves, for whatever reason, gives the place up by that.
//! Knows no engines.

use crate::config;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// One pool's.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    most: u32,
    time: Duration,
    waiting: AtomicU32,
    /// Tokio's mutex is handed over in the order in which it was asked for.
    first: Mutex<()>,
}

/// A place in the waiting room, until it is dropped.
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

    /// How long anybody may wait.
    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    /// How many wait.
    pub(super) fn count(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes a place at the end; `None` when there is none.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let one_more = |waiting: u32| (waiting < self.most).then_some(waiting + 1);
        let entered = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        entered.ok().map(|_| Place(self))
    }
}

impl Place<'_> {
    /// Waits until everybody who came before has left. In the line from the first poll on.
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

    /// Stays first until it is told to go.
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
        /// The client at this place gives up.
        Leave(prop::sample::Index),
        /// Room for one.
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
        /// Whoever comes and goes: the order is that of coming, never more than the room takes, and no
        /// place is lost.
        #[test]
        fn first_come_first_served(steps in prop::collection::vec(step(), 0..200), most in 0..6_u32) {
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
                        // Nobody but the first may go, in whatever order they are polled.
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
