//! A path template and a path, separated by a line break: captures and literals are the whole path, and every path of a
//! scope has the key of the scope.
use berth_placement::core::affinity_key::KeyTemplate;
use berth_placement::core::path_template::PathTemplate;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (template, path) = text.split_once('\n').unwrap_or(("/{a}/x/{rest}", text));
    let Ok(template) = PathTemplate::parse(template) else {
        return;
    };
    assert!(template.compare_precedence(&template).is_eq());
    let Some(found) = template.match_path(path) else {
        return;
    };
    assert_eq!(found.rewrite(&template), path);
    assert!(path.starts_with(&template.literal_prefix()));
    for name in template.captures() {
        let decoded = found.text(name).expect("a capture of the template");
        assert!(decoded.as_str().len() <= found.raw(name).unwrap_or_default().len());
        let key_text = format!("{{{name}}}");
        let key = KeyTemplate::parse(&key_text, &template).expect("a capture is a key");
        let scope = found.scope(&key.captures());
        assert!(path.starts_with(&scope.prefix));
        let below = if scope.exact {
            scope.prefix
        } else {
            format!("{}x/..%2f/", scope.prefix)
        };
        let below = template.match_path(&below).expect("a path of the scope matches");
        assert_eq!(key.resolve("p", &below), key.resolve("p", &found));
    }
}
