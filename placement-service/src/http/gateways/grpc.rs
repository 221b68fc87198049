//! The call stream of a gateway: gRPC `berth.v1.Gateway/Calls` (see [`berth_api::Call`]). Each call is answered like a
//! separate request. A call that the gateway cancels, or that is open when the gateway disconnects, is dropped, which
//! releases its reservation.

use super::auth::GatewayAuth;
use super::{placements, tokens};
use crate::http::body::{self, MAX_BODY_BYTES};
use crate::http::openapi::{GATEWAYS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Version;
use axum::response::{IntoResponse, Response};
use berth_api::{
    CALLS_PATH, Call, Excerpt, GREETING_ID, MAX_CALLS, PLACEMENTS_PATH, RejectReason, Reply,
    TOKENS_PATH,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;
use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// Lifetime of a stream. Then the service ends it, and the gateway opens another one, perhaps to another replica.
const STREAM_LIFETIME: Duration = Duration::from_secs(300);
/// How long a stream that ends waits for its calls in progress.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum size of a message without its body, in bytes.
const MAX_FRAME_BYTES: usize = 1024;

/// Accepts a call stream.
#[utoipa::path(post, path = CALLS_PATH, tag = GATEWAYS, security(("gateway" = [])),
    description = "gRPC, over HTTP/2 only.",
    responses((status = 200, description = "A stream of replies", content_type = "application/grpc", body = Vec<u8>), ProblemResponse<400>, ProblemResponse<403>))]
pub(in crate::http) async fn serve_calls(
    _: GatewayAuth,
    State(app): State<App>,
    request: Request,
) -> Response {
    if request.version() != Version::HTTP_2 {
        let problem = HttpProblem::invalid_request("gRPC needs HTTP/2");
        return problem.into_response();
    }
    let limit = MAX_BODY_BYTES + MAX_FRAME_BYTES;
    let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(limit);
    grpc.streaming(CallService(app), request)
        .await
        .map(Body::new)
}

/// A reply with the permit of its call, or the status that ends the stream.
type QueuedReply = (Result<Reply, Status>, Option<OwnedSemaphorePermit>);

struct CallService(App);

impl StreamingService<Call> for CallService {
    type Response = Reply;
    type ResponseStream = BoxStream<'static, Result<Reply, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Call>>) -> Self::Future {
        // Room for the replies to all calls that have a permit, for the greeting, and for the final status.
        let (replies, answered) = mpsc::channel(MAX_CALLS + 2);
        // The gateway counts the stream as open when it receives the greeting.
        let _ = replies.try_send((Ok(Reply::greeting()), None));
        let stream = CallStream {
            app: self.0.clone(),
            replies,
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            tasks: JoinSet::new(),
            in_progress: HashMap::new(),
            call_ids: HashMap::new(),
        };
        self.0.metrics.call_stream_opened();
        // The task ends when the gateway closes its side of the stream, or when the replies are no longer read.
        tokio::spawn(stream.serve(request.into_inner()));
        // HTTP/2 reads the next reply when the gateway can receive it; until then the call keeps its permit.
        let next = |mut answered: mpsc::Receiver<QueuedReply>| async {
            let (reply, _permit) = answered.recv().await?;
            Some((reply, answered))
        };
        let answered = stream::unfold(answered, next).boxed();
        ready(Ok(tonic::Response::new(answered)))
    }
}

/// One call stream. Its calls in progress are aborted when it is dropped.
struct CallStream {
    app: App,
    replies: mpsc::Sender<QueuedReply>,
    /// One permit per call. A call without a permit ends the stream, which bounds the collections below.
    permits: Arc<Semaphore>,
    tasks: JoinSet<(u16, Vec<u8>)>,
    /// The calls in progress, by the gateway's id, each with its permit.
    in_progress: HashMap<u64, (AbortHandle, OwnedSemaphorePermit)>,
    /// The gateway's id of each task.
    call_ids: HashMap<Id, u64>,
}

impl Drop for CallStream {
    fn drop(&mut self) {
        self.app.metrics.call_stream_closed();
    }
}

impl CallStream {
    async fn serve(mut self, mut gateway: Streaming<Call>) {
        let mut shutdown = self.app.gateways.shutdown_signal();
        let mut deadline = std::pin::pin!(tokio::time::sleep(STREAM_LIFETIME));
        // Set when the stream is about to end. The gateway may send calls on it until it ends.
        let mut draining = false;
        while !draining || !self.tasks.is_empty() {
            tokio::select! {
                // Finished tasks before new calls, so that no more tasks exist than permits.
                biased;
                () = self.replies.closed() => return,
                _ = shutdown.wait_for(|shutdown| *shutdown), if !draining => {
                    draining = true;
                    deadline.as_mut().reset(Instant::now() + DRAIN_TIMEOUT);
                }
                // The gateway sends the calls that are left again, on another stream or as requests.
                () = &mut deadline => if std::mem::replace(&mut draining, true) {
                    return;
                } else {
                    deadline.as_mut().reset(Instant::now() + DRAIN_TIMEOUT);
                },
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.finish_call(done),
                call = gateway.message() => match call {
                    Ok(Some(call)) => if let Err(status) = self.start_call(call) {
                        tracing::warn!(%status, "a call stream is ended");
                        let _ = self.replies.try_send((Err(status), None));
                        return;
                    },
                    Ok(None) => break,
                    // The gateway is gone.
                    Err(status) => return tracing::debug!(status = %Excerpt(status), "a call stream broke"),
                },
            }
        }
        // The gateway has closed its side. Calls in progress are still answered while it reads.
        loop {
            tokio::select! {
                done = self.tasks.join_next_with_id() => match done {
                    Some(done) => self.finish_call(done),
                    None => return,
                },
                () = self.replies.closed() => return,
            }
        }
    }

    /// Starts a call, or cancels one. An error ends the stream.
    fn start_call(&mut self, call: Call) -> Result<(), Status> {
        let id = call.id;
        if call.is_cancel() {
            if let Some((task, _permit)) = self.in_progress.remove(&id) {
                task.abort();
            }
            return Ok(());
        }
        if id == GREETING_ID || self.in_progress.contains_key(&id) {
            return Err(Status::invalid_argument("the id of a call is in use"));
        }
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            Status::resource_exhausted("too many calls, or replies that are not read")
        })?;
        let app = self.app.clone();
        let task = self
            .tasks
            .spawn(async move { handle_call(&app, &call).await });
        self.call_ids.insert(task.id(), id);
        self.in_progress.insert(id, (task, permit));
        Ok(())
    }

    /// Sends the reply of a task that has finished.
    fn finish_call(&mut self, result: Result<(Id, (u16, Vec<u8>)), JoinError>) {
        let (task, answer) = match result {
            Ok((task, answer)) => (task, answer),
            Err(error) => (error.id(), problem_reply(&RejectReason::Internal.into())),
        };
        let Some(id) = self.call_ids.remove(&task) else {
            return;
        };
        // A cancelled call is no longer in the map and gets no reply.
        if let Some((_, permit)) = self.in_progress.remove(&id) {
            let (status, body) = answer;
            let status = status.into();
            let reply = Reply { id, status, body };
            // The channel has room for it, so this fails only after the stream has ended.
            let _ = self.replies.try_send((Ok(reply), Some(permit)));
        }
    }
}

/// Handles a call like a request with this body.
async fn handle_call(app: &App, call: &Call) -> (u16, Vec<u8>) {
    let (route, result) = match call.path.as_str() {
        _ if call.body.len() > MAX_BODY_BYTES => ("other", Err(HttpProblem::body_too_large())),
        PLACEMENTS_PATH => (PLACEMENTS_PATH, handle_placement(app, &call.body).await),
        TOKENS_PATH => (TOKENS_PATH, handle_token(app, &call.body).await),
        _ => ("other", Err(HttpProblem::not_found())),
    };
    let answer = match result {
        Ok(body) => (200, body),
        Err(problem) => {
            app.metrics.count_rejection(problem.reason());
            problem_reply(&problem)
        }
    };
    app.metrics.count_http_request(route, answer.0);
    answer
}

async fn handle_placement(app: &App, body: &[u8]) -> Result<Vec<u8>, HttpProblem> {
    let request = body::parse_json(body)?;
    to_json(&placements::place_request(app, &request, false).await?)
}

async fn handle_token(app: &App, body: &[u8]) -> Result<Vec<u8>, HttpProblem> {
    let request = body::parse_json(body)?;
    to_json(&tokens::issue_token(app, &request).await?)
}

fn to_json(answer: &impl Serialize) -> Result<Vec<u8>, HttpProblem> {
    serde_json::to_vec(answer).map_err(|_| RejectReason::Internal.into())
}

fn problem_reply(problem: &HttpProblem) -> (u16, Vec<u8>) {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (problem.status().as_u16(), body)
}
