//! The templates of the files, embedded in the program, and how they are filled. Every value is written by `scalar`;
//! only comments, which are texts of Berth itself, are written as they are.

use super::error::RenderError;
use super::model::EdgeModel;
use super::scalar;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

/// The name of each file and its template.
const TEMPLATES: [(&str, &str); 2] = [
    ("config.yaml", include_str!("templates/config.yaml.j2")),
    ("filter.yaml", include_str!("templates/filter.yaml.j2")),
];

/// Fills the template of a file. `source` is the name of the configuration.
pub(super) fn render(name: &str, model: &EdgeModel, source: &str) -> Result<String, RenderError> {
    let fill = |version: &str| {
        let environment = environment()?;
        let edge = Value::from(Serde(model));
        environment
            .get_template(name)?
            .render(context! { edge, source, version })
    };
    // A new version for each new content: Envoy takes over a changed file.
    let version = fill("").map(|text| format!("{:x}", Sha256::digest(text)));
    version
        .and_then(|version| fill(version.get(..12).unwrap_or_default()))
        .map_err(|source| RenderError::Template {
            name: name.to_owned(),
            source,
        })
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("yaml".into()));
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) if value.is_safe() => out.write_str(text).map_err(Error::from),
        _ => scalar::write(out, value).map_err(Error::from),
    });
    environment.add_filter("comment", comment);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(environment)
}

/// A text of Berth itself, for a comment.
fn comment(text: &str) -> Result<Value, Error> {
    if text.chars().any(char::is_control) {
        let message = "a comment has one line";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(Value::from_safe_string(text.to_owned()))
}
