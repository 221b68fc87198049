//! The callers of `/v1` other than gateways: operators and runtimes, each with its own secret. Without a configured
//! client, every call is rejected.

use crate::config::Role;
use crate::core::secret::Secret;
use crate::http::bearer::read_bearer_token;
use crate::http::problem::HttpProblem;
use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A configured client with its secret.
#[derive(Debug)]
pub struct ClientSecret {
    pub name: String,
    pub role: Role,
    /// For a runtime: further runtimes that it may start child sessions for.
    pub child_runtimes: Vec<String>,
    pub secret: Secret,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Client {
    pub(in crate::http) name: String,
    pub(in crate::http) role: Role,
    child_runtimes: Vec<String>,
}

impl Client {
    /// The runtime that limits the client to its own sessions; `None` for an operator.
    pub(in crate::http) fn runtime(&self) -> Option<&str> {
        match self.role {
            Role::Operator => None,
            Role::Runtime => Some(&self.name),
        }
    }

    /// Checks that the client may start child sessions for a runtime: an operator for any, a runtime for itself and for
    /// those that the configuration names.
    pub(in crate::http) fn check_child_runtime(&self, runtime: &str) -> Result<(), HttpProblem> {
        let permitted = match self.role {
            Role::Operator => true,
            Role::Runtime => {
                self.name == runtime || self.child_runtimes.iter().any(|name| name == runtime)
            }
        };
        if permitted {
            return Ok(());
        }
        let name = &self.name;
        Err(HttpProblem::client_forbidden(format!(
            "child_runtimes of {name} in api.clients does not name this runtime"
        )))
    }
}

/// The configured clients, by the SHA-256 of their secrets, so that a comparison takes the same time for secrets of any
/// length.
pub struct Clients(Vec<([u8; 32], Client)>);

impl Clients {
    /// Hashes the secrets of the configured clients.
    #[must_use]
    pub fn new(secrets: &[ClientSecret]) -> Self {
        let configured = secrets.iter().map(|client| {
            let api_client = Client {
                name: client.name.clone(),
                role: client.role,
                child_runtimes: client.child_runtimes.clone(),
            };
            (Sha256::digest(client.secret.reveal()).into(), api_client)
        });
        Self(configured.collect())
    }

    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<&Client, HttpProblem> {
        let authorization = read_bearer_token(headers).ok().flatten();
        let token = authorization.ok_or_else(|| {
            HttpProblem::unknown_client("the request has no header Authorization: Bearer <secret>")
        })?;
        let token_hash: [u8; 32] = Sha256::digest(token).into();
        let mut matching = None;
        for (digest, client) in &self.0 {
            if digest.ct_eq(&token_hash).into() {
                matching = Some(client);
            }
        }
        matching.ok_or_else(|| {
            HttpProblem::unknown_client("the secret belongs to no entry of api.clients here")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;

    fn client(name: &str, role: Role, secret: &str) -> ClientSecret {
        ClientSecret {
            name: name.to_owned(),
            role,
            child_runtimes: Vec::new(),
            secret: Secret::new(secret.to_owned()),
        }
    }

    fn authenticate(
        clients: &Clients,
        authorization: Option<&str>,
    ) -> Result<(String, Role), String> {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
        }
        let result = clients.authenticate(&headers);
        let result = result.map(|client| (client.name.clone(), client.role));
        result.map_err(|problem| problem.reason().to_owned())
    }

    #[test]
    fn only_its_secret_identifies_a_client() {
        let clients = Clients::new(&[
            client("ops", Role::Operator, "operator-secret-1"),
            client("flows", Role::Runtime, "runtime-secret-12"),
        ]);
        let identified = |name: &str, role| Ok((name.to_owned(), role));
        assert_eq!(
            authenticate(&clients, Some("Bearer operator-secret-1")),
            identified("ops", Role::Operator)
        );
        assert_eq!(
            authenticate(&clients, Some("Bearer runtime-secret-12")),
            identified("flows", Role::Runtime)
        );
        for invalid_header in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer operator-secret-"),
            Some("Bearer operator-secret-12"),
            Some("Basic operator-secret-1"),
            Some("operator-secret-1"),
        ] {
            assert_eq!(
                authenticate(&clients, invalid_header),
                Err("unknown-client".to_owned())
            );
        }
    }

    #[test]
    fn without_clients_every_caller_is_rejected() {
        let no_clients = Clients::new(&[]);
        for invalid_header in [None, Some("Bearer "), Some("Bearer operator-secret-1")] {
            assert_eq!(
                authenticate(&no_clients, invalid_header),
                Err("unknown-client".to_owned())
            );
        }
    }
}
