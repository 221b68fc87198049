//! Ends sessions selected by account, by provider subject or session, or by `session_ref`: by names known outside.

use super::Sessions;
use super::ending::BATCH;
use berth_store::{EndCause, ProviderLink, SessionQuery, SessionRow, StoreError};

/// Which sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionSelector {
    /// All sessions of an account, by its key.
    Account(String),
    /// All sessions of a subject of an identity provider.
    ProviderSubject { provider: String, subject: String },
    /// The session with that `session_ref`, if it is also one of `user`.
    Session {
        session_ref: String,
        user: Option<Box<SessionSelector>>,
    },
    /// The sessions that a provider's session started, if they are also sessions of `user`.
    ProviderSession {
        provider: String,
        session: String,
        user: Option<Box<SessionSelector>>,
    },
}

impl SessionSelector {
    /// Whether a session is selected.
    fn matches(&self, row: &SessionRow) -> bool {
        let link = row.provider.as_ref();
        match self {
            Self::Account(account) => row.account == *account,
            Self::ProviderSubject { provider, subject } => {
                link.is_some_and(|link| link.provider == *provider && link.subject == *subject)
            }
            Self::Session { session_ref, user } => {
                row.session_ref == *session_ref
                    && user.as_ref().is_none_or(|user| user.matches(row))
            }
            Self::ProviderSession {
                provider,
                session,
                user,
            } => {
                let is_same_subject = |link: &&ProviderLink| {
                    link.provider == *provider && link.session.as_ref() == Some(session)
                };
                link.filter(is_same_subject).is_some()
                    && user.as_ref().is_none_or(|user| user.matches(row))
            }
        }
    }
}

impl Sessions {
    /// Ends selected sessions created at or before that time, and returns how many, not counting child sessions.
    pub async fn end_matching(
        &self,
        selector: &SessionSelector,
        created_before_ms: u64,
        cause: EndCause,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let rows = self.candidate_rows(selector).await?;
            let has_more = rows.len() == BATCH as usize;
            // The list is ordered by creation: sessions too young to end are last, so they cannot fill a batch.
            let meant =
                |row: &SessionRow| selector.matches(row) && row.created_at_ms <= created_before_ms;
            let rows: Vec<_> = rows.into_iter().filter(meant).collect();
            let is_empty = rows.is_empty();
            total += self.end_rows(rows, cause, None).await?;
            if is_empty || !has_more {
                return Ok(total);
            }
        }
    }

    /// At most [`BATCH`] rows. They include the oldest selected sessions, and possibly others.
    async fn candidate_rows(
        &self,
        selector: &SessionSelector,
    ) -> Result<Vec<SessionRow>, StoreError> {
        let provided = |provider: &String, subject: Option<&String>, session: Option<&String>| {
            SessionQuery::Provider {
                provider: provider.clone(),
                subject: subject.cloned(),
                session: session.cloned(),
            }
        };
        let select = match selector {
            SessionSelector::Account(account) => SessionQuery::Account(account.clone()),
            SessionSelector::ProviderSubject { provider, subject } => {
                provided(provider, Some(subject), None)
            }
            SessionSelector::ProviderSession {
                provider, session, ..
            } => provided(provider, None, Some(session)),
            SessionSelector::Session { session_ref, .. } => {
                let row = self.stores.sessions.find_by_ref(session_ref).await?;
                return Ok(row.into_iter().collect());
            }
        };
        self.stores.sessions.list(&select, BATCH).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::NewSession;
    use crate::sessions::tests::{Testbed, demo, testbed};

    const CAUSE: EndCause = EndCause::SecurityEvent;

    fn login_via(subject: &str, session: Option<&str>) -> NewSession {
        NewSession {
            provider: Some(ProviderLink {
                provider: "idp".to_owned(),
                subject: subject.to_owned(),
                session: session.map(str::to_owned),
                logout_hint: None,
            }),
            ..demo()
        }
    }

    fn provider_subject(provider: &str, subject: &str) -> SessionSelector {
        let (provider, subject) = (provider.to_owned(), subject.to_owned());
        SessionSelector::ProviderSubject { provider, subject }
    }

    async fn create_session(testbed: &Testbed, new_session: NewSession) -> String {
        let (_, live) = testbed.sessions.create(new_session).await.unwrap();
        live.session_ref.clone()
    }

    /// How many ended, whenever they were created.
    async fn count_ended(testbed: &Testbed, selector: SessionSelector) -> u64 {
        let result = testbed
            .sessions
            .end_matching(&selector, u64::MAX, CAUSE)
            .await;
        result.unwrap()
    }

    async fn is_active(testbed: &Testbed, session_ref: &str) -> bool {
        testbed
            .sessions
            .find_active(session_ref, None)
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_provider_subject_selects_its_sessions_and_no_others() {
        let testbed = testbed().await;
        let local = create_session(&testbed, demo()).await;
        let user_sessions = [
            create_session(&testbed, login_via("s", Some("1"))).await,
            create_session(&testbed, login_via("s", None)).await,
        ];
        let other = create_session(&testbed, login_via("t", Some("2"))).await;
        assert_eq!(
            count_ended(&testbed, provider_subject("else", "s")).await,
            0
        );
        assert_eq!(count_ended(&testbed, provider_subject("idp", "s")).await, 2);
        assert!(
            !is_active(&testbed, &user_sessions[0]).await
                && !is_active(&testbed, &user_sessions[1]).await
        );
        assert!(is_active(&testbed, &local).await && is_active(&testbed, &other).await);
    }

    #[tokio::test]
    async fn a_session_ends_only_if_it_is_one_of_the_user() {
        let testbed = testbed().await;
        let session = create_session(&testbed, login_via("s", Some("1"))).await;
        let by_id = |user: Option<SessionSelector>| SessionSelector::Session {
            session_ref: session.clone(),
            user: user.map(Box::new),
        };
        let by_provider_session =
            |id: &str, user: Option<SessionSelector>| SessionSelector::ProviderSession {
                provider: "idp".to_owned(),
                session: id.to_owned(),
                user: user.map(Box::new),
            };
        let account = |name: &str| SessionSelector::Account(name.to_owned());
        for unmatched in [
            by_id(Some(account("root"))),
            by_id(Some(provider_subject("idp", "t"))),
            by_provider_session("2", None),
            by_provider_session("1", Some(provider_subject("idp", "t"))),
            by_provider_session("1", Some(account("root"))),
        ] {
            assert_eq!(count_ended(&testbed, unmatched).await, 0);
        }
        assert_eq!(
            count_ended(&testbed, by_provider_session("1", Some(account("demo")))).await,
            1
        );
        let second = create_session(&testbed, login_via("s", Some("1"))).await;
        assert_eq!(count_ended(&testbed, by_id(None)).await, 0, "over");
        let second = SessionSelector::Session {
            session_ref: second,
            user: Some(Box::new(provider_subject("idp", "s"))),
        };
        assert_eq!(count_ended(&testbed, second).await, 1);
    }

    #[tokio::test]
    async fn sessions_created_later_stay_active_also_beyond_one_batch() {
        let testbed = testbed().await;
        let count = BATCH + 3;
        for _ in 0..count {
            create_session(&testbed, demo()).await;
        }
        testbed.clock.advance_ms(1000);
        let later_session = create_session(&testbed, demo()).await;
        let selector = SessionSelector::Account("demo".to_owned());
        let created_before_ms = crate::core::clock::Clock::now_ms(&*testbed.clock) - 1;
        let result = testbed
            .sessions
            .end_matching(&selector, created_before_ms, CAUSE)
            .await;
        assert_eq!(result.unwrap(), u64::from(count));
        assert!(is_active(&testbed, &later_session).await);
    }
}
