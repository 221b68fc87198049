//! Fills the templates of pages, and sends pages with a Content Security Policy that allows their inline parts by hash.
//! Must not know what the pages are about.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub(super) fn page_response(status: StatusCode, policy: &HeaderValue, page: String) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
        (header::CACHE_CONTROL, fixed("no-store")),
        // Not no-referrer: browsers would then send `Origin: null` with the login form.
        (header::REFERRER_POLICY, fixed("same-origin")),
    ];
    (status, headers, Html(page)).into_response()
}

/// A Content Security Policy that allows this and nothing else; `targets` are further targets of forms.
pub(super) fn content_security_policy(allowed: &str, targets: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; {allowed}; img-src data:; form-action 'self'{targets}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Replaces the `{{marks}}` of a template. Marks within values are not replaced, because a user may have sent the
/// value.
pub(super) fn fill_template(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len());
    let mut remaining = template;
    while let Some((before, (mark, after))) = remaining
        .split_once("{{")
        .and_then(|(before, marked)| Some((before, marked.split_once("}}")?)))
    {
        page.push_str(before);
        let value = values.iter().find(|(name, _)| *name == mark);
        page.push_str(value.map_or("", |(_, value)| value));
        remaining = after;
    }
    page.push_str(remaining);
    page
}

pub(super) fn source_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Escapes a text for HTML content and for quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}
