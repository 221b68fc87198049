//! The stream of calls for the gateways: gRPC `berth.v1.Gateway/Calls` (see [`berth_api::Call`]). Each call is
//! answered as a request of its own would be; what a gateway takes back, or leaves behind when it goes, is
//! dropped with what was reserved for it.

use super::auth::Gateway;
use super::{placements, tokens};
use crate::http::body::{self, MAX_BODY_BYTES};
use crate::http::openapi::{GATEWAYS, Refused};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Version;
use axum::response::{IntoResponse, Response};
use berth_api::{
    CALLS_PATH, Call, Excerpt, GREETING_ID, MAX_CALLS, PLACEMENTS_PATH, Reason, Reply, TOKENS_PATH,
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

/// After so long a stream ends, and the gateway opens another: where there are several replicas, perhaps to
/// another one.
const LIFETIME: Duration = Duration::from_secs(300);
/// For so long a stream that ends waits for what is under way on it.
const LEAVING: Duration = Duration::from_secs(1);
/// Bytes of a message beside its body at the most.
const MAX_FRAME_BYTES: usize = 1024;

/// Takes a gateway's stream.
#[utoipa::path(post, path = CALLS_PATH, tag = GATEWAYS, security(("gateway" = [])),
    description = "gRPC, for HTTP/2 alone.",
    responses((status = 200, description = "A stream of replies", content_type = "application/grpc", body = Vec<u8>), Refused<400>, Refused<403>))]
pub(in crate::http) async fn calls(
    _: Gateway,
    State(app): State<App>,
    request: Request,
) -> Response {
    if request.version() != Version::HTTP_2 {
        let problem = HttpProblem::invalid("gRPC needs HTTP/2");
        return problem.into_response();
    }
    let limit = MAX_BODY_BYTES + MAX_FRAME_BYTES;
    let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(limit);
    grpc.streaming(Calls(app), request).await.map(Body::new)
}

/// A reply, or how the stream ends, and the place of its call.
type Answered = (Result<Reply, Status>, Option<OwnedSemaphorePermit>);

struct Calls(App);

impl StreamingService<Call> for Calls {
    type Response = Reply;
    type ResponseStream = BoxStream<'static, Result<Reply, Status>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Call>>) -> Self::Future {
        // Room for the replies to all calls that have a place, for the greeting, and for how the stream ends.
        let (replies, answered) = mpsc::channel(MAX_CALLS + 2);
        // Before any call: the gateway counts the stream as open with it.
        let _ = replies.try_send((Ok(Reply::greeting()), None));
        let stream = GatewayStream {
            app: self.0.clone(),
            replies,
            places: Arc::new(Semaphore::new(MAX_CALLS)),
            tasks: JoinSet::new(),
            calls: HashMap::new(),
            ids: HashMap::new(),
        };
        self.0.metrics.call_stream_opened();
        // It ends with the gateway's side of the stream, or when nobody takes its replies.
        tokio::spawn(stream.serve(request.into_inner()));
        // What is taken here goes out: HTTP/2 asks for more when the gateway has room for it.
        let next = |mut answered: mpsc::Receiver<Answered>| async {
            let (reply, _place) = answered.recv().await?;
            Some((reply, answered))
        };
        let answered = stream::unfold(answered, next).boxed();
        ready(Ok(tonic::Response::new(answered)))
    }
}

/// One gateway's stream. What is under way on it ends with it.
struct GatewayStream {
    app: App,
    replies: mpsc::Sender<Answered>,
    /// Of calls: what is beyond them ends the stream, which bounds everything below.
    places: Arc<Semaphore>,
    tasks: JoinSet<(u16, Vec<u8>)>,
    /// The calls under way, by the gateway's number, each with its place.
    calls: HashMap<u64, (AbortHandle, OwnedSemaphorePermit)>,
    /// The gateway's number of each task.
    ids: HashMap<Id, u64>,
}

impl Drop for GatewayStream {
    fn drop(&mut self) {
        self.app.metrics.call_stream_closed();
    }
}

impl GatewayStream {
    async fn serve(mut self, mut gateway: Streaming<Call>) {
        let mut ending = self.app.gateways.ending();
        let mut time = std::pin::pin!(tokio::time::sleep(LIFETIME));
        // The stream is about to end: the gateway goes on with it until it does.
        let mut leaving = false;
        while !leaving || !self.tasks.is_empty() {
            tokio::select! {
                // Tasks before calls, so that no more wait to be joined than there are places.
                biased;
                () = self.replies.closed() => return,
                _ = ending.wait_for(|ending| *ending), if !leaving => {
                    leaving = true;
                    time.as_mut().reset(Instant::now() + LEAVING);
                }
                // What is left the gateway asks for anew, elsewhere.
                () = &mut time => if std::mem::replace(&mut leaving, true) {
                    return;
                } else {
                    time.as_mut().reset(Instant::now() + LEAVING);
                },
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.done(done),
                call = gateway.message() => match call {
                    Ok(Some(call)) => if let Err(status) = self.begin(call) {
                        tracing::warn!(%status, "a stream of calls is ended");
                        let _ = self.replies.try_send((Err(status), None));
                        return;
                    },
                    Ok(None) => break,
                    // It is gone.
                    Err(status) => return tracing::debug!(status = %Excerpt(status), "a stream of calls broke"),
                },
            }
        }
        // The gateway says no more. Whoever waits is still answered, as long as it is there.
        loop {
            tokio::select! {
                done = self.tasks.join_next_with_id() => match done {
                    Some(done) => self.done(done),
                    None => return,
                },
                () = self.replies.closed() => return,
            }
        }
    }

    /// An error ends the stream.
    fn begin(&mut self, call: Call) -> Result<(), Status> {
        let id = call.id;
        if call.is_cancel() {
            if let Some((task, _place)) = self.calls.remove(&id) {
                task.abort();
            }
            return Ok(());
        }
        if id == GREETING_ID || self.calls.contains_key(&id) {
            return Err(Status::invalid_argument("the number of a call is in use"));
        }
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted("too many calls, or replies that are not taken")
        })?;
        let app = self.app.clone();
        let task = self.tasks.spawn(async move { answer(&app, &call).await });
        self.ids.insert(task.id(), id);
        self.calls.insert(id, (task, place));
        Ok(())
    }

    fn done(&mut self, done: Result<(Id, (u16, Vec<u8>)), JoinError>) {
        let (task, answer) = match done {
            Ok((task, answer)) => (task, answer),
            Err(error) => (error.id(), refusal(&Reason::Internal.into())),
        };
        let Some(id) = self.ids.remove(&task) else {
            return;
        };
        // Nobody waits for what was taken back.
        if let Some((_, place)) = self.calls.remove(&id) {
            let (status, body) = answer;
            let status = status.into();
            let reply = Reply { id, status, body };
            // There is room for it. It fails only when the stream has ended.
            let _ = self.replies.try_send((Ok(reply), Some(place)));
        }
    }
}

/// What a request with this body is answered.
async fn answer(app: &App, call: &Call) -> (u16, Vec<u8>) {
    let (route, result) = match call.path.as_str() {
        _ if call.body.len() > MAX_BODY_BYTES => ("other", Err(HttpProblem::body_too_large())),
        PLACEMENTS_PATH => (PLACEMENTS_PATH, place(app, &call.body).await),
        TOKENS_PATH => (TOKENS_PATH, token(app, &call.body).await),
        _ => ("other", Err(HttpProblem::not_found())),
    };
    let answer = match result {
        Ok(body) => (200, body),
        Err(problem) => {
            app.metrics.refused(problem.reason());
            refusal(&problem)
        }
    };
    app.metrics.http_request(route, answer.0);
    answer
}

async fn place(app: &App, body: &[u8]) -> Result<Vec<u8>, HttpProblem> {
    let request = body::json(body)?;
    json(&placements::placed(app, &request, false).await?)
}

async fn token(app: &App, body: &[u8]) -> Result<Vec<u8>, HttpProblem> {
    let request = body::json(body)?;
    json(&tokens::answer(app, &request).await?)
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, HttpProblem> {
    serde_json::to_vec(answer).map_err(|_| Reason::Internal.into())
}

fn refusal(problem: &HttpProblem) -> (u16, Vec<u8>) {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    (problem.status().as_u16(), body)
}
