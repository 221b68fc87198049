//! Chooses an engine for each stream and counts what the engines have. No I/O, no configuration file; time and
//! randomness are arguments.
//!
//! # A decision: filter, score, pick
//!
//! [`Scheduler`] decides for one pool. [`Scheduler::select`] holds the pool's lock through all steps, so that concurrent
//! placements see each other's reservations and do not herd on one engine:
//!
//! 1. **Filter** ([`filter`]): the state of the engine, its limits and its circuit breaker decide whether it may get
//!    the stream at all. A refusal lists how many engines were excluded, and why.
//! 2. **Score** ([`score`], `strategies`): each eligible engine gets a number from 0 to 1, computed from its
//!    [`candidate::Candidate`]: sessions, free memory and free CPU, with what was placed there since its last probe.
//! 3. **Pick** (`decision`, `strategies`): the strategy picks among the scores, and breaks ties at random. An engine
//!    that has the document in memory (`affinity`) is preferred unless its score is lower by more than the document's
//!    weight. An engine in slow start takes part with a probability that grows with time.
//! 4. **Reserve** ([`accounting`]): the engine counts one more session at once, long before a probe shows it.
//!
//! A decision scores every eligible engine of the pool; in a pool of more than 1,000 engines it scores a random sample,
//! and all only when none of the sample is eligible. `pool` keeps one candidate for each engine and reads the accounting
//! of an engine again only when it has changed (`accounting::dirty_set`) or when time alone changes it: a placement
//! expires, or a trial is due. Nothing else is kept between decisions.
//!
//! # Accounting
//!
//! An [`accounting::EngineAccounting`] is the accounting of one engine. A probe shows the sessions of an engine up to 10 s late.
//! The accounting knows which streams the last probe cannot have seen, and which of those that it has seen are closed:
//! a session is counted exactly once. A [`accounting::Reservation`] counts while its stream is prepared; afterwards the
//! stream counts under its name until a gateway reports it closed, or until it expires because no gateway ever reported
//! it open. [`cost`] learns from the probes what a session costs, so that memory and CPU count at once, too.
//! Replicas of the service share their counts through a [`capacity_ledger::CapacityLedger`].
//!
//! # Modules
//!
//! | module | job |
//! | --- | --- |
//! | `scheduler` | the entry point: decides and reserves under the pool's lock |
//! | `decision` | one decision: filter, score, pick |
//! | `pool` | the engines of the current snapshot, with one up-to-date candidate for each |
//! | [`candidate`] | the numbers of one engine, and the pool's means that they are compared with |
//! | [`filter`], [`score`], `strategies` | the three steps |
//! | [`strategy`] | names and weights of the strategies, as the configuration has them |
//! | `affinity` | which engines hold which document |
//! | [`circuit_breaker`] | ejects an engine after a failed placement, and lets one trial through at a time |
//! | [`explain`] | the reasons of one decision, for operators |
//! | [`accounting`] | sessions of each engine; streams of each login session |
//! | [`cost`] | what a session costs in memory and CPU, learned per document |
//! | [`engine`] | names, addresses, state and load of an engine |
//! | [`stream_holder`] | whose streams count together |

pub mod accounting;
mod affinity;
pub mod candidate;
pub mod capacity_ledger;
pub mod circuit_breaker;
pub mod cost;
mod decision;
pub mod engine;
pub mod explain;
pub mod filter;
mod pool;
mod scheduler;
pub mod score;
mod strategies;
pub mod strategy;
pub mod stream_holder;

pub use scheduler::{BackgroundTrial, Rules, Scheduler, SchedulingRequest, Selection};

/// The position of an engine in its pool's snapshot.
type EngineIndex = u32;

#[cfg(test)]
mod tests;
