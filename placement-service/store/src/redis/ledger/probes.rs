//! The probe results that the probing replica shares with the others, as a stream that keeps the last minute.

use super::RedisLedger;
use crate::StoreError;
use std::time::Duration;

/// Maximum number of probe results per script.
const MAX_PROBES: usize = 500;

ledger_scripts! {
    PUBLISH_PROBES = "
        for at = 1, #ARGV, 3 do
            redis.call('XADD', l .. 'probes', 'MAXLEN', '~', 20000, '*', 'e', ARGV[at], 'r', ARGV[at + 1], 'a', ARGV[at + 2])
        end
        -- Redis 6.0 does not know MINID; MAXLEN above bounds the stream there.
        redis.pcall('XTRIM', l .. 'probes', 'MINID', '~', whole(now - 60000))
        return 1";
    READ_PROBES = "
        local from = ARGV[1] ~= '' and ARGV[1] or whole(now - 30000)
        local found = redis.call('XREAD', 'COUNT', ARGV[2], 'STREAMS', l .. 'probes', from)
        local flat = {}
        if found then
            for _, entry in ipairs(found[1][2]) do
                local published_ms = tonumber(entry[1]:match('^%d+'))
                local age_ms = math.max(now - published_ms, 0) + tonumber(entry[2][6])
                for _, word in ipairs({entry[1], entry[2][2], entry[2][4], whole(age_ms)}) do flat[#flat + 1] = word end
            end
        end
        return flat";
}

/// One probe result of an engine, published by the replica that probes.
#[derive(Debug, PartialEq, Eq)]
pub struct SharedProbe {
    pub engine: String,
    pub text: String,
    /// How long ago the probe began.
    pub age: Duration,
}

impl RedisLedger {
    /// Publishes probe results to the other replicas.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn publish_probes(&self, probes: &[SharedProbe]) -> Result<(), StoreError> {
        for some in probes.chunks(MAX_PROBES) {
            let words = some.iter().flat_map(|probe| {
                let age_ms = probe.age.as_millis().to_string();
                [probe.engine.clone(), probe.text.clone(), age_ms]
            });
            let words: Vec<String> = words.collect();
            self.store.script::<()>(&PUBLISH_PROBES, &words).await?;
        }
        Ok(())
    }

    /// The probe results after the cursor `place`, and the next cursor. An empty cursor starts 30 s ago.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn read_probes(&self, place: &str) -> Result<(Vec<SharedProbe>, String), StoreError> {
        let mut place = place.to_owned();
        let mut probes = Vec::new();
        loop {
            let words = [place.clone(), MAX_PROBES.to_string()];
            let flat: Vec<String> = self.store.script(&READ_PROBES, &words).await?;
            let count = flat.len() / 4;
            let mut flat = flat.into_iter();
            while let (Some(at), Some(engine), Some(text), Some(age_ms)) =
                (flat.next(), flat.next(), flat.next(), flat.next())
            {
                place = at;
                probes.push(SharedProbe {
                    engine,
                    text,
                    age: Duration::from_millis(age_ms.parse().unwrap_or(u64::MAX)),
                });
            }
            if count < MAX_PROBES {
                return Ok((probes, place));
            }
        }
    }
}
