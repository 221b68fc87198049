//! The end of a callout: what the placement service's answer means, and what becomes of the requests that
//! waited for it. A token's answer serves every request of its session; a placement's serves one.

use super::{authorization, bearer_of};
use crate::cache::Grant;
use crate::config::Config;
use crate::placement::{self, Answer, Placed};
use crate::presentation::{Asker, present};
use crate::rejection::{Cause, Rejection};
use crate::route::{Action, MaxAge, Route};
use crate::step::{Change, Failure, Outcome};
use crate::token::Keys;
use crate::verified::Good;
use berth_api::Problem;
use std::rc::Rc;

/// What the placement service says of a session: the same for all of its requests that wait.
pub type Verdict = Result<Rc<Grant>, Rejection>;

/// Reads the answer of a token call, and verifies the token. `ended` knows sessions that are over.
///
/// # Errors
/// With the refusal, for each request to be presented in its own way.
pub fn verdict(keys: &Keys, ended: &dyn Fn(&str) -> bool, status: u16, body: &[u8]) -> Verdict {
    let (answer, until) = verified(keys, ended, status, body, placement::token)?;
    Ok(Rc::new(Grant {
        authorization: bearer_of(&answer.token),
        session_ref: answer.session_ref,
        until: until.min(answer.session_expires_at),
    }))
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ClusterMissing => Cause::ServiceClusterMissing.into(),
            Failure::Unreachable => Cause::ServiceUnreachable.into(),
        }
    }
}

/// A request that waits for a callout.
#[derive(Debug)]
pub struct Waiting {
    route: Option<usize>,
    action: Action,
    asker: Asker,
    anonymous: bool,
    max_age: Option<MaxAge>,
}

impl Waiting {
    /// `anonymous`: who turns out to have no session goes on as nobody.
    pub(super) const fn new(
        at: Option<usize>,
        route: &Route,
        asker: Asker,
        anonymous: bool,
    ) -> Self {
        Self {
            route: at,
            action: route.action,
            asker,
            anonymous,
            max_age: route.max_age,
        }
    }

    /// The placement service, or Envoy in its stead, has answered the request's own callout.
    #[must_use]
    pub fn on_reply(
        self,
        config: &Config,
        keys: &Keys,
        ended: &dyn Fn(&str) -> bool,
        status: u16,
        body: &[u8],
    ) -> Outcome {
        if self.action != Action::Place || self.asker != Asker::Upgrade {
            return self.settle(config, &verdict(keys, ended, status, body));
        }
        let answer = match verified(keys, ended, status, body, placement::placement) {
            Ok((answer, _)) => answer,
            Err(rejection) => return self.refuse(config, rejection),
        };
        let mut changes = answer.changes;
        changes.push(authorization(bearer_of(&answer.token)));
        let max_age = self.max_age;
        Outcome::Route {
            changes,
            session_ref: Some(answer.session_ref),
            placed: answer.placed.map(|placed| Placed { max_age, ..placed }),
        }
    }

    /// What is known of its session decides the request.
    #[must_use]
    pub fn settle(self, config: &Config, verdict: &Verdict) -> Outcome {
        let grant = match verdict {
            Ok(grant) => grant,
            // What names nobody has been taken off before the callout.
            Err(rejection) if self.anonymous && rejection.cause.wants_login() => {
                return routed(Vec::new(), None);
            }
            Err(rejection) => return self.refuse(config, rejection.clone()),
        };
        if self.action == Action::Place {
            return self.refuse(config, Cause::UpgradeRequired.into());
        }
        let changes = vec![authorization(grant.authorization.clone())];
        routed(changes, Some(grant.session_ref.clone()))
    }

    /// There was no answer at all.
    #[must_use]
    pub fn on_failure(self, config: &Config, failure: Failure) -> Outcome {
        self.refuse(config, failure.into())
    }

    fn refuse(self, config: &Config, rejection: Rejection) -> Outcome {
        Outcome::Reply(present(config, &self.asker, rejection).at(self.route))
    }
}

const fn routed(changes: Vec<Change>, session_ref: Option<String>) -> Outcome {
    Outcome::Route {
        changes,
        session_ref,
        placed: None,
    }
}

/// A sound answer whose token is good, with the token's end in Unix seconds.
fn verified(
    keys: &Keys,
    ended: &dyn Fn(&str) -> bool,
    status: u16,
    body: &[u8],
    read: impl Fn(&[u8]) -> Result<Answer, &'static str>,
) -> Result<(Answer, u64), Rejection> {
    if status != 200 {
        return Err(refusal(status, body));
    }
    let answer = read(body).map_err(|field| {
        Rejection::from(Cause::ServiceAnswerInvalid).with_detail(format!("wrong: {field}"))
    })?;
    let Good { until, .. } = keys
        .verify(&answer.token)
        .map_err(|fault| Rejection::from(Cause::TokenInvalid).with_detail(fault.to_string()))?;
    // The session ended while its answer was on its way.
    if ended(&answer.session_ref) {
        return Err(Cause::SessionExpired.into());
    }
    Ok((answer, until))
}

/// What an answer that is not 200 means: the service's own problem, or Envoy's words for a service
/// that was too slow (504) or not there (503).
fn refusal(status: u16, body: &[u8]) -> Rejection {
    if body.len() <= placement::MAX_ANSWER_BYTES
        && let Ok(problem) = serde_json::from_slice::<Problem>(body)
    {
        return Rejection {
            cause: problem.reason.into(),
            detail: problem.detail,
            retry_after: problem.retry_after,
            anonymous_cookie: problem.anonymous_cookie,
        };
    }
    match status {
        504 => Cause::ServiceTimeout.into(),
        503 => Cause::ServiceUnreachable.into(),
        _ => Rejection::from(Cause::ServiceAnswerInvalid).with_detail(format!("status {status}")),
    }
}
