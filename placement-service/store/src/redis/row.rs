//! Sessions and accounts as the fields of Redis hashes.

use crate::row::{RawProvider, RawSession, concat_hashes, from_json, to_json};
use crate::session_id::IdHash;
use crate::{AccountRow, Attempts, SessionRow, StoreError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::str::FromStr;

/// The fields of a hash.
pub type Fields = HashMap<String, String>;

/// The session's part of a key.
pub(super) fn encode_id(id: &IdHash) -> String {
    URL_SAFE_NO_PAD.encode(id.0)
}

/// The names and values of a session's hash.
pub(super) fn session_fields(row: &SessionRow) -> Result<Vec<(&'static str, String)>, StoreError> {
    let mut fields = vec![
        ("session_ref", row.session_ref.clone()),
        ("payload_version", row.payload_version.to_string()),
        ("account", row.account.clone()),
        ("roles", to_json(&row.roles)?),
        ("created_at", row.created_at_ms.to_string()),
        ("last_seen_at", row.last_seen_at_ms.to_string()),
        ("idle_timeout", row.idle_timeout_ms.to_string()),
        ("absolute_expiry", row.absolute_expiry_ms.to_string()),
        (
            "ancestors",
            URL_SAFE_NO_PAD.encode(concat_hashes(&row.ancestors)),
        ),
        ("runtime", row.runtime.clone()),
        ("state", row.state.as_str().to_owned()),
        ("claims", to_json(&row.claims)?),
    ];
    if !row.display_name.is_empty() {
        fields.push(("display_name", row.display_name.clone()));
    }
    fields.extend(row.parent().map(|parent| ("parent", encode_id(parent))));
    if let Some(link) = &row.provider {
        fields.push(("provider", link.provider.clone()));
        fields.push(("provider_subject", link.subject.clone()));
        fields.extend(link.session.clone().map(|sid| ("provider_session", sid)));
        fields.extend(link.logout_hint.clone().map(|hint| ("provider_hint", hint)));
    }
    Ok(fields)
}

/// Reads a session's hash. Unknown fields of a newer binary are left alone.
pub fn session_from(id: &str, fields: &Fields) -> Result<SessionRow, StoreError> {
    let provider = fields.get("provider").map(|provider| RawProvider {
        provider: provider.clone(),
        subject: fields.get("provider_subject").cloned(),
        session: fields.get("provider_session").cloned(),
        hint: fields.get("provider_hint").cloned(),
    });
    let raw = RawSession {
        id_hash: &bytes("id", id)?,
        session_ref: text(fields, "session_ref")?,
        payload_version: number(fields, "payload_version")?,
        account: text(fields, "account")?,
        display_name: fields.get("display_name").map_or("", String::as_str),
        roles: text(fields, "roles")?,
        created_at: number(fields, "created_at")?,
        last_seen_at: number(fields, "last_seen_at")?,
        idle_timeout: number(fields, "idle_timeout")?,
        absolute_expiry: number(fields, "absolute_expiry")?,
        ancestors: &bytes("ancestors", text(fields, "ancestors")?)?,
        runtime: text(fields, "runtime")?,
        state: text(fields, "state")?,
        claims: text(fields, "claims")?,
        provider,
    };
    raw.read()
}

pub(super) fn account_fields(row: &AccountRow) -> Result<Vec<(&'static str, String)>, StoreError> {
    Ok(vec![
        ("password_hash", row.password_hash.clone()),
        ("roles", to_json(&row.roles)?),
        ("locked", u8::from(row.locked).to_string()),
        ("created_at", row.created_at_ms.to_string()),
        ("failures", row.attempts.failures.to_string()),
        ("locked_until", row.attempts.locked_until_ms.to_string()),
        ("devices", row.devices.clone()),
    ])
}

pub(super) fn account_from(name: &str, fields: &Fields) -> Result<AccountRow, StoreError> {
    Ok(AccountRow {
        name: name.to_owned(),
        password_hash: text(fields, "password_hash")?.to_owned(),
        roles: from_json("roles", text(fields, "roles")?)?,
        created_at_ms: number(fields, "created_at")?,
        locked: text(fields, "locked")? != "0",
        attempts: Attempts {
            failures: number(fields, "failures")?,
            locked_until_ms: number(fields, "locked_until")?,
        },
        // Missing in accounts that an older binary added.
        devices: fields.get("devices").cloned().unwrap_or_default(),
    })
}

pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, StoreError> {
    let found = fields.get(name).map(String::as_str);
    found.ok_or_else(|| StoreError::malformed(name, "it is not there"))
}

pub(super) fn number<T: FromStr>(fields: &Fields, name: &str) -> Result<T, StoreError> {
    let found = text(fields, name)?.parse();
    found.map_err(|_| StoreError::malformed(name, "not a number"))
}

pub(super) fn bytes(name: &str, text: &str) -> Result<Vec<u8>, StoreError> {
    let read = URL_SAFE_NO_PAD.decode(text);
    read.map_err(|_| StoreError::malformed(name, "not base64url"))
}
