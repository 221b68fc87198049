//! File discovery: changes of the file, invalid content, and the symbolic links of a mounted ConfigMap.

use crate::{is_quiet, list, news, told};
use berth_placement::config::FileSource;
use berth_placement::engines::discovery::file::File;
use std::path::Path;
use std::time::Duration;

const ONE: &str = "engines: [{ name: a, ip: 10.0.0.1, port: 9076 }]";
const TWO: &str = r#"{"engines": [{"name": "a", "ip": "10.0.0.1", "port": 9076, "draining": true},
    {"name": "b", "ip": "10.0.0.2", "port": 9076}]}"#;

fn watch(path: &Path) -> File {
    File::new(&FileSource {
        path: path.to_owned(),
        poll: Duration::from_millis(20),
    })
}

#[tokio::test]
async fn a_replaced_file_is_an_update_and_an_unchanged_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engines.yaml");
    std::fs::write(&path, ONE).unwrap();
    let mut file = watch(&path);
    assert_eq!(told(&news(&mut file).await.unwrap()), ["a@10.0.0.1:9076"]);
    assert!(is_quiet(&mut file).await);
    let new = dir.path().join("new");
    std::fs::write(&new, TWO).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let two = ["a@10.0.0.1:9076!", "b@10.0.0.2:9076"];
    assert_eq!(told(&news(&mut file).await.unwrap()), two);
    assert!(is_quiet(&mut file).await);
}

#[tokio::test]
async fn invalid_content_is_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engines.yaml");
    let mut file = watch(&path);
    let missing = news(&mut file).await.unwrap_err().to_string();
    assert!(missing.contains("engines.yaml"), "{missing}");
    assert!(is_quiet(&mut file).await);
    std::fs::write(&path, "engines: [{ name: a, ip: 10.0.0.1, port: 0 }]").unwrap();
    // A poll may read the file in the middle of a write in place.
    let fault = loop {
        let fault = news(&mut file).await.unwrap_err().to_string();
        if fault.contains("port") {
            break fault;
        }
    };
    assert!(fault.contains("engines[0].port"), "{fault}");
    assert!(is_quiet(&mut file).await);
    std::fs::write(&path, ONE).unwrap();
    assert_eq!(told(&list(&mut file).await), ["a@10.0.0.1:9076"]);
}

/// Kubernetes mounts a ConfigMap this way: the file is a symbolic link through a directory link, and an update
/// replaces the directory link.
#[cfg(unix)]
#[tokio::test]
async fn a_replaced_configmap_link_is_an_update() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (version, text) in [("1", ONE), ("2", TWO)] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("engines.yaml"), text).unwrap();
    }
    symlink("1", at("..data")).unwrap();
    symlink("..data/engines.yaml", at("engines.yaml")).unwrap();
    let mut file = watch(&at("engines.yaml"));
    assert_eq!(news(&mut file).await.unwrap().len(), 1);
    symlink("2", at("..tmp")).unwrap();
    std::fs::rename(at("..tmp"), at("..data")).unwrap();
    assert_eq!(news(&mut file).await.unwrap().len(), 2);
}
