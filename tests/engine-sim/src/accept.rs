//! The API port: accepts connections, and closes the port while the engine refuses them.

use crate::{connection, engine::SharedState};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::sleep,
};

/// As long a queue as Linux gives by default (net.core.somaxconn): a burst of sessions must not be
/// lost before it is accepted.
const BACKLOG: u32 = 4_096;

/// Opens a listener on `addr`.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Serves the API port until the future is dropped. Every connection holds a clone of `alive_guard`.
pub(crate) async fn accept(
    addr: SocketAddr,
    mut listener: TcpListener,
    shared: Arc<SharedState>,
    alive_guard: mpsc::Sender<()>,
) {
    let mut faults = shared.faults.watch();
    loop {
        if faults.borrow_and_update().refuse {
            drop(listener);
            shared.faults.wait_while(|faults| faults.refuse).await;
            listener = reopen_listener(addr).await;
        }
        tokio::select! {
            _ = faults.changed() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => spawn_connection(stream, &shared, &alive_guard),
                // Most likely there are no free file descriptors. The wait lets some connections close.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn reopen_listener(addr: SocketAddr) -> TcpListener {
    loop {
        match listen(addr) {
            Ok(listener) => return listener,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

fn spawn_connection(stream: TcpStream, shared: &Arc<SharedState>, alive_guard: &mpsc::Sender<()>) {
    let (shared, alive_guard) = (Arc::clone(shared), alive_guard.clone());
    tokio::spawn(async move {
        // Without TCP_NODELAY, small frames wait for the peer's acknowledgement. An error only costs time.
        let _ = stream.set_nodelay(true);
        let connection = connection::serve(stream, Arc::clone(&shared));
        shared.run_until_cut(connection).await;
        drop(alive_guard);
    });
}
