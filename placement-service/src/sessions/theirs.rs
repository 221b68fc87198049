//! Ends sessions selected by account, by provider subject or session, or by `session_ref`: by names known outside.

use super::Sessions;
use super::ending::BATCH;
use berth_store::{EndCause, ProviderLink, Select, SessionRow, StoreError};

/// Which sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All sessions of an account, local or from a provider.
    Account(String),
    /// All sessions of a subject of an identity provider.
    Provided { provider: String, subject: String },
    /// The session with that `session_ref`, if it is also one of `user`.
    Session {
        session_ref: String,
        user: Option<Box<Whose>>,
    },
    /// The sessions that a provider's session started, if they are also sessions of `user`.
    ProvidedSession {
        provider: String,
        session: String,
        user: Option<Box<Whose>>,
    },
}

impl Whose {
    /// Whether a session is selected.
    fn has(&self, row: &SessionRow) -> bool {
        let link = row.provider.as_ref();
        match self {
            Self::Account(account) => row.account == *account,
            Self::Provided { provider, subject } => {
                link.is_some_and(|link| link.provider == *provider && link.subject == *subject)
            }
            Self::Session { session_ref, user } => {
                row.session_ref == *session_ref && user.as_ref().is_none_or(|user| user.has(row))
            }
            Self::ProvidedSession {
                provider,
                session,
                user,
            } => {
                let same = |link: &&ProviderLink| {
                    link.provider == *provider && link.session.as_ref() == Some(session)
                };
                link.filter(same).is_some() && user.as_ref().is_none_or(|user| user.has(row))
            }
        }
    }
}

impl Sessions {
    /// Ends selected sessions created at or before that time, and returns how many, not counting child sessions.
    pub async fn end_theirs(
        &self,
        whose: &Whose,
        begun_by_ms: u64,
        cause: EndCause,
    ) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let rows = self.rows_of(whose).await?;
            let more = rows.len() == BATCH as usize;
            // The list is ordered by creation: sessions too young to end are last, so they cannot fill a batch.
            let meant = |row: &SessionRow| whose.has(row) && row.created_at_ms <= begun_by_ms;
            let rows: Vec<_> = rows.into_iter().filter(meant).collect();
            let none = rows.is_empty();
            all += self.end_rows(rows, cause, None).await?;
            if none || !more {
                return Ok(all);
            }
        }
    }

    /// At most [`BATCH`] rows. They include the oldest selected sessions, and possibly others.
    async fn rows_of(&self, whose: &Whose) -> Result<Vec<SessionRow>, StoreError> {
        let provided = |provider: &String, subject: Option<&String>, session: Option<&String>| {
            Select::Provider {
                provider: provider.clone(),
                subject: subject.cloned(),
                session: session.cloned(),
            }
        };
        let select = match whose {
            Whose::Account(account) => Select::Account(account.clone()),
            Whose::Provided { provider, subject } => provided(provider, Some(subject), None),
            Whose::ProvidedSession {
                provider, session, ..
            } => provided(provider, None, Some(session)),
            Whose::Session { session_ref, .. } => {
                let found = self.stores.sessions.find_by_ref(session_ref).await?;
                return Ok(found.into_iter().collect());
            }
        };
        self.stores.sessions.list(&select, BATCH).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::NewSession;
    use crate::sessions::tests::{World, demo, world};

    const CAUSE: EndCause = EndCause::SecurityEvent;

    fn of(subject: &str, session: Option<&str>) -> NewSession {
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

    fn provided(provider: &str, subject: &str) -> Whose {
        let (provider, subject) = (provider.to_owned(), subject.to_owned());
        Whose::Provided { provider, subject }
    }

    async fn begun(w: &World, new: NewSession) -> String {
        let (_, live) = w.sessions.begin(new).await.unwrap();
        live.session_ref.clone()
    }

    /// How many ended, whenever they were created.
    async fn ended(w: &World, whose: Whose) -> u64 {
        let ended = w.sessions.end_theirs(&whose, u64::MAX, CAUSE).await;
        ended.unwrap()
    }

    async fn lives(w: &World, session_ref: &str) -> bool {
        w.sessions.show(session_ref).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_provider_subject_selects_its_sessions_and_no_others() {
        let w = world().await;
        let local = begun(&w, demo()).await;
        let hers = [
            begun(&w, of("s", Some("1"))).await,
            begun(&w, of("s", None)).await,
        ];
        let other = begun(&w, of("t", Some("2"))).await;
        assert_eq!(ended(&w, provided("else", "s")).await, 0);
        assert_eq!(ended(&w, provided("idp", "s")).await, 2);
        assert!(!lives(&w, &hers[0]).await && !lives(&w, &hers[1]).await);
        assert!(lives(&w, &local).await && lives(&w, &other).await);
    }

    #[tokio::test]
    async fn a_session_ends_only_if_it_is_one_of_the_user() {
        let w = world().await;
        let session = begun(&w, of("s", Some("1"))).await;
        let named = |user: Option<Whose>| Whose::Session {
            session_ref: session.clone(),
            user: user.map(Box::new),
        };
        let behind = |id: &str, user: Option<Whose>| Whose::ProvidedSession {
            provider: "idp".to_owned(),
            session: id.to_owned(),
            user: user.map(Box::new),
        };
        let account = |name: &str| Whose::Account(name.to_owned());
        for nobody in [
            named(Some(account("root"))),
            named(Some(provided("idp", "t"))),
            behind("2", None),
            behind("1", Some(provided("idp", "t"))),
            behind("1", Some(account("root"))),
        ] {
            assert_eq!(ended(&w, nobody).await, 0);
        }
        assert_eq!(ended(&w, behind("1", Some(account("demo")))).await, 1);
        let second = begun(&w, of("s", Some("1"))).await;
        assert_eq!(ended(&w, named(None)).await, 0, "over");
        let second = Whose::Session {
            session_ref: second,
            user: Some(Box::new(provided("idp", "s"))),
        };
        assert_eq!(ended(&w, second).await, 1);
    }

    #[tokio::test]
    async fn sessions_created_later_stay_active_also_beyond_one_batch() {
        let w = world().await;
        let many = BATCH + 3;
        for _ in 0..many {
            begun(&w, demo()).await;
        }
        w.clock.advance_ms(1000);
        let later = begun(&w, demo()).await;
        let whose = Whose::Account("demo".to_owned());
        let then = crate::core::clock::Clock::now_ms(&*w.clock) - 1;
        let ended = w.sessions.end_theirs(&whose, then, CAUSE).await;
        assert_eq!(ended.unwrap(), u64::from(many));
        assert!(lives(&w, &later).await);
    }
}
