//! File discovery: changes of the file, invalid content, and the symbolic links of a mounted ConfigMap.

use crate::{format_engines, is_quiet, next_list, next_list_after_faults};
use berth_placement::config::FileSource;
use berth_placement::engines::discovery::file::File;
use std::path::Path;
use std::time::Duration;

const ONE_ENGINE: &str = "engines: [{ name: a, ip: 10.0.0.1, port: 9076 }]";
const TWO_ENGINES: &str = r#"{"engines": [{"name": "a", "ip": "10.0.0.1", "port": 9076, "draining": true},
    {"name": "b", "ip": "10.0.0.2", "port": 9076}]}"#;

fn file_discovery(path: &Path) -> File {
    File::new(&FileSource {
        path: path.to_owned(),
        poll: Duration::from_millis(20),
    })
}

#[tokio::test]
async fn a_replaced_file_is_an_update_and_an_unchanged_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engines.yaml");
    std::fs::write(&path, ONE_ENGINE).unwrap();
    let mut file = file_discovery(&path);
    assert_eq!(
        format_engines(&next_list(&mut file).await.unwrap()),
        ["a@10.0.0.1:9076"]
    );
    assert!(is_quiet(&mut file).await);
    let new = dir.path().join("new");
    std::fs::write(&new, TWO_ENGINES).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let two = ["a@10.0.0.1:9076!", "b@10.0.0.2:9076"];
    assert_eq!(format_engines(&next_list(&mut file).await.unwrap()), two);
    assert!(is_quiet(&mut file).await);
}

#[tokio::test]
async fn invalid_content_is_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engines.yaml");
    let mut file = file_discovery(&path);
    let missing = next_list(&mut file).await.unwrap_err().to_string();
    assert!(missing.contains("engines.yaml"), "{missing}");
    assert!(is_quiet(&mut file).await);
    std::fs::write(&path, "engines: [{ name: a, ip: 10.0.0.1, port: 0 }]").unwrap();
    // A poll may read the file in the middle of a write in place.
    let fault = loop {
        let fault = next_list(&mut file).await.unwrap_err().to_string();
        if fault.contains("port") {
            break fault;
        }
    };
    assert!(fault.contains("engines[0].port"), "{fault}");
    assert!(is_quiet(&mut file).await);
    std::fs::write(&path, ONE_ENGINE).unwrap();
    assert_eq!(
        format_engines(&next_list_after_faults(&mut file).await),
        ["a@10.0.0.1:9076"]
    );
}

/// Kubernetes mounts a ConfigMap this way: the file is a symbolic link through a directory link, and an update
/// replaces the directory link.
#[cfg(unix)]
#[tokio::test]
async fn a_replaced_configmap_link_is_an_update() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (version, text) in [("1", ONE_ENGINE), ("2", TWO_ENGINES)] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("engines.yaml"), text).unwrap();
    }
    symlink("1", at("..data")).unwrap();
    symlink("..data/engines.yaml", at("engines.yaml")).unwrap();
    let mut file = file_discovery(&at("engines.yaml"));
    assert_eq!(next_list(&mut file).await.unwrap().len(), 1);
    symlink("2", at("..tmp")).unwrap();
    std::fs::rename(at("..tmp"), at("..data")).unwrap();
    assert_eq!(next_list(&mut file).await.unwrap().len(), 2);
}
