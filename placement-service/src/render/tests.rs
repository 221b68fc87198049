//! What the files contain for unlike configurations, and which settings the edge cannot express.

use super::*;
use crate::config::load;
use serde_json::{Value, json};

fn no_file(path: &Path) -> io::Result<String> {
    Err(io::Error::other(format!("{} is read", path.display())))
}

fn render_text(config: &str, target: Target) -> Result<Vec<RenderedFile>, String> {
    let loaded = load::from_text(config).map_err(|faults| faults.to_string())?;
    render(target, &loaded.config, "my.yaml", &no_file).map_err(|error| error.to_string())
}

fn render_error(config: &str) -> String {
    render_text(config, Target::Envoy).err().unwrap_or_default()
}

fn parse(files: &[RenderedFile], name: &str) -> Value {
    let file = files.iter().find(|file| file.name == name).unwrap();
    serde_saphyr::from_str(&file.text).unwrap_or_else(|error| panic!("{error}\n{}", file.text))
}

/// The filter's own settings in its file.
fn settings(files: &[RenderedFile]) -> Value {
    let file = parse(files, "filter.yaml");
    let settings = file.pointer("/resources/0/typed_config/config/configuration/value");
    settings.unwrap().clone()
}

fn manager(files: &[RenderedFile]) -> Value {
    let file = parse(files, "config.yaml");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    file.pointer(manager).unwrap().clone()
}

#[test]
fn the_defaults_alone_are_rendered() {
    let files = render_text("", Target::Envoy).unwrap();
    let settings = settings(&files);
    assert_eq!(settings["cookie"], "__Host-berth");
    assert_eq!(settings["service"]["timeout"], "12s");
    assert_eq!(
        settings["tokens"],
        json!({"issuer": "berth", "audience": "engine", "keys": [{"alg": "HS256", "secret_env": "BERTH_TOKEN_KEY"}]})
    );
    assert_eq!(render_text("", Target::Filter).unwrap(), files[1..]);
}
