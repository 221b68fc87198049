//! Checks of the URLs that the service calls. Outside of loopback they must be https, so that nobody on the
//! network can read or change the traffic.

use super::fault_collector::FaultCollector;
use reqwest::Url;

/// Checks a URL: https, or http on loopback, or http if `insecure` allows it.
pub(super) fn check(path: &str, text: &str, insecure: bool, faults: &mut FaultCollector) {
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        faults.add(
            path,
            "must be an absolute URL such as https://example.com/events",
        );
        return;
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        faults.add(path, "must have no user, no password and no #fragment");
    }
    match url.scheme() {
        "https" => {}
        "http" if insecure || is_loopback(&url) => {}
        "http" => faults.add(
            path,
            "must be https; http is allowed on loopback or with insecure: true",
        ),
        _ => faults.add(path, "must be https"),
    }
}

/// Whether the text is an http or https origin without a path, such as `http://mira:9100`.
pub(super) fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none() && url.path() == "/";
        let nothing_more = url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && plain && nothing_more
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str, insecure: bool) -> Option<String> {
        let mut faults = FaultCollector::default();
        check("url", text, insecure, &mut faults);
        faults.0.pop().map(|fault| fault.message)
    }

    #[test]
    fn http_is_limited_to_loopback_unless_insecure() {
        for fine in [
            "https://example.com/hook?x=1",
            "http://127.0.0.1:8080/hook",
            "http://127.9.9.9/",
            "http://[::1]/",
            "http://localhost/",
        ] {
            assert_eq!(fault(fine, false), None, "{fine}");
        }
        for bare in [
            "http://example.com/",
            "http://10.0.0.1/",
            "http://localhost.example/",
        ] {
            assert!(fault(bare, false).unwrap().starts_with("must be https"));
            assert_eq!(fault(bare, true), None);
        }
        for (wrong, words) in [
            ("", "absolute URL"),
            ("/hook", "absolute URL"),
            ("mailto:x@example.com", "absolute URL"),
            ("ftp://example.com/", "must be https"),
            ("https://u:p@example.com/", "no user"),
            ("https://u@example.com/", "no user"),
            ("https://example.com/#x", "no user"),
        ] {
            assert!(fault(wrong, true).unwrap().contains(words), "{wrong}");
        }
    }
}
