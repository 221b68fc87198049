//! One WebSocket: who may open it, to which session it belongs, and its frames.
//!
//! Text frames are JSON-RPC. Binary frames are echoed byte for byte. A real engine does not do that, but tests and the
//! bench need it.

use crate::{
    connection,
    engine::SharedState,
    faults::Faults,
    head::Head,
    rpc,
    sessions::{AttachRequest, Attachment, SessionKey},
    token,
};
use futures_util::{SinkExt, StreamExt};
use std::{io, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use uuid::Uuid;

type Socket = WebSocketStream<TcpStream>;

/// How long a refused client may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves an upgrade request and its socket. `early_bytes`: bytes that came right after the request.
pub(crate) async fn serve(
    mut stream: TcpStream,
    head: Head,
    early_bytes: Vec<u8>,
    shared: &SharedState,
) {
    shared
        .faults
        .wait_while(|faults| faults.stall_websocket)
        .await;
    let faults = shared.faults.get();
    sleep_unless_zero(faults.slow_connect_ms).await;
    let (Some(key), Some(target)) = (head.websocket_key(), Target::parse(head.path_only())) else {
        shared.upgrades.push(head, "404");
        // The peer may have closed the connection. Then nothing is left to do.
        let _ = connection::answer(&mut stream, "404 Not Found", "text/plain", "no app\n").await;
        return;
    };
    let accept = derive_accept_key(key.as_bytes());
    let attachment = attach(shared, &head, target, &faults);
    let state = match &attachment {
        Ok(attachment) if attachment.created => "SESSION_CREATED",
        Ok(_) => "SESSION_ATTACHED",
        Err(state) => state,
    };
    shared.upgrades.push(head, state);
    let Ok(mut socket) = accept_socket(stream, &accept, early_bytes).await else {
        return;
    };
    let hello = if faults.wrong_frames {
        "}{ hello".to_owned()
    } else {
        rpc::on_connected(state)
    };
    if socket.send(Message::text(hello)).await.is_err() {
        return;
    }
    match attachment {
        // The socket has ended. The way in which it ended does not matter.
        Ok(attachment) => drop(serve_frames(&mut socket, &attachment, shared).await),
        Err(_) => close_refused(socket).await,
    }
}

/// The parsed path: `/app[/<identifier>][/ttl/<seconds>]`.
struct Target {
    id: String,
    ttl: Option<u64>,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let after_app = path.strip_prefix("/app")?;
        if !after_app.is_empty() && !after_app.starts_with('/') {
            return None;
        }
        let after_app = after_app.trim_matches('/');
        let (id, ttl) = match after_app.rsplit_once("ttl/") {
            Some((id, ttl)) if id.is_empty() || id.ends_with('/') => match ttl.parse() {
                Ok(ttl) => (id.trim_end_matches('/'), Some(ttl)),
                Err(_) => (after_app, None),
            },
            _ => (after_app, None),
        };
        let id = id.to_owned();
        Some(Self { id, ttl })
    }
}

fn attach(
    shared: &SharedState,
    head: &Head,
    target: Target,
    faults: &Faults,
) -> Result<Attachment, &'static str> {
    if faults.no_license {
        return Err("SESSION_ERROR_NO_LICENSE");
    }
    if faults.reject_jwt {
        return Err(token::INVALID);
    }
    let user = shared.tokens.verify(head.header("authorization"))?;
    let key = match head.header("x-qlik-session") {
        Some(id) => SessionKey::Header(id.to_owned()),
        None if target.id.is_empty() => SessionKey::Header(Uuid::new_v4().to_string()),
        None => SessionKey::Path {
            user: user.clone(),
            id: target.id,
        },
    };
    shared.sessions.attach(AttachRequest {
        key,
        user,
        ttl: target.ttl,
        limit: faults.max_sessions,
    })
}

async fn accept_socket(
    mut stream: TcpStream,
    key: &str,
    early_bytes: Vec<u8>,
) -> io::Result<Socket> {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {key}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1_024)
        .write_buffer_size(0)
        .max_message_size(None)
        .max_frame_size(None);
    Ok(WebSocketStream::from_partially_read(stream, early_bytes, Role::Server, Some(config)).await)
}

/// Answers frames until the socket ends. Pings and closes are answered by the library.
async fn serve_frames(
    socket: &mut Socket,
    attachment: &Attachment,
    shared: &SharedState,
) -> Result<(), Error> {
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            () = wait_for_chatter(shared.options.chatter_ms) => {
                socket.send(Message::text(rpc::CHATTER)).await?;
                continue;
            }
        };
        let Some(message) = message else {
            return Ok(());
        };
        match message? {
            Message::Text(text) => {
                if let Some(answer) = rpc::answer_frame(&text, attachment, shared).await {
                    socket.send(Message::text(answer)).await?;
                }
            }
            echo @ Message::Binary(_) => socket.send(echo).await?,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
}

/// Resolves after `every_ms`; never when that is 0.
async fn wait_for_chatter(every_ms: u64) {
    if every_ms == 0 {
        std::future::pending().await
    } else {
        sleep(Duration::from_millis(every_ms)).await;
    }
}

/// Closes a refused socket. The close handshake keeps a reset from losing its first and only message.
async fn close_refused(mut socket: Socket) {
    if socket.close(None).await.is_ok() {
        let drained = async { while let Some(Ok(_)) = socket.next().await {} };
        let _ = timeout(CLOSE_TIMEOUT, drained).await;
    }
}

/// Sleeps unless `ms` is 0: a sleep of 0 would still cost a timer.
pub(crate) async fn sleep_unless_zero(ms: u64) {
    if ms > 0 {
        sleep(Duration::from_millis(ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Option<(String, Option<u64>)> {
        Target::parse(path).map(|target| (target.id, target.ttl))
    }

    #[test]
    fn a_path_names_a_session_and_optionally_its_ttl() {
        let expected = |id: &str, ttl| Some((id.to_owned(), ttl));
        assert_eq!(parse("/app/engineData"), expected("engineData", None));
        assert_eq!(
            parse("/app/engineData/ttl/60"),
            expected("engineData", Some(60))
        );
        assert_eq!(parse("/app/a/b/ttl/0"), expected("a/b", Some(0)));
        assert_eq!(parse("/app/battl/60"), expected("battl/60", None));
        assert_eq!(parse("/app/a/ttl/soon"), expected("a/ttl/soon", None));
        assert_eq!(parse("/app/ttl/5"), expected("", Some(5)));
        assert_eq!(parse("/app"), expected("", None));
        assert_eq!(parse("/app/"), expected("", None));
    }

    #[test]
    fn other_paths_are_not_engine_paths() {
        for path in ["/", "/apps", "/healthcheck", "/doc/a"] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
