//! Engines from a YAML or JSON file: `engines: [{name, ip, port, metrics_port, draining}]`. The file is polled and its
//! content compared, which detects every kind of replacement (in place, by rename, by the symbolic links of
//! Kubernetes) on every file system. Invalid content is reported once and changes no engine.

use super::static_list;
use super::{DiscoveredEngine, Discovery, DiscoveryFault};
use crate::config::{FileSource, StaticEngine, check_engines};
use async_trait::async_trait;
use serde::Deserialize;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Size limit of the file. Ten thousand engines need less.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// New content is accepted when it is still the same after this time.
const SETTLE_TIME: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    engines: Vec<StaticEngine>,
}

/// The discovery by a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    poll: Duration,
    /// The content, or the read error, that was reported last.
    last: Option<Result<Vec<u8>, String>>,
}

impl File {
    /// The discovery for the configured file.
    #[must_use]
    pub fn new(config: &FileSource) -> Self {
        Self {
            path: config.path.clone(),
            poll: config.poll,
            last: None,
        }
    }
}

#[async_trait]
impl Discovery for File {
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        loop {
            if self.last.is_some() {
                tokio::time::sleep(self.poll).await;
            }
            let now = self.read().await;
            if self.last.as_ref() == Some(&now) {
                continue;
            }
            // A writer may be active, and a part of a list can be a valid list.
            tokio::time::sleep(SETTLE_TIME).await;
            if self.read().await != now {
                continue;
            }
            let content = now.clone();
            self.last = Some(now);
            let path = self.path.display();
            return match content {
                Ok(content) => {
                    parse(&content).map_err(|e| DiscoveryFault::new(format!("{path}: {e}")))
                }
                Err(e) => Err(DiscoveryFault::new(format!("{path} cannot be read: {e}"))),
            };
        }
    }
}

impl File {
    async fn read(&self) -> Result<Vec<u8>, String> {
        let path = self.path.clone();
        let now = tokio::task::spawn_blocking(move || read(&path).map_err(|e| e.to_string()));
        now.await.unwrap_or_else(|e| Err(e.to_string()))
    }
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut file = std::fs::File::open(path)?.take(MAX_BYTES + 1);
    file.read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        let message = format!("more than {MAX_BYTES} bytes");
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            message,
        ));
    }
    Ok(content)
}

/// Parses the content of a file.
///
/// # Errors
/// The faults with their field paths, separated by semicolons.
pub fn parse(content: &[u8]) -> Result<Vec<DiscoveredEngine>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "not UTF-8".to_owned())?;
    let options = serde_saphyr::options! { with_snippet: false };
    let tree: serde_json::Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
    let content: Content = serde_path_to_error::deserialize(&tree).map_err(|e| e.to_string())?;
    let faults = check_engines("engines", &content.engines);
    if faults.is_empty() {
        return Ok(static_list::discovered_engines(&content.engines));
    }
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Err(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::discovery::DesiredState;

    #[test]
    fn reads_yaml_and_json() {
        let yaml = b"engines:\n  - { name: a, ip: 10.0.0.1, port: 9076, metrics_port: 9090 }\n  \
            - { name: b, ip: \"fd00::1\", port: 9076, draining: true }\n";
        let engines = parse(yaml).unwrap();
        assert_eq!(engines[0].endpoint.metrics.unwrap().port(), 9090);
        assert_eq!(engines[1].desired_state, DesiredState::Draining);
        assert!(engines[1].endpoint.metrics.is_none());
        let json = br#"{"engines":[{"name":"a","ip":"10.0.0.1","port":9076}]}"#;
        assert_eq!(parse(json).unwrap().len(), 1);
        assert_eq!(parse(b"engines: []").unwrap(), []);
    }

    #[test]
    fn faults_name_their_field() {
        for (text, fault) in [
            (
                "engines: [{name: a, ip: 10.0.0.1, port: 0}]",
                "engines[0].port: must be",
            ),
            (
                "engines: [{name: a, ip: 10.0.0.1, port: 1}, {name: a, ip: 10.0.0.2, port: 1}]",
                "engines[1].name: the name",
            ),
            ("engines: [{name: a, ip: here, port: 1}]", "IP address"),
            (
                "engines: [{name: a, ip: 10.0.0.1, port: 1, prot: 2}]",
                "prot",
            ),
        ] {
            let message = parse(text.as_bytes()).unwrap_err();
            assert!(message.contains(fault), "{text}: {message}");
        }
        for text in [&b""[..], b"half a fi", b"engines:", b"\xff"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
