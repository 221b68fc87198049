//! The head of a request (`name: value` lines), an empty line, and the response of the placement service (a status, a
//! blank, a body): through the whole decision. Checks what would reach the upstream.
use berth_filter_core::config::Config;
use berth_filter_core::decision::effects::HeaderMutation;
use berth_filter_core::decision::pending::CallOutcome;
use berth_filter_core::decision::{Decision, Worker, decide};
use berth_filter_core::request::cookie;
use berth_filter_core::routing::Action;

const CONFIG: &[u8] = br#"{
    "cookie": "berth",
    "origins": ["https://portal.example.com"],
    "routes": [{"path": "/login", "action": "bypass"}, {"prefix": "/app/", "action": "place"}, {"prefix": "/api", "action": "authenticate"},
        {"prefix": "/bots", "action": "place", "bearer": "allow"}, {"prefix": "/jup", "action": "place", "http": "allow"}, {"prefix": "/open", "action": "authenticate", "bearer": "allow", "anonymous": "allow"}],
    "tokens": {"keys": [{"alg": "HS256", "secret": "a-secret-of-the-case-table-and-of-nothing-else"}]}
}"#;

const WORKER: Worker<'_> = Worker {
    gateway: "0c5b",
    draining: false,
};

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

thread_local! {
    static PARSED_CONFIG: Config = Config::parse(CONFIG, &|_| None).unwrap();
}

fn apply(headers: &mut Headers, mutations: Vec<HeaderMutation>) -> Vec<String> {
    let mut set = Vec::new();
    for mutation in mutations {
        match mutation {
            HeaderMutation::Remove(name) => headers.retain(|(n, _)| n != name.as_bytes()),
            HeaderMutation::Set(name, value) => {
                headers.retain(|(n, _)| n != name.as_bytes());
                headers.push((name.as_bytes().to_vec(), value));
                set.push(name.into_owned());
            }
            HeaderMutation::Add(name, value) => {
                headers.push((name.into_owned().into_bytes(), value))
            }
            HeaderMutation::Nonce(name) => {
                headers.retain(|(n, _)| n != name.as_bytes());
                headers.push((
                    name.as_bytes().to_vec(),
                    b"AAAAAAAAAAAAAAAAAAAAAA==".to_vec(),
                ));
            }
        }
    }
    set
}

/// No spoofed header is forwarded, no invalid token, and the login cookie only on bypass routes.
fn check_upstream_headers(config: &Config, headers: &Headers, set: &[String], action: Option<Action>) {
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let trusted = lower.starts_with(b"x-berth-")
            || [&b"authorization"[..], b"x-qlik-session"].contains(&&*lower);
        let by_engines = lower.starts_with(b"x-qlik-") || lower == b"proxy-authorization";
        let trusted = trusted || (by_engines && action == Some(Action::Place));
        assert!(!trusted || set.iter().any(|s| s.as_bytes() == name));
        if name == b"authorization" {
            let token = value.strip_prefix(b"Bearer ").unwrap();
            assert!(config.keys.verify(str::from_utf8(token).unwrap()).is_ok());
        }
        if name == b"cookie" && action != Some(Action::Bypass) {
            assert_eq!(cookie::find(&[value], "berth"), Ok(None));
        }
    }
}

fn check_request(config: &Config, data: &[u8]) {
    let cut = data.windows(2).position(|two| two == b"\n\n");
    let (head, answer) = cut.map_or((data, &b""[..]), |at| (&data[..at], &data[at + 2..]));
    let mut headers: Headers = head
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let colon = line.iter().skip(1).position(|b| *b == b':')? + 1;
            Some((
                line[..colon].to_vec(),
                line[colon + 1..].trim_ascii().to_vec(),
            ))
        })
        .collect();
    let first = {
        let pairs = headers.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        decide(config, &config.keys, WORKER, pairs)
    };
    let action = first.route.map(|at| config.routes[at].action);
    match first.decision {
        Decision::Reply(reply) => assert!((302..=599).contains(&reply.status)),
        Decision::Preflight(headers) => {
            let mut values = headers.iter().map(|(_, value)| value.as_bytes());
            assert!(values.all(|value| !value.iter().any(u8::is_ascii_control)));
        }
        Decision::Pass(mutations) => {
            assert_ne!(action, Some(Action::Place));
            let set = apply(&mut headers, mutations);
            check_upstream_headers(config, &headers, &set, action);
        }
        Decision::Call {
            mutations,
            callout,
            pending,
        } => {
            assert!(serde_json::from_slice::<serde_json::Value>(&callout.body).is_ok());
            apply(&mut headers, mutations);
            check_upstream_headers(config, &headers, &[], action);
            let (status, body) = answer.split_at(answer.len().min(4));
            let status = str::from_utf8(status.trim_ascii())
                .ok()
                .and_then(|s| s.parse().ok());
            match pending.on_response(
                config,
                &config.keys,
                &|_| false,
                status.unwrap_or(200),
                body,
            ) {
                CallOutcome::Reply(reply) => assert!((302..=599).contains(&reply.status)),
                CallOutcome::Route { mutations, .. } => {
                    let set = apply(&mut headers, mutations);
                    check_upstream_headers(config, &headers, &set, action);
                }
            }
        }
    }
}

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    PARSED_CONFIG.with(|config| check_request(config, data));
}
