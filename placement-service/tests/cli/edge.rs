//! `berth check --edge`: findings in files that are kept by hand have their file and their place.

use super::render::{DEMO, render_files, text};
use super::run_berth;
use std::fs;

#[test]
fn every_finding_in_the_files_of_the_edge_is_reported_at_once() {
    let (dir, _) = render_files("envoy", DEMO);
    let copy = |name: &str, old: &str, new: &str| {
        let path = dir.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(old, new)).unwrap();
        path
    };
    let config = copy("config.yaml", "idle_timeout: 0s", "idle_timeout: 1h");
    let filter = copy("filter.yaml", "cookie: berth", "cookie: other");
    let args = ["check", DEMO, "--edge", text(&config), text(&filter)];
    let (code, out, err) = run_berth(&args, "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains(&format!("{}: static_resources.", config.display())),
        "{err}"
    );
    assert!(err.contains("route.idle_timeout: must be 0s"), "{err}");
    assert!(
        err.contains(&format!("{}: resources[0].", filter.display())),
        "{err}"
    );
    assert!(
        err.contains("cookie: is \"other\", but the service has \"berth\""),
        "{err}"
    );
    let (code, _, err) = run_berth(&["check", DEMO, "--edge", "/nowhere.yaml"], "");
    assert!(
        code == Some(1) && err.starts_with("/nowhere.yaml: "),
        "{err}"
    );
}

/// The rendered files of the demonstration, each time with one mistake of an editor.
#[test]
fn each_mistake_is_found_at_its_place() {
    let (dir, _) = render_files("envoy", DEMO);
    let [config, filter] = ["config.yaml", "filter.yaml"].map(|name| dir.path().join(name));
    let rendered = [&config, &filter].map(|path| fs::read_to_string(path).unwrap());
    let check = || run_berth(&["check", DEMO, "--edge", text(&config), text(&filter)], "");
    let (code, _, err) = check();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for (old, new, finding) in [
        // A route is missing on one side.
        (
            "- match: { path: /logout }",
            "- match: { path: /log-out }",
            "config.yaml: there is no route for the path /logout",
        ),
        (
            "- { path: /logout, action: bypass }",
            "",
            "routes: there is no route for the path /logout",
        ),
        // A header is not removed.
        (
            "- remove: x-qlik-session",
            "",
            "does not remove x-qlik-session",
        ),
        // Capabilities.
        ("proxy_on_tick: {}", "", "has no proxy_on_tick"),
        (
            "proxy_on_tick: {}",
            "proxy_on_tick: {}\n              proxy_call_foreign_function: {}",
            "has proxy_call_foreign_function",
        ),
        // Another secret, audience, key.
        (
            "secret: berth-demo-secret-known-to-everybody",
            "secret: another-secret-of-more-than-32-bytes",
            "tokens.keys: has no key",
        ),
        (
            "secret: berth-demo-secret-known-to-everybody",
            "secret_env: OTHER_KEY",
            "tokens.keys[0].secret_env: is OTHER_KEY",
        ),
        (
            "authority: berth-placement",
            "authority: berth-placement\n              secret_env: OTHER",
            "service.secret_env: must be absent",
        ),
        (
            "audience: engine",
            "audience: another",
            "tokens.audience: is \"another\"",
        ),
        (
            "issuer: berth",
            "issuer: another",
            "tokens.issuer: is \"another\"",
        ),
        // No watchdog, no filter.
        (
            "watchdogs:",
            "unknown:",
            "watchdogs.worker_watchdog: has no kill_timeout",
        ),
        (
            "config_discovery:",
            "unknown:",
            "http_filters: has no enabled Berth filter",
        ),
    ] {
        let changed = rendered.iter().position(|text| text.contains(old));
        let changed = changed.unwrap_or_else(|| panic!("no file contains {old}"));
        let path = [&config, &filter][changed];
        fs::write(path, rendered[changed].replacen(old, new, 1)).unwrap();
        let (code, out, err) = check();
        fs::write(path, &rendered[changed]).unwrap();
        assert_eq!((code, out.as_str()), (Some(1), ""), "{new}");
        assert!(err.contains(finding), "{finding}: {err}");
        assert!(!err.contains("another-secret"), "{err}");
    }
}
