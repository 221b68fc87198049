//! A first-in-first-out queue from which any value can be removed by its ticket, in logarithmic time. A removed value
//! leaves a gap until all values before it are gone or half of the rows are gaps.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Sorted by ticket. At most [`MAX_EXTRA_GAPS`] more gaps than values.
    rows: VecDeque<(u64, Option<T>)>,
    /// The ticket of the next row.
    next: u64,
    /// Number of rows that are no gaps.
    filled: usize,
}

/// This number of gaps is not worth a compaction.
const MAX_EXTRA_GAPS: usize = 64;

/// Identifies one value of the queue. No effect after the value was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// Identifies no value.
    pub(super) const NONE: Self = Self(u64::MAX);
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            rows: VecDeque::new(),
            next: 0,
            filled: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) const fn len(&self) -> usize {
        self.filled
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    pub(super) fn push(&mut self, value: T) -> Ticket {
        let ticket = self.next;
        self.rows.push_back((ticket, Some(value)));
        self.next += 1;
        self.filled += 1;
        Ticket(ticket)
    }

    /// The oldest value.
    pub(super) fn first(&self) -> Option<&T> {
        // The first row is never a gap.
        self.rows.front()?.1.as_ref()
    }

    /// The position of its row.
    fn position(&self, ticket: Ticket) -> Option<usize> {
        let position = self
            .rows
            .binary_search_by_key(&ticket.0, |(ticket, _)| *ticket);
        position.ok()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&T> {
        self.rows.get(self.position(ticket)?)?.1.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().filter_map(|(_, row)| row.as_ref())
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<T> {
        let position = self.position(ticket)?;
        let value = self.rows.get_mut(position)?.1.take()?;
        self.filled -= 1;
        self.close_gaps();
        Some(value)
    }

    /// Removes the oldest values for which `matches` holds, at most `max`.
    pub(super) fn take_first(&mut self, max: usize, matches: impl Fn(&T) -> bool) -> Vec<T> {
        let rows = self.rows.iter_mut().map(|(_, row)| row);
        let matching = rows.filter(|row| row.as_ref().is_some_and(&matches));
        let batch: Vec<T> = matching.take(max).filter_map(Option::take).collect();
        self.filled -= batch.len();
        self.close_gaps();
        batch
    }

    /// Removes the oldest value if `matches` holds for it.
    pub(super) fn pop_if(&mut self, matches: impl Fn(&T) -> bool) -> Option<T> {
        self.first().filter(|value| matches(value))?;
        let ticket = self.rows.front()?.0;
        self.take(Ticket(ticket))
    }

    fn close_gaps(&mut self) {
        while self.rows.pop_front_if(|(_, row)| row.is_none()).is_some() {}
        // A value that stays for hours must not keep the gaps of all values that came and went after it.
        if self.rows.len() > 2 * self.filled + MAX_EXTRA_GAPS {
            self.rows.retain(|(_, row)| row.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_list(steps in prop::collection::vec((0..5_u8, 0..20_usize), 1..200)) {
            let (mut queue, mut list) = (Queue::default(), Vec::new());
            let (mut tickets, mut next) = (vec![Ticket::NONE], 0_usize);
            for (step, number) in steps {
                match step {
                    0 | 1 => {
                        tickets.push(queue.push(next));
                        list.push(next);
                        next += 1;
                    }
                    2 => {
                        let nth = number % tickets.len();
                        // The ticket of `n` is the one after NONE and `n` others.
                        let place = list.iter().position(|n| n + 1 == nth);
                        prop_assert_eq!(queue.get(tickets[nth]).copied(), place.map(|p| list[p]));
                        prop_assert_eq!(queue.take(tickets[nth]), place.map(|p| list.remove(p)));
                    }
                    3 => {
                        let is = |n: &usize| n.is_multiple_of(3);
                        let taken: Vec<_> = list.iter().copied().filter(is).take(number).collect();
                        list.retain(|n| !taken.contains(n));
                        prop_assert_eq!(queue.take_first(number, is), taken);
                    }
                    _ => {
                        let is = |n: &usize| n.is_multiple_of(2);
                        let first = list.first().copied().filter(is);
                        list.drain(..usize::from(first.is_some()));
                        prop_assert_eq!(queue.pop_if(is), first);
                    }
                }
                prop_assert_eq!(queue.len(), list.len());
                prop_assert_eq!(queue.first(), list.first());
                prop_assert_eq!(queue.iter().copied().collect::<Vec<_>>(), list.clone());
            }
            // Gaps do not outlive what came before them.
            prop_assert!(!list.is_empty() || queue.rows.is_empty());
        }
    }

    #[test]
    fn a_value_that_stays_keeps_no_gaps_after_it() {
        let mut queue = Queue::default();
        let kept_ticket = queue.push(0);
        let mut last_ticket = Ticket::NONE;
        for value in 1..100_000 {
            last_ticket = queue.push(value);
            if value < 99_999 {
                queue.take(last_ticket);
            }
        }
        assert!(
            queue.rows.len() < 2 * MAX_EXTRA_GAPS,
            "{}",
            queue.rows.len()
        );
        assert_eq!(queue.get(last_ticket), Some(&99_999));
        assert_eq!(queue.take(kept_ticket), Some(0));
        assert_eq!(queue.pop_if(|_| true), Some(99_999));
    }
}
