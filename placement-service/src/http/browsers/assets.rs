//! `GET /berth/{file}`: serves the browser module, ES modules that import each other by relative paths. Browsers cache
//! the files but revalidate each of them before use, so that files of two releases are never mixed.

use crate::http::openapi::{BROWSERS, ProblemResponse};
use crate::http::problem::HttpProblem;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;

struct Asset {
    name: &'static str,
    text: &'static str,
    /// In quotes (RFC 9110, section 8.8.3).
    etag: String,
}

macro_rules! assets {
    ($($name:literal)+) => {
        [$(Asset::new($name, include_str!(concat!("../../../assets/berth/", $name))),)+]
    };
}

static ASSETS: LazyLock<[Asset; 13]> = LazyLock::new(|| {
    assets! {
        "session.js" "state.js" "retry.js" "socket.js" "backoff.js" "watch.js" "plan.js"
        "login.js" "account.js" "call.js" "warning.js" "dialog.js" "texts.js"
    }
});

impl Asset {
    fn new(name: &'static str, text: &'static str) -> Self {
        let mut etag = String::from("\"");
        for byte in Sha256::digest(text).iter().take(16) {
            // Writing to a String cannot fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self { name, text, etag }
    }

    /// Whether `If-None-Match` names this file: a list of tags, compared weakly, because a proxy may have marked a tag
    /// as weak (RFC 9110, section 13.1.2).
    fn matches_etag(&self, headers: &HeaderMap) -> bool {
        let header_values = headers.get_all(header::IF_NONE_MATCH).iter();
        header_values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == self.etag || tag == "*")
    }
}

/// `GET /berth/{file}`.
#[utoipa::path(get, path = "/berth/{file}", tag = BROWSERS,
    params(("file" = String, Path, description = "The name of a file, such as `session.js`"),
        ("if-none-match" = Option<String>, Header, description = "The tags that the browser has cached")),
    responses((status = 200, description = "The module", body = String, content_type = "text/javascript"), (status = 304, description = "The cached file is current"), ProblemResponse<404>))]
pub(in crate::http) async fn serve_asset(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let Path(name) = path.map_err(|_| HttpProblem::not_found())?;
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or_else(HttpProblem::not_found)?;
    let caching = [
        (header::ETAG, asset.etag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    if asset.matches_etag(&headers) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let content_type = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    Ok((caching, content_type, asset.text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The files that a file imports by relative paths.
    fn imports(text: &str) -> impl Iterator<Item = &str> {
        let after_from = text.split(" from '").skip(1);
        after_from.filter_map(|remaining| remaining.split('\'').next())
    }

    #[test]
    fn every_import_is_served_and_every_file_is_imported() {
        let mut expected = BTreeSet::from(["session.js"]);
        for asset in ASSETS.iter() {
            for import in imports(asset.text) {
                expected.insert(import.strip_prefix("./").unwrap());
            }
        }
        let served: BTreeSet<&str> = ASSETS.iter().map(|asset| asset.name).collect();
        assert_eq!(expected, served);
    }

    #[test]
    fn the_module_works_under_a_strict_content_security_policy() {
        for asset in ASSETS.iter() {
            for mark in [
                "eval(",
                "innerHTML",
                ".style.",
                "setAttribute('style",
                "Function(",
                "http://",
                "https://",
            ] {
                assert!(!asset.text.contains(mark), "{}: {mark}", asset.name);
            }
        }
    }
}
