//! How many streams each login session, or program account, has at each replica: a replica sends its counts that
//! have changed, and gets what the others have of the same holders. Approximate by the time between two exchanges.

use super::{RedisLedger, ms};
use crate::StoreError;

/// Counts in one script at the most.
const COUNTS: usize = 500;

ledger_scripts! {
    EXCHANGE_STREAMS = "
        local me, restart = ARGV[1], ARGV[3]
        local replicas = alive()
        if not is_alive(me) then return {} end
        lives(me, ARGV[2])
        if restart == '1' then redis.call('DEL', holders(me)) end
        local elsewhere = {}
        for at = 4, #ARGV, 2 do
            local holder, count = ARGV[at], ARGV[at + 1]
            if count == '0' then
                redis.call('HDEL', holders(me), holder)
            else
                redis.call('HSET', holders(me), holder, count)
            end
            local sum = 0
            for _, replica in ipairs(replicas) do
                if replica ~= me then sum = sum + tonumber(redis.call('HGET', holders(replica), holder) or 0) end
            end
            elsewhere[#elsewhere + 1] = sum
        end
        return elsewhere";
}

impl RedisLedger {
    /// Enters how many streams each of these holders has at this replica. What the other replicas have of each, in
    /// the same order; fewer, when this replica has lapsed. `restart`: all earlier counts of it are dropped.
    ///
    /// # Errors
    /// When Redis does not answer: some may be entered.
    pub async fn exchange_streams(
        &self,
        counts: &[(String, u32)],
        restart: bool,
    ) -> Result<Vec<u32>, StoreError> {
        let mut elsewhere = Vec::with_capacity(counts.len());
        // One script at the least, if all are to be dropped.
        let chunks = counts.len().div_ceil(COUNTS).max(usize::from(restart));
        let mut counts = counts.iter();
        for chunk in 0..chunks {
            let restart = if restart && chunk == 0 { "1" } else { "0" };
            let mut words = vec![self.me.clone(), ms(self.lease), restart.to_owned()];
            for (holder, count) in counts.by_ref().take(COUNTS) {
                words.extend([holder.clone(), count.to_string()]);
            }
            let answer: Vec<u32> = self.store.script(&EXCHANGE_STREAMS, &words).await?;
            elsewhere.extend(answer);
        }
        Ok(elsewhere)
    }
}
