//! The files of the browser module.

use crate::site::{Site, send_request};
use reqwest::Method;

#[tokio::test]
async fn browsers_cache_the_files_and_revalidate_them() {
    let site = Site::start("").await;
    let file = site.get("/berth/session.js", "").await;
    assert_eq!(file.status, 200);
    assert!(file.text.contains("export function onExpired("));
    assert_eq!(
        file.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    assert_eq!(file.header("x-content-type-options"), "nosniff");
    assert_eq!(file.header("cache-control"), "no-cache");
    let etag = file.header("etag").to_owned();
    assert!(etag.len() > 10 && etag.starts_with('"') && etag.ends_with('"'));
    for (known, status) in [
        (etag.clone(), 304),
        (format!("\"other\", W/{etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (etag.trim_matches('"').to_owned(), 200),
    ] {
        let request = site.request(Method::GET, "/berth/session.js");
        let again = send_request(request.header("if-none-match", &known)).await;
        assert_eq!(
            (again.status, again.header("etag")),
            (status, etag.as_str())
        );
        assert_eq!(again.text.is_empty(), status == 304);
    }
}

#[tokio::test]
async fn no_other_file_is_served_under_berth() {
    let site = Site::start("").await;
    for path in ["/berth/", "/berth/other.js", "/berth/..%2flogin.html"] {
        let none = site.get(path, "").await;
        assert_eq!((none.status, none.reason().as_str()), (404, "not-found"));
    }
}
