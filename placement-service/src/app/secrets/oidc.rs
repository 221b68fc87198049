//! Reads the client secrets that authenticate the service to OpenID providers.

use super::read_secret;
use crate::config::OidcProvider;
use crate::config::fault::Fault;
use crate::core::secret::Secret;

/// One entry per provider, in the same order.
pub(super) fn read_client_secrets(
    providers: &[OidcProvider],
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) -> Vec<Option<Secret>> {
    let mut found = Vec::with_capacity(providers.len());
    for (index, provider) in providers.iter().enumerate() {
        let path = format!("oidc[{index}].client_secret");
        let key = provider.client_secret.as_ref();
        match key.map(|key| read_secret(&path, key, env)).transpose() {
            Ok(Some(secret)) if secret.reveal().is_empty() => {
                faults.push(Fault::new(path, "must not be empty"));
            }
            Ok(secret) => found.push(secret),
            Err(fault) => faults.push(fault),
        }
    }
    found
}
