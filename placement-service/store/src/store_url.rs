//! Checks the URL of a store before a driver reads it. The drivers pass over parameters that they do not know, and
//! read a URL with an unescaped character as another one, without an error. The errors name parameters, and contain
//! nothing that may be a part of a password.

use crate::StoreError;

/// Longest name of a parameter that an error shows.
const MAX_NAME: usize = 40;

/// Refuses what the driver would misread. `known` are the parameters that the driver understands; one that ends
/// with `[` stands for all that begin so.
pub(crate) fn check(url: &str, known: &[&str]) -> Result<(), StoreError> {
    fault(url, known).map_or(Ok(()), |fault| Err(StoreError::Data(fault)))
}

fn fault(url: &str, known: &[&str]) -> Option<String> {
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("the URL contains a space or a control character".to_owned());
    }
    if url.contains('#') {
        return Some("the URL contains a #: write it as %23".to_owned());
    }
    let (_, rest) = url.split_once(':')?;
    // A Unix socket may come without the two slashes, and has no authority then.
    let (authority, tail) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    if tail.contains('@') {
        let message = "the URL contains an @ after the host: write / ? @ in a user name or password as %2F %3F %40";
        return Some(message.to_owned());
    }
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host.contains(',') {
        return Some(SEVERAL_HOSTS.to_owned());
    }
    let (_, query) = tail.split_once('?')?;
    let mut seen: Vec<&str> = Vec::new();
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !is_known(name, known) {
            return Some(format!(
                "the URL has {}, which is not known",
                describe(name)
            ));
        }
        if seen.contains(&name) {
            return Some(format!("the URL has {} twice", describe(name)));
        }
        if name.starts_with("host") && (value.contains(',') || value.contains("%2C")) {
            return Some(SEVERAL_HOSTS.to_owned());
        }
        seen.push(name);
    }
    None
}

const SEVERAL_HOSTS: &str = "the URL names several hosts: name one that follows the primary";

fn is_known(name: &str, known: &[&str]) -> bool {
    known.iter().any(|known| match known.strip_suffix('[') {
        Some(family) => name
            .strip_prefix(family)
            .is_some_and(|rest| rest.starts_with('[')),
        None => name == *known,
    })
}

/// The parameter for an error. A text that does not look like a name may be a part of a password.
fn describe(name: &str) -> String {
    let fine = |b: u8| b.is_ascii_lowercase() || matches!(b, b'_' | b'-');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fine) {
        format!("the parameter `{name}`")
    } else {
        "a parameter whose name is not shown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["sslmode", "host", "options["];

    #[test]
    fn what_a_driver_would_misread_is_refused_without_its_value() {
        for (url, part) in [
            (
                "postgres://u:p@h/d?sslpassword=hunter2",
                "the parameter `sslpassword`, which is not known",
            ),
            (
                "postgres://u:p@h/d?sslmode=hunter2&sslmode=b",
                "the parameter `sslmode` twice",
            ),
            ("postgres://u:p@a,b/hunter2", "several hosts"),
            ("postgres://u:p@a:5432,b:5432/hunter2", "several hosts"),
            ("postgres://u:p@h/d?host=hunter2,b", "several hosts"),
            ("postgres://u:hun#ter2@h/d", "contains a #"),
            ("postgres://u:12/hunter2@h/d", "an @ after the host"),
            ("postgres://u:12?hunter2@h/d", "an @ after the host"),
            (
                "postgres://u:p@h/d?Hunter2",
                "a parameter whose name is not shown",
            ),
            (
                "postgres://u:p@h/d?options=hunter2",
                "the parameter `options`",
            ),
            (
                "postgres://u:p@h/hunter2\n",
                "a space or a control character",
            ),
        ] {
            let fault = fault(url, &KNOWN).unwrap_or_default();
            assert!(fault.contains(part), "{url}: {fault}");
            assert!(!fault.to_lowercase().contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn what_a_driver_understands_is_accepted() {
        for url in [
            "postgres://u:p%23%2F@h:5432/d?sslmode=require&host=/run/postgresql&options[search_path]=a",
            "redis://:p@h:6379/0",
            "unix:///run/redis.sock",
            "postgres:///d",
        ] {
            assert_eq!(fault(url, &KNOWN), None, "{url}");
        }
    }
}
