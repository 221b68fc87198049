//! One webhook endpoint, and one attempt to deliver an event to it. Decides which events the endpoint receives, the
//! request, and whether a failure is permanent. Must not know when or how often attempts are made.

use super::{caep, signature};
use crate::config::{Webhook, WebhookEvent, WebhookFormat};
use crate::core::clock::Clock;
use crate::core::http_client;
use crate::core::secret::Secret;
use crate::events::log::EventRecord;
use crate::sessions::tokens::Tokens;
use berth_store::{Cursor, Event, EventKind, LogId};
use reqwest::{RequestBuilder, StatusCode, header};
use std::sync::Arc;

/// Maximum number of bytes read from an error response.
const MAX_ERROR_BODY: usize = 4096;

/// A configured webhook with its HTTP client.
pub(super) struct Endpoint {
    pub(super) config: Webhook,
    /// The secret of format `caep`: sent as Bearer token.
    bearer: Option<Secret>,
    /// The key of the secret of format `json`, whose encoding was checked when it was read: signs deliveries.
    signing_key: Option<Vec<u8>>,
    client: reqwest::Client,
    log: LogId,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For operators. Contains nothing from the receiver's response except its status and known error codes.
    pub(super) message: String,
    /// Another attempt would fail the same way.
    pub(super) permanent: bool,
}

impl Failure {
    fn transient(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            permanent: false,
        }
    }

    fn permanent(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            permanent: true,
        }
    }
}

impl Endpoint {
    pub(super) fn new(
        config: Webhook,
        secret: Option<Secret>,
        log: LogId,
        tokens: Arc<Tokens>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let (bearer, signing_key) = match config.format {
            WebhookFormat::Json => (None, secret.as_ref().and_then(signature::key)),
            WebhookFormat::Caep => (secret, None),
        };
        let limit = config.timeout;
        let client = http_client::client_builder()
            .connect_timeout(limit)
            .timeout(limit);
        Ok(Self {
            client: client.user_agent("berth").build()?,
            signing_key,
            bearer,
            config,
            log,
            tokens,
            clock,
        })
    }

    /// Whether the webhook receives this event: its `events` include the kind. CAEP covers only session ends.
    pub(super) fn is_subscribed_to(&self, event: &Event) -> bool {
        let kinds = &self.config.events;
        let is_deliverable = match self.config.format {
            WebhookFormat::Json => event.kind != EventKind::KeyMoved,
            WebhookFormat::Caep => event.cause.is_some(),
        };
        let kind = WebhookEvent::of(event.kind);
        is_deliverable && (kinds.is_empty() || kind.is_some_and(|kind| kinds.contains(&kind)))
    }

    /// Attempts one delivery.
    pub(super) async fn attempt(&self, sequence: u64, event: &Event) -> Result<(), Failure> {
        let log = self.log;
        let id = Cursor { log, sequence }.to_string();
        let request = self
            .client
            .post(&self.config.url)
            .header(signature::ID, &id);
        let request = match self.config.format {
            WebhookFormat::Json => self.json_request(request, id, event),
            WebhookFormat::Caep => self.caep_request(request, &id, event),
        };
        let answer = request?.send().await;
        let answer = answer.map_err(|e| Failure::transient(http_client::root_cause(&e)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let message = format!("status {}", status.as_u16());
        if status != StatusCode::BAD_REQUEST || self.config.format != WebhookFormat::Caep {
            return Err(Failure::transient(message));
        }
        let body = http_client::read_body(answer, MAX_ERROR_BODY)
            .await
            .ok()
            .flatten();
        Err(match body.and_then(|body| caep::error_code(&body)) {
            Some(code) => Failure::permanent(format!("{message}, {code}")),
            None => Failure::transient(message),
        })
    }

    fn json_request(
        &self,
        request: RequestBuilder,
        id: String,
        event: &Event,
    ) -> Result<RequestBuilder, Failure> {
        let record = EventRecord {
            cursor: id.clone(),
            event: event.clone(),
        };
        let body = serde_json::to_vec(&record);
        let body = body.map_err(|e| Failure::permanent(e.to_string()))?;
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = match &self.signing_key {
            Some(key) => {
                let now_s = self.clock.now_s();
                let signature = signature::sign(key, &id, now_s, &body);
                request
                    .header(signature::TIMESTAMP, now_s)
                    .header(signature::SIGNATURE, signature)
            }
            None => request,
        };
        Ok(request.body(body))
    }

    fn caep_request(
        &self,
        request: RequestBuilder,
        id: &str,
        event: &Event,
    ) -> Result<RequestBuilder, Failure> {
        let audience = self.config.audience.as_deref().unwrap_or_default();
        let subject = self
            .tokens
            .subject(event.provider.as_deref(), &event.account);
        let claims = caep::claims(event, id, self.tokens.issuer(), audience, &subject);
        let claims = claims.ok_or_else(|| Failure::permanent("not the end of a session"))?;
        let token = self.tokens.sign_event(&claims);
        let token = token.map_err(|e| Failure::transient(e.to_string()))?;
        let request = match &self.bearer {
            Some(secret) => request.bearer_auth(secret.reveal()),
            None => request,
        };
        let request = request.header(header::CONTENT_TYPE, caep::CONTENT_TYPE);
        Ok(request
            .header(header::ACCEPT, "application/json")
            .body(token))
    }
}
