//! The commands that operate a running service.

use super::{PASSWORD, RunningService, berth_command, rows, run_berth, write_config};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn sessions_of_a_running_service_are_listed_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "session: { cookie: { secure: false } }");
    let file = file.to_str().unwrap();
    let args = [
        "account",
        "add",
        "demo",
        "--password-stdin",
        "--config",
        file,
    ];
    run_berth(&args, PASSWORD);
    let served = RunningService::start(Path::new(file));
    let login = || {
        let body = json!({"username": "demo", "password": PASSWORD});
        let answer = served.post("/login", body);
        let id = answer.split("berth=").nth(1).unwrap();
        id.split(';').next().unwrap().to_owned()
    };
    let token = |id: &str| served.post("/v1/tokens", json!({"session": id}));
    let sessions =
        |args: &[&str]| run_berth(&[&["sessions"], args, &["--config", file]].concat(), "");
    let refused_within_a_second = |id: &str| {
        let started_at = Instant::now();
        while !token(id).contains("unknown-session") {
            assert!(started_at.elapsed() < Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let ids = [login(), login(), login()];
    assert!(ids.iter().all(|id| token(id).contains("200 OK")));
    let (code, out, err) = sessions(&["ls", "--account", "demo"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines = rows(&out).split_off(1);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0][1..4], ["demo", "-", "berth"]);
    assert_eq!(lines[0][6..], ["-", "-", "demo"]);
    let (_, all, _) = sessions(&["ls", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["sessions"][0]["session_ref"], lines[0][0]);
    assert!(ids.iter().all(|id| !all.to_string().contains(id)));
    let names: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    let (_, listed, _) = sessions(&["ls", "-o", "name"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
    let none = ["ls", "--account", "ann", "--no-headers"];
    assert_eq!(sessions(&none).1, "");

    let (code, out, log) = sessions(&["end", lines[0][0]]);
    assert_eq!((code, out.as_str()), (Some(0), "ended 1\n"), "{log}");
    assert!(
        log.contains("session-ended") && log.contains("operator"),
        "{log}"
    );
    refused_within_a_second(&ids[0]);
    assert!(token(&ids[1]).contains("200 OK"));
    for name in [lines[0][0], "-hyphen", "--hyphen", "-h"] {
        let message = format!("there is no session {name:?}\n");
        assert_eq!(sessions(&["end", name]), (Some(1), String::new(), message));
    }
    assert_eq!(sessions(&["end"]).0, Some(2));
    assert_eq!(sessions(&["end", "x", "--account", "demo"]).0, Some(2));
    assert_eq!(sessions(&["end", "--account", "demo"]).1, "ended 2\n");
    refused_within_a_second(&ids[1]);
    refused_within_a_second(&ids[2]);
    served.terminate();
}

#[test]
fn engines_are_listed_drained_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    // No engine listens on these ports.
    let more = "api: { clients: [ { name: ops, role: operator, secret: { inline: operator-secret-1 } } ] }
pools: [ { name: p, driver: qix, cluster: c, discovery: { static: [
  { name: e, ip: 127.0.0.1, port: 1 } ] } }, { name: q, driver: qix, cluster: c, discovery: { static: [
  { name: e, ip: 127.0.0.1, port: 1 }, { name: f, ip: 127.0.0.1, port: 2 } ] } } ]
routes: [ { path: /x, pool: p } ]";
    let file = write_config(dir.path(), more);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let run_command = |args: &[&str]| {
        let more = ["--service", &at, "--config", file.to_str().unwrap()];
        run_berth(&[args, &more].concat(), "")
    };
    let (code, out, err) = run_command(&["engines", "ls"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines = rows(&out);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0][..3], ["POOL", "ENGINE", "ADDRESS"]);
    assert_eq!(lines[3][..3], ["q", "f", "127.0.0.1:2"]);
    assert_eq!((lines[3][4], lines[3][5]), ("-", "0"));
    assert_eq!(
        run_command(&["engines", "ls", "-o", "name"]).1,
        "p/e\nq/e\nq/f\n"
    );
    assert_eq!(
        run_command(&["engines", "drain", "e"]).2,
        "several pools have an engine \"e\": name it as p/e\n"
    );
    assert_eq!(
        run_command(&["engines", "drain", "g"]).2,
        "there is no engine \"g\"\n"
    );
    assert!(
        run_command(&["engines", "drain", "f", "--over", "x"])
            .2
            .contains("over: a time")
    );
    assert_eq!(
        run_command(&["engines", "drain", "p/e", "--over", "5s"]).1,
        "p/e is drained\n"
    );
    let listed = run_command(&["engines", "ls", "-o", "json"]).1;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed[0]["draining"], &listed[1]["draining"]),
        (&json!(true), &json!(false))
    );
    let nobody = "no engine of the pool p can take it: no-engine\n";
    let (code, out, err) = run_command(&["explain", "/x"]);
    assert_eq!((code, err.as_str()), (Some(1), nobody));
    assert!(out.starts_with("pool p: - (no-engine)\n"), "{out}");
    assert_eq!(rows(&out)[2][..2], ["ENGINE", "OUTCOME"]);
    assert_eq!(rows(&out)[3][..2], ["e", "draining"]);
    let (code, out, err) = run_command(&["explain", "/x", "-o", "json"]);
    assert_eq!((code, err.as_str()), (Some(1), nobody));
    let explained: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(explained["engines"][0]["outcome"], "draining");
    let named = run_command(&["explain", "/x", "-o", "name"]);
    assert_eq!(named, (Some(1), String::new(), nobody.to_owned()));
    assert_eq!(
        run_command(&["engines", "undrain", "p/e"]).1,
        "p/e is no longer drained\n"
    );
    assert!(
        run_command(&["explain", "/y"])
            .2
            .contains("No route takes this path")
    );
    served.terminate();
    let (code, _, err) = run_command(&["engines", "ls"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with(&format!("the service at {at}: ")), "{err}");
}

#[test]
fn keys_of_a_running_service_are_listed_explained_and_released() {
    let dir = tempfile::tempdir().unwrap();
    let engine = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = engine.local_addr().unwrap().port();
    let settings = format!(
        "session: {{ cookie: {{ secure: false }} }}\n\
         api: {{ clients: [ {{ name: ops, role: operator, secret: {{ inline: operator-secret-1 }} }} ] }}\n\
         pools: [ {{ name: lab, driver: websocket, cluster: c, discovery: {{ static: [ {{ name: lab-0, ip: 127.0.0.1, port: {port} }} ] }} }} ]\n\
         routes: [ {{ path: '/lab/{{rest}}', pool: lab, http: allow, affinity: {{ key: account }} }} ]"
    );
    let file = write_config(dir.path(), &settings);
    let file = file.to_str().unwrap();
    let add = [
        "account",
        "add",
        "demo",
        "--password-stdin",
        "--config",
        file,
    ];
    run_berth(&add, PASSWORD);
    let served = RunningService::start(Path::new(file));
    let login = served.post("/login", json!({"username": "demo", "password": PASSWORD}));
    let id = login.split("berth=").nth(1).unwrap();
    let id = id.split(';').next().unwrap();
    let body =
        json!({"session": id, "method": "GET", "path": "/lab/x", "host": "h", "upgrade": false});
    let began = Instant::now();
    while !served
        .post("/v1/placements", body.clone())
        .contains("200 OK")
    {
        assert!(began.elapsed() < Duration::from_secs(30), "never placed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let at = format!("http://{}", served.address);
    let run = |args: &[&str]| {
        let more = ["--service", &at, "--config", file];
        run_berth(&[args, &more].concat(), "")
    };
    let (code, out, err) = run(&["affinities", "ls", "lab"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines = rows(&out).split_off(1);
    let fields = &lines[0];
    assert_eq!((lines.len(), fields.len()), (1, 6), "{out}");
    assert_eq!((fields[0], fields[3]), ("lab-0", "0"));
    let key = fields[1];
    let (_, json, _) = run(&["affinities", "ls", "lab", "--engine", "lab-0", "-o", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json[0]["key"], &json[0]["engine"]),
        (&json!(key), &json!("lab-0"))
    );
    let names = ["sessions", "ls", "-o", "name", "--config", file];
    let (_, session, _) = run_berth(&names, "");
    let session = session.trim_end();
    let (_, explained, err) = run(&["explain", "/lab/x", "--session", session]);
    let expected = format!("key {key} (sticky): engine lab-0, streams 0, idle left ");
    assert!(explained.contains(&expected), "{explained}{err}");
    let (code, out, _) = run(&["affinities", "release", key]);
    assert_eq!((code, out), (Some(0), format!("{key} is released\n")));
    assert_eq!(run(&["affinities", "ls", "lab", "-o", "name"]).1, "");
    assert_eq!(run(&["affinities", "release", key]).0, Some(1));
    served.terminate();
}

#[test]
fn a_drain_waits_for_the_streams_of_the_engine_with_progress() {
    let dir = tempfile::tempdir().unwrap();
    // No engine listens on this port.
    let more = "api: { clients: [ { name: ops, role: operator, secret: { inline: operator-secret-1 } } ] }
pools: [ { name: p, driver: websocket, cluster: c, discovery: { static: [ { name: e, ip: 127.0.0.1, port: 1 } ] } } ]";
    let file = write_config(dir.path(), more);
    let served = RunningService::start(&file);
    let report = |report: Value| {
        let answer = served.post("/v1/gateways/g/events", report);
        assert!(answer.contains("200 OK"), "{answer}");
    };
    let opened = |stream: &str| json!({"stream": stream, "session_ref": stream, "pool": "p", "engine": "e", "opened_at": 1});
    report(json!({"sequence": 1, "opened": [opened("s"), opened("t")]}));
    let closed = |stream: &str| json!([{"stream": stream, "reason": "ended", "duration_ms": 1}]);

    let at = format!("http://{}", served.address);
    let args = ["engines", "drain", "e", "--over", "0s", "--wait"];
    let mut drain = berth_command(&args);
    drain.args(["--service", &at, "--config", file.to_str().unwrap()]);
    let drain = drain.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut drain = drain.spawn().unwrap();
    let mut progress = BufReader::new(drain.stderr.take().unwrap()).lines();
    let mut next = || progress.next().unwrap().unwrap();
    assert_eq!(next(), "p/e: 2 open WebSockets, 0 s left");
    report(json!({"sequence": 2, "closed": closed("s")}));
    assert_eq!(next(), "p/e: 1 open WebSockets, 0 s left");
    report(json!({"sequence": 3, "closed": closed("t")}));
    assert!(drain.wait().unwrap().success());
    let mut out = String::new();
    drain.stdout.unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "p/e is drained\np/e has no open WebSockets\n");
    served.terminate();
}
