//! The client with which commands call the running service. Takes its address and, where the route needs one, an
//! operator's secret from the configuration.

use super::{ConfigFile, Failure};
use berth_placement::app::secrets;
use berth_placement::config::fault::{Fault, Faults};
use berth_placement::config::{Config, Role};
use berth_placement::core::http_client;
use berth_placement::core::secret::Secret;
use berth_placement::core::tls;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum size of a response body, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// The options that locate the running service.
#[derive(clap::Args)]
pub(super) struct ServiceArgs {
    /// The URL of the service, such as http://10.0.0.5:9455, instead of the configured address.
    #[arg(long, value_name = "URL")]
    service: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// A client of the running service.
pub(super) struct ServiceClient {
    url: String,
    /// For messages: the URL, and the setting that it comes from.
    location: String,
    /// `None` for routes that need no secret.
    operator: Option<Operator>,
    client: reqwest::Client,
}

/// The client of `api.clients` as which requests are made.
struct Operator {
    name: String,
    secret: Secret,
}

impl ServiceArgs {
    /// Reads the configuration. Requests carry the secret of the first operator in `api.clients`.
    pub(super) fn build_client(&self) -> Result<ServiceClient, Failure> {
        let config = self.config.load()?.config;
        let clients = secrets::fetch_clients(&config, &|name| std::env::var(name).ok())
            .map_err(|faults| self.config.failure(&faults))?;
        let operator = clients.into_iter().find(|c| c.role == Role::Operator);
        let operator = operator.ok_or_else(|| {
            let message = "has no operator, whose secret the request needs";
            let fault = Fault::new("api.clients", message);
            self.config.failure(&Faults(vec![fault]))
        })?;
        let (name, secret) = (operator.name, operator.secret);
        self.build(&config, Some(Operator { name, secret }))
    }

    /// Reads the configuration, but none of its secrets. Requests carry no secret.
    pub(super) fn build_anonymous_client(&self) -> Result<ServiceClient, Failure> {
        self.build(&self.config.load()?.config, None)
    }

    fn build(&self, config: &Config, operator: Option<Operator>) -> Result<ServiceClient, Failure> {
        let mut listen = config.listen;
        if listen.ip().is_unspecified() {
            let loopback: [std::net::IpAddr; 2] = [
                std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::Ipv6Addr::LOCALHOST.into(),
            ];
            listen.set_ip(if listen.is_ipv4() {
                loopback[0]
            } else {
                loopback[1]
            });
        }
        let url = self.service.clone();
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let mut client = http_client::client_builder().timeout(REQUEST_TIMEOUT);
        // At its own address the service has the configured certificate; its name may be any. Elsewhere the platform's
        // certificate authorities apply.
        if let (Some(tls), None) = (&config.tls, &url) {
            let same = tls::same_certificate_client(&tls.certificate);
            let same = same.map_err(|fault| {
                let file = self.config.display_path().display();
                Failure(format!("{file}: tls.{fault}"))
            })?;
            client = client.tls_backend_preconfigured(same);
        }
        let (url, location) = match url {
            Some(url) => (url.clone(), format!("the service at {url}")),
            None => {
                let url = format!("{scheme}://{listen}");
                let file = self.config.display_path().display();
                let location = format!("the service at {url} (`listen` of {file})");
                (url, location)
            }
        };
        Ok(ServiceClient {
            url: url.trim_end_matches('/').to_owned(),
            location,
            operator,
            client: client.build()?,
        })
    }
}

impl ServiceClient {
    /// Sends a request. The segments of `path` and the values of `query` are not encoded yet. Returns `null` for an
    /// empty body.
    pub(super) async fn send_request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let (status, body) = self.fetch(method, path, query).await?;
        if status.is_success() {
            if body.is_empty() {
                return Ok(Value::Null);
            }
            let answer = serde_json::from_slice(&body);
            return answer.map_err(|error| self.failure(&format!("not a JSON answer: {error}")));
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let field = |name: &str| problem.get(name).and_then(Value::as_str);
        let title = field("title").unwrap_or("the response is not from a Berth service");
        let detail = field("detail")
            .map(|d| format!(": {d}"))
            .unwrap_or_default();
        let is_unknown = field("reason") == Some("unknown-client");
        let operator = self.operator.as_ref().filter(|_| is_unknown);
        let credential = operator.map(|o| {
            let name = &o.name;
            format!("; the request has the secret of the client {name:?} of api.clients")
        });
        let credential = credential.unwrap_or_default();
        Err(self.failure(&format!("{status}: {title}{detail}{credential}")))
    }

    /// Gets the response whose field `list` is a list; returns the list and the whole response.
    pub(super) async fn fetch_list(&self, list: &str) -> Result<(Vec<Value>, Value), Failure> {
        let path = ["v1", list];
        let mut response = self.send_request(Method::GET, &path, &[]).await?;
        match response.get_mut(list).map(Value::take) {
            Some(Value::Array(items)) => Ok((items, response)),
            _ => Err(self.failure(&format!("the answer has no list `{list}`"))),
        }
    }

    /// Sends a request, and returns the status and the body of any response.
    pub(super) async fn fetch(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let mut url: reqwest::Url = self.url.parse().map_err(|_| {
            Failure(format!(
                "--service: {:?} is not a URL such as http://127.0.0.1:9455",
                self.url
            ))
        })?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(operator) = &self.operator {
            request = request.bearer_auth(operator.secret.reveal());
        }
        let unreachable = |e: &reqwest::Error| self.failure(&http_client::root_cause(e));
        let answer = request.send().await.map_err(|e| unreachable(&e))?;
        let status = answer.status();
        let body = http_client::read_body(answer, MAX_RESPONSE_BYTES).await;
        let body = body.map_err(|e| unreachable(&e))?.unwrap_or_default();
        Ok((status, body))
    }

    /// A failure of this service, with its location.
    pub(super) fn failure(&self, cause: &str) -> Failure {
        Failure(format!("{}: {cause}", self.location))
    }
}
