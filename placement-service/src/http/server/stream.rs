//! The bytes of one connection. A read fails if the client does not send in time, and a write fails if the client does
//! not read: either ends the connection. Knows no HTTP.

use super::client::Client;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Maximum time of a write without progress.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that enforces the deadlines of its client.
pub(super) struct ClientStream<S> {
    stream: S,
    client: Arc<Client>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> ClientStream<S> {
    pub(super) const fn new(stream: S, client: Arc<Client>) -> Self {
        Self {
            stream,
            client,
            read_timer: None,
            write_timer: None,
        }
    }

    fn fail_with_timeout<T>(&self) -> Poll<Result<T>> {
        self.client.count_timeout();
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }

    /// Passes on the result of a write, or fails if the write is pending for too long.
    fn check_write<T>(&mut self, result: Poll<Result<T>>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if result.is_ready() {
            self.write_timer = None;
            return result;
        }
        let start_timer = || Box::pin(sleep_until(Instant::now() + WRITE_TIMEOUT));
        let timer = self.write_timer.get_or_insert_with(start_timer);
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => self.fail_with_timeout(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.client.record_bytes();
        }
        let Some(deadline) = this.client.deadline() else {
            this.read_timer = None;
            return read;
        };
        // Checked even if bytes arrive, because a client may send single bytes without end.
        if deadline <= Instant::now() {
            return this.fail_with_timeout();
        }
        if read.is_pending() {
            let start_timer = || Box::pin(sleep_until(deadline));
            let timer = this.read_timer.get_or_insert_with(start_timer);
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_ready() {
                return this.fail_with_timeout();
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.check_write(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.check_write(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
