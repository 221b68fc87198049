//! A drained Envoy, through the whole stack: its sockets close spread over the time of the drain, clients reconnect to
//! another Envoy, and that one is not affected.

use berth_harness::{Call, Result, Stack, WebSocket, wait};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, block_in_place};

const PATH: &str = "/app/sales.qvf";
const SOCKETS: usize = 200;
const OTHER_SOCKETS: usize = 20;
/// The interval in which closes are counted: a tenth of the sockets at an even rate.
const WINDOW: Duration = Duration::from_millis(500);
/// Longer than a replica needs to notify a gateway.
const NOTIFICATION: Duration = Duration::from_secs(3);
/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);
/// Berth's close code for a drain, from the range 4000 to 4999 that RFC 6455 reserves for private use.
const DRAINED_CODE: u16 = 4503;
/// The id of the first Envoy of a stack.
const DRAINED: &str = "envoy";

/// Two Envoys with two workers each, and two replicas of the service.
async fn start_stack() -> Result<Stack> {
    let client =
        json!({"name": "ops", "role": "operator", "secret": {"inline": "operator-secret-1"}});
    Stack::builder()
        .engines(2)
        .services(2)
        .envoys(2)
        .envoy_concurrency(2)
        .service_config(&json!({
            "api": {"clients": [client]},
            // One session opens all sockets.
            "placement": {"max_streams_per_session": 0},
        }))
        .start()
        .await
}

/// Runs `berth gateways` against the first replica.
fn gateways(stack: &Stack, words: &[&str]) -> Result<String> {
    let service = stack.service.as_ref().ok_or("no service")?;
    let at = format!("http://{}", service.addr);
    let words = [&["gateways"], words, &["--service", &at]].concat();
    block_in_place(|| service.run_command(&words))
}

async fn open_socket(to: SocketAddr, cookie: &str) -> Result<WebSocket> {
    let upgrade = WebSocket::upgrade(to, PATH, &[("cookie", cookie)]).await?;
    let mut socket = upgrade.into_socket()?;
    // The engine's first message.
    socket.next_message().await?;
    Ok(socket)
}

/// Waits until the Envoys have these numbers of sockets by the list of the first replica. The other replica publishes
/// its own numbers with a delay.
async fn wait_for_list(stack: &Stack, sockets: [u64; 2]) -> Result<()> {
    let expected = sockets.map(|count| count.to_string());
    let listed = || async {
        let listed = gateways(stack, &["ls", "--no-headers"]).ok()?;
        let counts = listed
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2));
        let counts: Vec<_> = counts.collect();
        (counts == expected).then_some(())
    };
    wait::poll_until("the list counts every socket", LIMIT, listed).await
}

/// A client that keeps sending until its socket is closed, and then opens one on another Envoy.
async fn move_client(
    mut socket: WebSocket,
    to: SocketAddr,
    cookie: String,
) -> Result<(Option<u16>, Instant, WebSocket)> {
    let code = socket.send_until_closed(LIMIT).await?;
    let at = Instant::now();
    Ok((code, at, open_socket(to, &cookie).await?))
}

/// The sum of a metric over the replicas and over the series whose name and labels contain `part`.
async fn metric(stack: &Stack, name: &str, part: &str) -> Result<u64> {
    let mut sum = 0;
    for service in stack.service.iter().chain(&stack.replicas) {
        let text = Call::get("/metrics").send(service.addr).await?.text();
        let series = text.lines().filter_map(|line| line.rsplit_once(' '));
        let found = series
            .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(part));
        for (_, value) in found {
            sum += value.parse::<u64>()?;
        }
    }
    Ok(sum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_a_drained_envoy_close_evenly_and_clients_move_to_another() -> Result<()> {
    let stack = start_stack().await?;
    let other = stack.further_envoys.first().ok_or("no second Envoy")?.http;
    let cookie = stack.login_demo().await?;
    let mut staying = Vec::new();
    for _ in 0..OTHER_SOCKETS {
        staying.push(open_socket(other, &cookie).await?);
    }
    let mut moving = Vec::new();
    for _ in 0..SOCKETS {
        moving.push(open_socket(stack.address(), &cookie).await?);
    }
    let all = (SOCKETS + OTHER_SOCKETS) as u64;
    let counted = || async {
        let open = metric(&stack, "berth_streams", "").await.ok()?;
        (open == all).then_some(())
    };
    wait::poll_until("the replicas count every socket", LIMIT, counted).await?;
    wait_for_list(&stack, [SOCKETS as u64, OTHER_SOCKETS as u64]).await?;
    let moving = moving.into_iter();
    let mut clients: JoinSet<_> = moving
        .map(|socket| move_client(socket, other, cookie.clone()))
        .collect();

    // What a preStop hook of an Envoy does.
    let admin = format!("http://{}/", stack.envoy.admin);
    let drain = [
        "drain",
        DRAINED,
        "--over",
        "5s",
        "--wait",
        "--envoy-admin",
        &admin,
    ];
    let out = gateways(&stack, &drain)?;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            format!("the health check of the Envoy at {admin} fails"),
            format!("{DRAINED} is drained; open WebSockets: {SOCKETS}"),
            format!("{DRAINED} has no open WebSockets"),
        ]
    );
    // Envoy asks clients to close their connections.
    let reply = stack.send(Call::get("/login")).await?;
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));

    let (mut closed, mut moved) = (Vec::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        let (code, at, socket) = client??;
        assert_eq!(code, Some(DRAINED_CODE));
        closed.push(at);
        moved.push(socket);
    }
    assert_eq!(closed.len(), SOCKETS);
    let within = |from: &Instant| {
        let window = *from..*from + WINDOW;
        closed.iter().filter(|at| window.contains(*at)).count()
    };
    let peak = closed.iter().map(within).max().unwrap_or_default();
    println!("at most {peak} of {SOCKETS} sockets closed within {WINDOW:?}");
    assert!(peak <= SOCKETS / 3, "{peak} within {WINDOW:?}");

    // The sockets of the other Envoy are still open, and so are those that moved there.
    for socket in staying.iter_mut().chain(&mut moved) {
        socket.check_echo().await?;
    }
    wait::poll_until("the replicas count every socket", LIMIT, counted).await?;
    let closed = |reason: &'static str| metric(&stack, "berth_streams_closed_total", reason);
    assert_eq!(closed("drained").await?, SOCKETS as u64);
    assert_eq!(closed("lost").await?, 0);
    wait_for_list(&stack, [0, all]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_refuses_new_sockets_only_while_it_is_told_to() -> Result<()> {
    let mut stack = start_stack().await?;
    let other = stack.further_envoys.first().ok_or("no second Envoy")?.http;
    let cookie = stack.login_demo().await?;
    // Until both workers of the drained Envoy report.
    let mut sockets = Vec::new();
    let reported = loop {
        sockets.push(stack.open_socket(PATH, &cookie).await?);
        let listed = gateways(&stack, &["ls"])?;
        let row = listed.lines().find(|line| line.starts_with("envoy "));
        let row = row.unwrap_or_default().to_owned();
        if row.split_whitespace().nth(3) == Some("2") {
            break row;
        }
        assert!(sockets.len() < 100, "{listed}");
    };
    let version = env!("CARGO_PKG_VERSION");
    assert!(reported.ends_with(&format!(" {version}")), "{reported}");
    let info = format!("wasmcustom.berth_build_info.version={version}");
    assert_eq!(stack.envoy.stat(&info).await?, Some(1));

    let drain = ["drain", DRAINED, "--over", "1h"];
    gateways(&stack, &drain)?;
    sockets.push(stack.open_socket(PATH, &cookie).await?);
    gateways(&stack, &[&drain[..], &["--refuse"]].concat())?;
    let headers = [("cookie", cookie.as_str())];
    let refused = || async {
        let upgrade = stack.upgrade(PATH, &headers).await.ok()?;
        upgrade.into_rejection().ok()
    };
    let refused = wait::poll_until("the Envoy refuses", LIMIT, refused).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["reason"], "gateway-draining");
    assert_eq!(
        (refused.header("retry-after"), refused.header("connection")),
        ("1", "close")
    );
    // Both workers know it soon, and plain requests are not affected.
    tokio::time::sleep(NOTIFICATION).await;
    for _ in 0..20 {
        assert!(
            stack
                .upgrade(PATH, &headers)
                .await?
                .into_rejection()
                .is_ok()
        );
    }
    let reply = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
    assert_eq!(reply.status, 200);
    sockets.push(open_socket(other, &cookie).await?);

    gateways(&stack, &["undrain", DRAINED])?;
    let accepted = || async { stack.open_socket(PATH, &cookie).await.ok() };
    sockets.push(wait::poll_until("the Envoy accepts sockets again", LIMIT, accepted).await?);

    // An Envoy that stops while it is drained, and starts under the same id, is not drained.
    gateways(&stack, &[&drain[..], &["--refuse"]].concat())?;
    let refuses = || async {
        let upgrade = stack.upgrade(PATH, &headers).await.ok()?;
        upgrade.into_rejection().ok()
    };
    wait::poll_until("the Envoy refuses again", LIMIT, refuses).await?;
    stack.envoy.restart().await?;
    for _ in 0..4 {
        sockets.push(stack.open_socket(PATH, &cookie).await?);
    }
    tokio::time::sleep(NOTIFICATION).await;
    sockets.push(stack.open_socket(PATH, &cookie).await?);
    Ok(())
}
