//! No secret is written down. The test plays a scenario through Envoy at the most verbose log level, and then
//! searches for every cookie, session id, password and token of it in all logs, metrics and stores.
#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

mod audit;
mod oidc_logins;
mod scenario;
mod secrets;
mod sinks;

use berth_databases::{Postgres, Redis};
use berth_harness::oidc_provider::OidcProvider;
use berth_harness::{Call, Result, Stack};
use serde_json::{Value, json};
use sinks::{Sink, Store};
use std::path::PathBuf;

/// Text that is written to the store and removed: it proves that the search reads the underlying files.
const PLANTED: &str = "planted-in-the-store-and-removed-again";

/// Plays the scenario on this store. Fails when a secret of it is found anywhere.
async fn check_no_leaks(store: Value, open: impl FnOnce(PathBuf) -> Store) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let provider = OidcProvider::start(dir.path()).await?;
    let mut stack = Stack::builder()
        .engines(2)
        .services(2)
        .service_config(&scenario::service_config())
        .service_config(&json!({"oidc": provider.config()}))
        .service_config(&json!({"store": store}))
        .filter_config(&scenario::filter_config())
        .start()
        .await?;
    provider.register(stack.address()).await?;
    // Only the filter's logger: Envoy's own trace log contains all headers regardless of the filter.
    let loud = Call::new("POST", "/logging?wasm=trace");
    assert_eq!(loud.send(stack.envoy.admin).await?.status, 200);
    let mut secrets = scenario::play(&mut stack, &provider).await?;
    let store = open(stack.dir.join("berth.db"));
    store.plant(PLANTED).await?;
    let (in_files, store) = (!matches!(store, Store::Sqlite(_)), store.contents().await?);
    let responses = sinks::collect_responses(&mut stack).await?;
    let logs = sinks::collect_logs(&mut stack)?;

    let (configuration, responses): (Vec<Sink>, Vec<Sink>) = responses
        .into_iter()
        .partition(|(name, _)| name.contains("config_dump"));
    let mut found = search_sinks(&secrets, &configuration);
    scenario::add_configured_secrets(&mut secrets);
    let kept_keys = &secrets;
    found.extend(search_sinks(kept_keys, &responses));
    found.extend(search_sinks(kept_keys, &logs));
    found.extend(search_sinks(kept_keys, &store));
    assert!(
        secrets.len() > 150,
        "a scenario with few secrets: {}",
        secrets.len()
    );
    assert!(found.is_empty(), "leaked:\n{}", found.join("\n"));

    // Texts that are not secret must be found: this proves that the sinks are complete and that the search works.
    let mut canary = secrets::Secrets::default();
    canary.add("the account", scenario::ACCOUNT);
    assert!(
        !search_sinks(&canary, &store).is_empty(),
        "nothing in the store"
    );
    let mut planted = secrets::Secrets::default();
    planted.add("what was planted", PLANTED);
    let found = search_sinks(&planted, &store);
    assert_eq!(!found.is_empty(), in_files, "in the files: {found:?}");
    let in_a_file = |what: &String| what.starts_with(sinks::FILE);
    assert!(found.iter().all(in_a_file), "removed: {found:?}");
    canary.add("the canary", scenario::CANARY);
    for place in ["berth.log: the account", "envoy.log: the canary"] {
        let found = search_sinks(&canary, &logs);
        let there = found.iter().any(|what| what.starts_with(place));
        assert!(there, "no {place} in {found:?}");
    }
    for (places, word) in [
        (&responses, "berth_rejections"),
        (&responses, "berth_sessions_created"),
        (&configuration, "berth_filter.wasm"),
        (&logs, "berth: refused, reason=bearer-invalid"),
        (&logs, "unknown-session"),
    ] {
        let there = |(_, bytes): &&Sink| String::from_utf8_lossy(bytes).contains(word);
        assert!(places.iter().any(|place| there(&place)), "no {word}");
    }
    audit::check(&logs)
}

fn search_sinks(secrets: &secrets::Secrets, places: &[Sink]) -> Vec<String> {
    let mut all = vec![];
    for (place, bytes) in places {
        let found = secrets.find_in(bytes);
        all.extend(found.into_iter().map(|what| format!("{place}: {what}")));
    }
    all
}

#[tokio::test]
async fn nothing_leaks_with_sqlite() -> Result<()> {
    check_no_leaks(json!({}), Store::Sqlite).await
}

#[tokio::test]
async fn nothing_leaks_with_postgresql() -> Result<()> {
    let server = Postgres::shared().await?;
    let url = server.database().await?;
    let store = json!({"kind": "postgres", "path": null, "url": {"inline": url}});
    check_no_leaks(store, |_| Store::Postgres(server, url)).await
}

#[tokio::test]
async fn nothing_leaks_with_redis() -> Result<()> {
    let server = Redis::shared().await?;
    let url = server.database();
    let store = json!({"kind": "redis", "path": null, "url": {"inline": url}});
    check_no_leaks(store, |_| Store::Redis(server, url)).await
}
