//! The page of a refusal, for a browser that has opened an address: what it shows instead of problem details. Has no
//! script, no style and no other resource.

use std::borrow::Cow;

pub(super) const CONTENT_TYPE: &str = "text/html; charset=utf-8";
/// Whatever is in the page, a browser loads and runs nothing.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'";

/// The page of a refusal with this title. `reason`: its constant, for those whom the user asks.
#[must_use]
pub(super) fn render(title: &str, reason: &str, detail: Option<&str>) -> String {
    let title = escape(title);
    let detail = detail.map_or_else(String::new, |text| format!("<p>{}</p>\n", escape(text)));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n</head>\n<body>\n\
         <h1>{title}</h1>\n{detail}<p>Reason: <code>{reason}</code></p>\n\
         <p><a href=\"/\">Start page</a></p>\n</body>\n</html>\n"
    )
}

/// A text as HTML.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_detail_is_text() {
        let page = render("The page's title", "bad-request", Some("<a b=\"c\">&"));
        assert!(page.contains("<title>The page&#39;s title</title>"));
        assert!(page.contains("<p>&lt;a b=&quot;c&quot;&gt;&amp;</p>"));
        assert!(page.contains("<code>bad-request</code>"));
        assert!(!render("t", "r", None).contains("<p></p>"));
    }
}
