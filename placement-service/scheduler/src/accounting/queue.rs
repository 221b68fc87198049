//! Things in the order in which they came, any of which can be taken out at once by its ticket. A thing that is
//! taken out leaves a gap, until all before it are gone or half of the rows are gaps. Knows nothing of what it
//! holds.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Queue<T> {
    /// By their tickets, in order. At most [`FEW`] more gaps than things.
    rows: VecDeque<(u64, Option<T>)>,
    /// The ticket of the next row.
    next: u64,
    /// Rows that are no gaps.
    filled: usize,
}

/// Gaps that are left alone.
const FEW: usize = 64;

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

    /// What came first of all that are in.
    pub(super) fn first(&self) -> Option<&T> {
        // The first row is never a gap.
        self.rows.front()?.1.as_ref()
    }

    /// The place of its row.
    fn place(&self, ticket: Ticket) -> Option<usize> {
        let place = self
            .rows
            .binary_search_by_key(&ticket.0, |(ticket, _)| *ticket);
        place.ok()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&T> {
        self.rows.get(self.place(ticket)?)?.1.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().filter_map(|(_, row)| row.as_ref())
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<T> {
        let place = self.place(ticket)?;
        let value = self.rows.get_mut(place)?.1.take()?;
        self.filled -= 1;
        self.close_gaps();
        Some(value)
    }

    /// Takes out the first ones of that kind, so many at the most.
    pub(super) fn take_first(&mut self, most: usize, is: impl Fn(&T) -> bool) -> Vec<T> {
        let rows = self.rows.iter_mut().map(|(_, row)| row);
        let of_kind = rows.filter(|row| row.as_ref().is_some_and(&is));
        let taken: Vec<T> = of_kind.take(most).filter_map(Option::take).collect();
        self.filled -= taken.len();
        self.close_gaps();
        taken
    }

    /// Takes out what came first, if it is of that kind.
    pub(super) fn pop_if(&mut self, is: impl Fn(&T) -> bool) -> Option<T> {
        self.first().filter(|value| is(value))?;
        let ticket = self.rows.front()?.0;
        self.take(Ticket(ticket))
    }

    fn close_gaps(&mut self) {
        while self.rows.pop_front_if(|(_, row)| row.is_none()).is_some() {}
        // One that stays for hours must not keep the gaps of all that came and went behind it.
        if self.rows.len() > 2 * self.filled + FEW {
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

    #[test]
    fn what_stays_keeps_no_room_for_what_came_and_went_behind_it() {
        let mut queue = Queue::default();
        let stays = queue.push(0);
        let mut late = Ticket::NONE;
        for thing in 1..100_000 {
            late = queue.push(thing);
            if thing < 99_999 {
                queue.take(late);
            }
        }
        assert!(queue.rows.len() < 2 * FEW, "{}", queue.rows.len());
        assert_eq!(queue.get(late), Some(&99_999));
        assert_eq!(queue.take(stays), Some(0));
        assert_eq!(queue.pop_if(|_| true), Some(99_999));
    }
}
