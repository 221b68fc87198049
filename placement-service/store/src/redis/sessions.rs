//! Sessions in Redis: one script each for insert, touch, remove and list, so each is atomic.

use super::RedisStore;
use super::row::{Fields, encode_id, session_fields, session_from};
use crate::row::{read_rows, to_json};
use crate::session_id::IdHash;
use crate::{
    Event, InsertResult, SessionQuery, SessionRemoval, SessionRow, SessionStore, StoreError,
};
use async_trait::async_trait;
use redis::cmd;
use std::collections::{HashMap, HashSet};

scripts! {
    INSERT = include_str!("insert.lua");
    REMOVE = include_str!("remove.lua");
    TOUCH = include_str!("touch.lua");
    LIST = include_str!("list.lua");
    ORPHANS = include_str!("orphans.lua");
}

/// Sessions that one step of the search for orphans inspects: few enough that other commands do not wait for it.
const ORPHANS_STEP: u32 = 500;

#[async_trait]
impl SessionStore for RedisStore {
    async fn insert(
        &self,
        row: &SessionRow,
        limit: Option<u32>,
        event: &Event,
    ) -> Result<InsertResult, StoreError> {
        let limit = limit.map_or(String::new(), |limit| limit.to_string());
        let mut arguments = vec![encode_id(&row.id_hash), limit, to_json(event)?];
        for (name, value) in session_fields(row)? {
            arguments.extend([name.to_owned(), value]);
        }
        match self.script(&INSERT, &arguments).await? {
            1 => Ok(InsertResult::Inserted),
            _ => Ok(InsertResult::LimitReached),
        }
    }

    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError> {
        self.find_by_key(&encode_id(id)).await
    }

    async fn find_by_ref(&self, session_ref: &str) -> Result<Option<SessionRow>, StoreError> {
        let id: Option<String> = self
            .command(cmd("HGET").arg(self.key("refs")).arg(session_ref))
            .await?;
        match id {
            Some(id) => self.find_by_key(&id).await,
            None => Ok(None),
        }
    }

    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
        let pairs = seen.iter().map(|(id, at)| [encode_id(id), at.to_string()]);
        let arguments: Vec<_> = pairs.flatten().collect();
        self.script(&TOUCH, &arguments).await
    }

    async fn remove(&self, endings: &[SessionRemoval]) -> Result<Vec<IdHash>, StoreError> {
        let mut arguments = Vec::with_capacity(3 * endings.len());
        for ending in endings {
            let over_at = ending.only_if_expired_at_ms;
            arguments.push(encode_id(&ending.id_hash));
            arguments.push(over_at.map_or(String::new(), |at| at.to_string()));
            arguments.push(to_json(&ending.event)?);
        }
        let gone: HashSet<String> = self.script(&REMOVE, &arguments).await?;
        let ids = endings.iter().map(|ending| ending.id_hash);
        Ok(ids.filter(|id| gone.contains(&encode_id(id))).collect())
    }

    async fn list(&self, select: &SessionQuery, limit: u32) -> Result<Vec<SessionRow>, StoreError> {
        let list = |name: String| ["list".to_owned(), name];
        let of = |kind: &str, provider: &str, name: &str| {
            // The same key format as `lists` in shared.lua.
            list(format!("{kind}:{provider}\0{name}"))
        };
        let what = match select {
            SessionQuery::Account(account) => list(format!("account:{account}")),
            SessionQuery::ChildrenOf(id) => list(format!("children:{}", encode_id(id))),
            SessionQuery::Orphans => return self.list_orphans(limit).await,
            SessionQuery::ExpiredAt(now_ms) => ["over".to_owned(), now_ms.to_string()],
            SessionQuery::Provider {
                provider,
                session: Some(session),
                ..
            } => of("sid", provider, session),
            SessionQuery::Provider {
                provider,
                subject: Some(subject),
                ..
            } => of("subject", provider, subject),
            SessionQuery::Provider { .. } => return Ok(Vec::new()),
        };
        let mut arguments = vec![limit.to_string()];
        arguments.extend(what);
        let found: Vec<(String, Fields)> = self.script(&LIST, &arguments).await?;
        let rows = found.iter().map(|(id, fields)| session_from(id, fields));
        let mut rows = read_rows(select, rows)?;
        if let SessionQuery::Provider {
            subject: Some(subject),
            ..
        } = select
        {
            rows.retain(|row| row.provider.as_ref().is_some_and(|p| p.subject == *subject));
        }
        sort_oldest_first(&mut rows);
        Ok(rows)
    }

    async fn count_live(&self, now_ms: u64) -> Result<u64, StoreError> {
        let after = format!("({now_ms}");
        self.command(cmd("ZCOUNT").arg(self.key("ends")).arg(after).arg("+inf"))
            .await
    }
}

fn sort_oldest_first(rows: &mut [SessionRow]) {
    rows.sort_by(|a, b| (a.created_at_ms, &a.session_ref).cmp(&(b.created_at_ms, &b.session_ref)));
}

impl RedisStore {
    /// Searches all sessions, since an index of lost parents is lost with them. A session that exists during the whole
    /// search is inspected at least once.
    async fn list_orphans(&self, limit: u32) -> Result<Vec<SessionRow>, StoreError> {
        let mut found: HashMap<String, Fields> = HashMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let arguments = [cursor, ORPHANS_STEP.to_string()];
            let step: (String, Vec<(String, Fields)>) = self.script(&ORPHANS, &arguments).await?;
            found.extend(step.1);
            cursor = step.0;
            if cursor == "0" || found.len() >= limit as usize {
                break;
            }
        }
        let rows = found.iter().map(|(id, fields)| session_from(id, fields));
        let mut rows = read_rows(&SessionQuery::Orphans, rows)?;
        sort_oldest_first(&mut rows);
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn find_by_key(&self, id: &str) -> Result<Option<SessionRow>, StoreError> {
        let key = self.key(&format!("session:{id}"));
        let fields: Fields = self.command(cmd("HGETALL").arg(key)).await?;
        let there = !fields.is_empty();
        there.then(|| session_from(id, &fields)).transpose()
    }
}
