//! The event log in Redis: a stream. One script takes the next number from a counter and adds the entry. Redis
//! runs one script at a time, so numbers become visible in order and without gaps.

use super::RedisStore;
use crate::row::{from_json, to_json};
use crate::{Bounds, DeadLetter, Event, EventLog, StoreError};
use async_trait::async_trait;
use redis::cmd;
use std::collections::HashMap;

scripts! {
    APPEND = "for _, event in ipairs(ARGV) do log(event) end";
    BOUNDS = "
        local first = redis.call('XRANGE', p .. 'events', '-', '+', 'COUNT', 1)
        return {redis.call('GET', p .. 'sequence') or '0', first[1] and first[1][1] or ''}";
    ADD_LETTER = "
        redis.call('ZREMRANGEBYSCORE', p .. ARGV[1], ARGV[2], ARGV[2])
        redis.call('ZADD', p .. ARGV[1], ARGV[2], ARGV[3])
        redis.call('ZREMRANGEBYRANK', p .. ARGV[1], 0, -(tonumber(ARGV[4]) + 1))";
}

#[async_trait]
impl EventLog for RedisStore {
    async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        let texts: Vec<_> = events.iter().map(to_json).collect::<Result<_, _>>()?;
        self.script(&APPEND, &texts).await
    }

    async fn events_after(
        &self,
        sequence: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        let mut range = cmd("XRANGE");
        range.arg(self.key("events"));
        range.arg(format!("{}-0", sequence.saturating_add(1)));
        range.arg("+").arg("COUNT").arg(limit);
        let entries: Vec<(String, HashMap<String, String>)> = self.command(&range).await?;
        let read = |(id, fields): (String, HashMap<String, String>)| {
            let event = fields.get("event").map_or("", String::as_str);
            Ok((number(&id)?, from_json("an event", event)?))
        };
        entries.into_iter().map(read).collect()
    }

    async fn bounds(&self) -> Result<Bounds, StoreError> {
        let (newest, oldest): (u64, String) = self.script(&BOUNDS, &[]).await?;
        let removed = match oldest.as_str() {
            "" => newest,
            id => number(id)?.saturating_sub(1),
        };
        Ok(Bounds { removed, newest })
    }

    async fn trim_events(&self, keep: u64) -> Result<(), StoreError> {
        let mut trim = cmd("XTRIM");
        trim.arg(self.key("events")).arg("MAXLEN").arg(keep);
        self.command(&trim).await
    }

    async fn position(&self, reader: &str) -> Result<Option<u64>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(self.key("positions")).arg(reader);
        self.command(&get).await
    }

    async fn set_position(&self, reader: &str, sequence: u64) -> Result<(), StoreError> {
        let mut set = cmd("HSET");
        set.arg(self.key("positions")).arg(reader).arg(sequence);
        self.command(&set).await
    }

    async fn add_dead_letter(&self, letter: &DeadLetter, keep: u32) -> Result<(), StoreError> {
        let arguments = [
            format!("letters:{}", letter.webhook),
            letter.sequence.to_string(),
            to_json(letter)?,
            keep.to_string(),
        ];
        self.script(&ADD_LETTER, &arguments).await
    }

    async fn dead_letter(
        &self,
        webhook: &str,
        sequence: u64,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let mut range = cmd("ZRANGEBYSCORE");
        range.arg(self.key(&format!("letters:{webhook}")));
        range.arg(sequence).arg(sequence);
        let texts: Vec<String> = self.command(&range).await?;
        let letter = texts.first();
        letter
            .map(|text| from_json("a dead letter", text))
            .transpose()
    }

    async fn dead_letters(&self, webhook: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let mut range = cmd("ZRANGEBYSCORE");
        range.arg(self.key(&format!("letters:{webhook}")));
        range.arg("-inf").arg("+inf");
        range.arg("LIMIT").arg(0).arg(limit);
        let texts: Vec<String> = self.command(&range).await?;
        let letters = texts.iter();
        letters
            .map(|text| from_json("a dead letter", text))
            .collect()
    }

    async fn remove_dead_letter(&self, webhook: &str, sequence: u64) -> Result<bool, StoreError> {
        let mut remove = cmd("ZREMRANGEBYSCORE");
        remove.arg(self.key(&format!("letters:{webhook}")));
        remove.arg(sequence).arg(sequence);
        self.command(&remove).await
    }
}

/// The sequence number in the id of a stream entry.
fn number(id: &str) -> Result<u64, StoreError> {
    let number = id.split('-').next().and_then(|text| text.parse().ok());
    number.ok_or_else(|| StoreError::malformed("a sequence number", "not a number"))
}
