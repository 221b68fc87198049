//! Memory of the gateway: idle, and per open socket. It is measured on a fresh heap before any load: memory that a
//! load has freed would hide the memory of a socket.

use crate::{
    client_path::{ClientPath, Target},
    echo::Frames,
    load,
    testbed::Testbed,
};
use berth_harness::Result;
use serde::Serialize;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Number of sockets that are opened at once.
const MAX_CONCURRENT: usize = 16;

/// Rounds of sockets that are opened and closed first. After them, the memory of the start and the login is freed.
const WARM_UP: usize = 8;

/// Memory of the gateway on one path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) client_path: ClientPath,
    /// Resident MiB of Envoy and, if it takes part, of the service, after the warm-up.
    pub(crate) idle_mib: f64,
    pub(crate) sockets: usize,
    /// Additional KiB per open socket.
    pub(crate) kib_per_socket: f64,
}

/// Measures Envoy without Berth, and Berth on one of its paths.
pub(crate) async fn measure(testbed: &mut Testbed, sockets: usize) -> Result<Vec<Memory>> {
    let mut all = Vec::new();
    // Only one of Berth's paths: the second one would reuse the memory of the first.
    let berth = [ClientPath::Qix, ClientPath::Websocket]
        .into_iter()
        .find_map(|client_path| testbed.target(client_path));
    for target in testbed.target(ClientPath::Bare).into_iter().chain(berth) {
        let memory = measure_path(testbed, &target, sockets).await?;
        eprintln!(
            "bench: memory, {}: {:.1} MiB idle, {:.1} KiB per held socket",
            memory.client_path, memory.idle_mib, memory.kib_per_socket
        );
        all.push(memory);
    }
    Ok(all)
}

async fn measure_path(
    testbed: &mut Testbed,
    target: &Arc<Target>,
    sockets: usize,
) -> Result<Memory> {
    let client_path = target.client_path;
    for _ in 0..WARM_UP {
        drop(open_sockets(target, MAX_CONCURRENT).await?);
        testbed.await_sockets(0).await?;
    }
    let idle = testbed.rss(client_path);
    let sockets_open = open_sockets(target, sockets).await?;
    testbed.await_sockets(sockets).await?;
    let busy = testbed.rss(client_path);
    drop(sockets_open);
    testbed.await_sockets(0).await?;
    Ok(Memory {
        client_path,
        idle_mib: idle / 1_024.0,
        sockets,
        kib_per_socket: (busy - idle) / f64::from(u32::try_from(sockets)?),
    })
}

/// Opens sockets and exchanges one message over each.
async fn open_sockets(target: &Arc<Target>, sockets: usize) -> Result<Vec<TcpStream>> {
    let mut sockets_open = Vec::with_capacity(sockets);
    while sockets_open.len() < sockets {
        let count = MAX_CONCURRENT.min(sockets - sockets_open.len());
        let opening: Vec<_> = (0..count)
            .map(|_| tokio::spawn(open_and_exchange(Arc::clone(target))))
            .collect();
        for socket in opening {
            sockets_open.push(socket.await??);
        }
    }
    Ok(sockets_open)
}

async fn open_and_exchange(target: Arc<Target>) -> Result<TcpStream> {
    let describe_failure = |failure| format!("{}, an open socket: {failure}", target.client_path);
    let mut socket = load::open_next(&target).await.map_err(describe_failure)?;
    let mut buffer = Vec::with_capacity(1_024);
    let exchange = Frames::new().exchange(&mut socket, &mut buffer).await;
    exchange.map_err(describe_failure)?;
    Ok(socket)
}
