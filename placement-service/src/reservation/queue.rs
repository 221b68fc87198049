//! Things in the order in which they came, any of which can be taken out at once by its ticket. A thing that is
//! taken out leaves a gap until all before it are gone. Knows nothing of what it holds.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Queue<T> {
    rows: VecDeque<Option<T>>,
    /// The ticket of the first row.
    first: u64,
    /// Rows that are no gaps.
    filled: usize,
}

/// For one thing that was put in; of no use any more when it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// For nothing at all.
    pub(super) const NONE: Self = Self(u64::MAX);
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            rows: VecDeque::new(),
            first: 0,
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
        let ticket = Ticket(self.first + self.rows.len() as u64);
        self.rows.push_back(Some(value));
        self.filled += 1;
        ticket
    }

    /// What came first of all that are in.
    pub(super) fn first(&self) -> Option<&T> {
        // The first row is never a gap.
        self.rows.front()?.as_ref()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&T> {
        let place = ticket.0.checked_sub(self.first)?;
        self.rows.get(usize::try_from(place).ok()?)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().flatten()
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<T> {
        let place = ticket.0.checked_sub(self.first)?;
        let value = self.rows.get_mut(usize::try_from(place).ok()?)?.take()?;
        self.filled -= 1;
        self.close_gap();
        Some(value)
    }

    /// Takes out the first ones of that kind, so many at the most.
    pub(super) fn take_first(&mut self, most: usize, is: impl Fn(&T) -> bool) -> Vec<T> {
        let rows = self.rows.iter_mut();
        let of_kind = rows.filter(|row| row.as_ref().is_some_and(&is));
        let taken: Vec<T> = of_kind.take(most).filter_map(Option::take).collect();
        self.filled -= taken.len();
        self.close_gap();
        taken
    }

    /// Takes out what came first, if it is of that kind.
    pub(super) fn pop_if(&mut self, is: impl Fn(&T) -> bool) -> Option<T> {
        self.first().filter(|value| is(value))?;
        self.take(Ticket(self.first))
    }

    fn close_gap(&mut self) {
        while self.rows.pop_front_if(|row| row.is_none()).is_some() {
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_a_list_holds(steps in prop::collection::vec((0..5_u8, 0..20_usize), 1..200)) {
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
}
