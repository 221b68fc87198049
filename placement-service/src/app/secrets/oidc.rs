//! Fetches what the service proves itself to OpenID providers with.

use super::read;
use crate::config::OidcProvider;
use crate::config::fault::Fault;
use crate::core::secret::Secret;

/// Of each provider, in their order.
pub(super) fn client_secrets(
    providers: &[OidcProvider],
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) -> Vec<Option<Secret>> {
    let mut found = Vec::with_capacity(providers.len());
    for (index, provider) in providers.iter().enumerate() {
        let path = format!("oidc[{index}].client_secret");
        let key = provider.client_secret.as_ref();
        match key.map(|key| read(&path, key, env)).transpose() {
            Ok(Some(secret)) if secret.reveal().is_empty() => {
                faults.push(Fault::new(path, "must not be empty"));
            }
            Ok(secret) => found.push(secret),
            Err(fault) => faults.push(fault),
        }
    }
    found
}
