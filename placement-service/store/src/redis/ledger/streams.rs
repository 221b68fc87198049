//! The number of streams of each holder (a login session, or an API account) at each replica. A replica sends
//! its changed counts and gets the counts of the other replicas for the same holders. Accurate up to the time
//! between two exchanges.

use super::{RedisLedger, milliseconds};
use crate::StoreError;

/// Maximum number of counts per script.
const MAX_COUNTS: usize = 500;

ledger_scripts! {
    EXCHANGE_STREAMS = "
        local me, restart = ARGV[1], ARGV[3]
        local replicas = alive()
        if not is_alive(me) then return {} end
        renew_lease(me, ARGV[2])
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
    /// Stores the number of streams of each holder at this replica. Returns the numbers at the other replicas
    /// in the same order; fewer if the lease of this replica has expired. `restart`: drops all earlier counts
    /// of this replica first.
    ///
    /// # Errors
    /// When Redis does not answer: some counts may have been stored.
    pub async fn exchange_streams(
        &self,
        counts: &[(String, u32)],
        restart: bool,
    ) -> Result<Vec<u32>, StoreError> {
        let mut elsewhere = Vec::with_capacity(counts.len());
        // At least one script must run to drop the earlier counts.
        let chunks = counts.len().div_ceil(MAX_COUNTS).max(usize::from(restart));
        let mut counts = counts.iter();
        for chunk in 0..chunks {
            let restart = if restart && chunk == 0 { "1" } else { "0" };
            let mut words = vec![
                self.replica.clone(),
                milliseconds(self.lease),
                restart.to_owned(),
            ];
            for (holder, count) in counts.by_ref().take(MAX_COUNTS) {
                words.extend([holder.clone(), count.to_string()]);
            }
            let answer: Vec<u32> = self.store.script(&EXCHANGE_STREAMS, &words).await?;
            elsewhere.extend(answer);
        }
        Ok(elsewhere)
    }
}
