//! The attempts of a placement without an existing engine session: selects an engine, queues for capacity where
//! the pool allows it, lets the driver prepare the session, and tries the next engine if one fails. Does not
//! decide which engine is best: the scheduler does.

use super::pool::{self, Pool};
use super::{PlaceRequest, Placer, stream_name};
use crate::core::rejection::Refusal;
use crate::engines::drivers::{DriverFault, PrepareRequest, RequestMutation};
use crate::placement::routes::Target;
use berth_api::Reason;
use berth_scheduler::accounting::Reservation;
use berth_scheduler::capacity_ledger::Confirmed;
use berth_scheduler::engine::{Engine, EngineName};
use berth_scheduler::explain::Explanation;
use berth_scheduler::filter::Exclusions;
use berth_scheduler::{Ask, Choice};
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How often the head of the queue checks for capacity: a closed stream, an expired reservation or a probe may
/// free some.
const LOOK: Duration = Duration::from_millis(25);

/// An engine on which the session is prepared.
pub(super) struct Found {
    pub(super) engine: Arc<Engine>,
    pub(super) prepared: RequestMutation,
    pub(super) reservation: Reservation,
}

/// What a placement records about its decision.
#[derive(Default)]
pub(super) struct Notes {
    /// Whether the explanation is needed.
    pub(super) wanted: bool,
    /// The explanation of the latest decision, if needed.
    pub(super) explanation: Option<Explanation>,
}

/// The inputs of one placement.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) pool: &'a Pool,
    pub(super) target: &'a Target,
    pub(super) request: &'a PlaceRequest<'a>,
    pub(super) deadline: Instant,
}

impl<'a> Task<'a> {
    /// The driver's request to prepare the session on this engine; the engine must send its first response by
    /// `first_word`.
    pub(super) fn job(
        &self,
        engine: &Engine,
        first_word: Instant,
        connecting: SemaphorePermit<'a>,
    ) -> PrepareRequest<'a> {
        PrepareRequest {
            engine: engine.endpoint.api,
            token: self.request.token,
            path: self.request.path,
            target: &self.target.opening,
            first_response_by: self.deadline.min(first_word),
            deadline: self.deadline,
            connect_permit: Some(connecting),
            dry_run: false,
        }
    }
}

struct Chosen<'a> {
    choice: Choice,
    /// Dropped when the engine has sent its first response.
    connecting: SemaphorePermit<'a>,
    began: Instant,
}

enum NotChosen {
    /// The deadline has passed.
    Late,
    /// No engine is eligible.
    Nobody(Exclusions),
    /// The queue is full.
    NoPlaceToWait,
    /// The queue timeout has passed before this placement reached the head of the queue.
    WaitedInVain,
    /// The replicas' ledger cannot confirm capacity, for this reason.
    Unsure(&'static str),
    Internal,
}

impl Placer {
    /// Selects an engine and prepares the session there; tries further engines up to the limit of attempts.
    pub(super) async fn find(&self, task: Task<'_>, notes: &mut Notes) -> Result<Found, Refusal> {
        let Task { pool, request, .. } = task;
        let mut tried = Vec::new();
        let mut last_fault = None;
        for _ in 0..self.limits.attempts.max(1) {
            let Chosen {
                choice,
                connecting,
                began,
            } = match self.choose(task, &tried, notes).await {
                Ok(chosen) => chosen,
                Err(NotChosen::Internal) => return Err(Reason::Internal.into()),
                Err(NotChosen::Late) => break,
                Err(_) if last_fault.is_some() => break,
                Err(NotChosen::Nobody(why)) => return Err(self.no_choice(&why)),
                Err(NotChosen::Unsure(why)) => {
                    let refusal = Refusal::new(Reason::StoreDown).with_detail(why);
                    return Err(refusal.retry_after(1));
                }
                Err(NotChosen::NoPlaceToWait) => {
                    return Err(self.full("the placement queue is full"));
                }
                Err(NotChosen::WaitedInVain) => {
                    return Err(
                        self.full("timed out in the placement queue behind other placements")
                    );
                }
            };
            let Choice {
                engine,
                reservation,
                trial,
                rehearsal,
                ..
            } = choice;
            if let Some(rehearsal) = rehearsal {
                pool.rehearse(rehearsal, request.token, self.limits.engine_timeout);
            }
            let first_word = began + self.limits.engine_timeout;
            let job = task.job(&engine, first_word, connecting);
            let result = pool.driver.prepare(job).await;
            let now = Instant::now();
            let outcome = result.as_ref().map_or_else(DriverFault::as_str, |_| "ok");
            self.metrics.attempted(&pool.name, outcome, now - began);
            pool::judge(&pool.name, &engine, result.as_ref().err(), began, now);
            drop(trial);
            match result {
                Ok(prepared) => {
                    return Ok(Found {
                        engine,
                        prepared,
                        reservation,
                    });
                }
                Err(DriverFault::NoSuchDocument) => return Err(Reason::NoSuchDocument.into()),
                Err(fault) => {
                    tried.push(engine.name.clone());
                    last_fault = Some(fault);
                }
            }
        }
        let why = last_fault.as_ref().map_or("deadline", DriverFault::as_str);
        Err(Refusal::new(Reason::EngineFailed)
            .with_detail(format!(
                "{} engines tried, the last one failed with: {why}",
                tried.len()
            ))
            .retry_after(1))
    }

    /// Selects an engine at once or, if all are full, after queueing for capacity.
    async fn choose<'a>(
        &'a self,
        task: Task<'a>,
        tried: &[EngineName],
        notes: &mut Notes,
    ) -> Result<Chosen<'a>, NotChosen> {
        let room = &task.pool.waiting;
        // A placement that has tried an engine has been through the queue already and does not queue again.
        if !tried.is_empty() || room.count() == 0 {
            match self.choose_now(task, tried, notes, task.deadline).await {
                Err(NotChosen::Nobody(why)) if why.for_want_of_room() => {}
                other => return other,
            }
        }
        let until = task.deadline.min(Instant::now() + room.time());
        let Some(place) = room.enter() else {
            if room.count() == 0 {
                // The pool has no queue: the error names what is full.
                return self.choose_now(task, tried, notes, until).await;
            }
            return Err(NotChosen::NoPlaceToWait);
        };
        let Ok(_first) = timeout_at(until, place.first()).await else {
            return Err(NotChosen::WaitedInVain);
        };
        loop {
            let began = Instant::now();
            match self
                .choose_now(task, tried, notes, until.max(began + LOOK))
                .await
            {
                Err(NotChosen::Nobody(why)) if why.for_want_of_room() => {
                    if Instant::now() >= until {
                        return Err(NotChosen::Nobody(why));
                    }
                }
                other => return other,
            }
            sleep_until(until.min(began + LOOK)).await;
        }
    }

    /// Selects an engine for which the replicas' ledger confirms capacity; excludes engines that are full in
    /// the ledger and selects again.
    async fn choose_now<'a>(
        &'a self,
        task: Task<'a>,
        tried: &[EngineName],
        notes: &mut Notes,
        until: Instant,
    ) -> Result<Chosen<'a>, NotChosen> {
        let mut full: Vec<EngineName> = Vec::new();
        loop {
            let chosen = if full.is_empty() {
                self.choose_here(task, tried, notes, until).await
            } else {
                let left_out = [tried, &full].concat();
                self.choose_here(task, &left_out, notes, until).await
            };
            let mut chosen = match chosen {
                Err(NotChosen::Nobody(mut why)) => {
                    why.found_full(full.len());
                    return Err(NotChosen::Nobody(why));
                }
                chosen => chosen?,
            };
            let most = task.pool.chooser.most();
            let confirmed = chosen.choice.reservation.confirm(stream_name, most);
            match timeout_at(task.deadline, confirmed).await {
                Ok(Confirmed::Yes) => {
                    if let Some(why) = &mut notes.explanation {
                        why.found_full(&full);
                    }
                    return Ok(chosen);
                }
                Ok(Confirmed::EngineFull { .. }) => full.push(chosen.choice.engine.name.clone()),
                Ok(Confirmed::PoolFull) => return Err(NotChosen::Nobody(Exclusions::pool_full())),
                Ok(Confirmed::Unsure(why)) => return Err(NotChosen::Unsure(why)),
                Err(_) => return Err(NotChosen::Late),
            }
        }
    }

    /// Selects an engine by the accounting of this process alone.
    async fn choose_here<'a>(
        &'a self,
        task: Task<'a>,
        tried: &[EngineName],
        notes: &mut Notes,
        until: Instant,
    ) -> Result<Chosen<'a>, NotChosen> {
        let Ok(Ok(connecting)) = timeout_at(until, self.connecting.acquire()).await else {
            return Err(NotChosen::Late);
        };
        let began = Instant::now();
        let fleet = self.fleet.snapshot();
        let Some(now) = fleet.pools().get(task.target.pool) else {
            return Err(NotChosen::Internal);
        };
        let ask = Ask {
            document: task.target.opening.document(),
            tried,
            now: began,
        };
        let share = self.limits.log_decisions;
        let logged = share > 0.0 && rand::rng().random::<f64>() < share;
        let chooser = &task.pool.chooser;
        let choice = if logged || notes.wanted {
            let (choice, why) = chooser.choose_explained(&now.engines, &ask);
            if logged {
                super::explain::log(&task.pool.name, &why);
            }
            notes.explanation = Some(why);
            choice
        } else {
            chooser.choose(&now.engines, &ask)
        };
        let choice = choice.map_err(NotChosen::Nobody)?;
        Ok(Chosen {
            choice,
            connecting,
            began,
        })
    }

    fn full(&self, why: &str) -> Refusal {
        Refusal::new(Reason::EnginesFull)
            .with_detail(why)
            .retry_after(self.retry_after_s)
    }

    fn no_choice(&self, why: &Exclusions) -> Refusal {
        let reason = if why.for_want_of_room() {
            Reason::EnginesFull
        } else {
            Reason::NoEngine
        };
        Refusal::new(reason)
            .with_detail(why.to_string())
            .retry_after(self.retry_after_s)
    }
}
