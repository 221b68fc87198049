//! Which templates are valid, which paths match, and what follows from a match.

use super::*;
use proptest::prelude::*;

fn template(text: &str) -> PathTemplate {
    PathTemplate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn captures(text: &str, path: &str) -> Option<Vec<(String, String)>> {
    let template = template(text);
    let found = template.match_path(path)?;
    let names = template.captures();
    Some(
        names
            .map(|name| (name.to_owned(), found.raw(name).unwrap().to_owned()))
            .collect(),
    )
}

#[test]
fn a_path_matches_by_whole_segments() {
    for (text, path, expected) in [
        ("/", "/", Some(vec![])),
        ("/", "/a", None),
        ("/app", "/app", Some(vec![])),
        ("/app", "/app/", None),
        ("/app/", "/app/", Some(vec![])),
        ("/app/", "/app", None),
        ("/rooms/{room}", "/rooms/a", Some(vec![("room", "a")])),
        (
            "/rooms/{room}",
            "/rooms/A%2Fb;x",
            Some(vec![("room", "A%2Fb;x")]),
        ),
        ("/rooms/{room}", "/rooms/", None),
        ("/rooms/{room}", "/rooms/a/", None),
        ("/rooms/{room}", "/rooms/a/b", None),
        ("/rooms/{room}/", "/rooms/a/", Some(vec![("room", "a")])),
        ("/{a}/x/{b}", "/1/x/2", Some(vec![("a", "1"), ("b", "2")])),
        ("/{a}/x/{b}", "/1/y/2", None),
        ("/jup/{rest}", "/jup/", Some(vec![("rest", "")])),
        ("/jup/{rest}", "/jup/a//b/", Some(vec![("rest", "a//b/")])),
        ("/jup/{rest}", "/jup", None),
        ("/jup/{rest}", "/jupx/a", None),
        ("/{document}", "/", Some(vec![("document", "")])),
        (
            "/{t}/{rest}",
            "/a/b/c",
            Some(vec![("t", "a"), ("rest", "b/c")]),
        ),
        ("/{t}/{rest}", "//b", None),
        ("/a", "", None),
        ("/a", "a", None),
    ] {
        let expected = expected.map(|pairs: Vec<(&str, &str)>| {
            let pairs = pairs.into_iter();
            pairs
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect()
        });
        assert_eq!(captures(text, path), expected, "{text} {path}");
    }
}

#[test]
fn faults_of_templates_are_named() {
    let text = |text: &str| text.to_owned();
    for (path, error) in [
        ("app", PathTemplateError::NotAPath),
        ("", PathTemplateError::NotAPath),
        ("/a?b", PathTemplateError::NotAPath),
        ("/a#b", PathTemplateError::NotAPath),
        (
            "/app{document}",
            PathTemplateError::PartOfSegment(text("app{document}")),
        ),
        ("/{a}{b}", PathTemplateError::PartOfSegment(text("{a}{b}"))),
        ("/{a", PathTemplateError::PartOfSegment(text("{a"))),
        ("/a}", PathTemplateError::PartOfSegment(text("a}"))),
        ("/{}", PathTemplateError::Name(text(""))),
        ("/{A}", PathTemplateError::Name(text("A"))),
        ("/{1a}", PathTemplateError::Name(text("1a"))),
        ("/{account}", PathTemplateError::Reserved(text("account"))),
        ("/{a}/{a}", PathTemplateError::Repeated(text("a"))),
        ("/{rest}/x", PathTemplateError::NotLast(text("rest"))),
        ("/{document}/", PathTemplateError::NotLast(text("document"))),
        (
            "/{document}/{rest}",
            PathTemplateError::NotLast(text("document")),
        ),
    ] {
        assert_eq!(PathTemplate::parse(path), Err(error), "{path}");
    }
}

#[test]
fn captures_are_decoded_once_or_not_at_all() {
    let decoded = |text: &'static str| CaptureText::Decoded(text.into());
    for (raw, segment, rest) in [
        ("a", decoded("a"), decoded("a")),
        ("caf%C3%A9%20%2B+", decoded("café ++"), decoded("café ++")),
        ("%2541", decoded("%41"), decoded("%41")),
        ("AbC", decoded("AbC"), decoded("AbC")),
        ("a%2Fb", CaptureText::Raw("a%2Fb"), decoded("a/b")),
        ("%20%2f", CaptureText::Raw("%20%2f"), decoded(" /")),
        ("%ff", CaptureText::Raw("%ff"), CaptureText::Raw("%ff")),
        ("a%4", CaptureText::Raw("a%4"), CaptureText::Raw("a%4")),
        ("%zz", CaptureText::Raw("%zz"), CaptureText::Raw("%zz")),
    ] {
        let path = format!("/{raw}/{raw}");
        let template = template("/{a}/{rest}");
        let found = template.match_path(&path).unwrap();
        assert_eq!(found.text("a"), Some(segment), "{raw}");
        assert_eq!(found.text("rest"), Some(rest), "{raw}");
        assert_eq!(found.text("b"), None);
    }
}

#[test]
fn literals_precede_captures_and_captures_the_rest() {
    let sorted = [
        "/a/b/c",
        "/a/b",
        "/a/b/{rest}",
        "/a/{x}/c",
        "/a/{x}",
        "/a/{x}/{rest}",
        "/a/{rest}",
        "/{x}/b/{rest}",
        "/{x}/{rest}",
        "/{rest}",
    ];
    // Longer paths first, of those that no path matches both.
    for (index, earlier) in sorted.iter().enumerate() {
        for later in &sorted[index + 1..] {
            let order = template(earlier).compare_precedence(&template(later));
            let both = [earlier, later].map(|text| {
                ["/a/b/c", "/a/b", "/a/x/c"].map(|path| template(text).match_path(path).is_some())
            });
            let shared = (0..3).any(|path| both[0][path] && both[1][path]);
            assert!(!shared || order == Ordering::Less, "{earlier} {later}");
        }
    }
    assert!(template("/a/{x}").matches_same_paths(&template("/a/{y}")));
    assert!(!template("/a/{x}").matches_same_paths(&template("/a/{rest}")));
    assert!(!template("/a/{x}").matches_same_paths(&template("/b/{x}")));
    assert!(!template("/a").matches_same_paths(&template("/a/")));
}

#[test]
fn a_scope_ends_before_the_rest_or_is_one_path() {
    for (text, key, path, prefix, exact) in [
        ("/jup/{rest}", &[][..], "/jup/api/x", "/jup/", false),
        ("/jup/{rest}", &["rest"], "/jup/api/x", "/jup/api/x", true),
        (
            "/ws/{room}/x/{rest}",
            &["room"],
            "/ws/a%20b/x/1/2",
            "/ws/a%20b/x/",
            false,
        ),
        ("/ws/{room}", &["room"], "/ws/a", "/ws/a", true),
        ("/{t}/{room}/{rest}", &["t"], "/1/2/3", "/1/2/3", true),
        ("/{t}/{room}/{rest}", &["room"], "/1/2/3", "/1/2/", false),
        ("/a", &[], "/a", "/a", true),
        ("/a/{rest}", &[], "/a/", "/a/", false),
    ] {
        let template = template(text);
        let scope = template.match_path(path).unwrap().scope(key);
        let prefix = prefix.to_owned();
        assert_eq!(scope, PathScope { prefix, exact }, "{text} {key:?}");
    }
}

#[test]
fn overlaps_of_scopes_are_found() {
    for (text, key, other, overlaps) in [
        ("/jup/{rest}", &[][..], "/jup/admin/{rest}", true),
        ("/jup/{rest}", &[], "/jup/", true),
        ("/jup/{rest}", &[], "/jup", false),
        ("/jup/{rest}", &[], "/{x}/admin", true),
        ("/jup/{rest}", &[], "/lab/{rest}", false),
        ("/jup/{rest}", &[], "/{rest}", true),
        ("/ws/{room}/x/{rest}", &["room"], "/ws/a/x/y", true),
        ("/ws/{room}/x/{rest}", &["room"], "/ws/a/y/{rest}", false),
        ("/ws/{room}", &["room"], "/ws/a", true),
        ("/ws/{room}", &["room"], "/ws/a/b", false),
        ("/jup/{rest}", &["rest"], "/jup/a", true),
    ] {
        let found = template(text).scope_may_contain(key, &template(other));
        assert_eq!(found, overlaps, "{text} {key:?} {other}");
    }
}

#[test]
fn a_rewrite_keeps_captures_as_they_were_sent() {
    let path = template("/jup/{user}/{rest}");
    let found = path.match_path("/jup/a%2Fb/api/%20x").unwrap();
    let to = template("/u/{user}/{rest}");
    assert_eq!(found.rewrite(&to), "/u/a%2Fb/api/%20x");
    assert_eq!(found.rewrite_prefix(&to), "/u/a%2Fb/");
    assert_eq!(found.rewrite(&template("/x")), "/x");
    let empty = path.match_path("/jup/a/").unwrap();
    assert_eq!(empty.rewrite(&template("/{rest}")), "/");
}

#[test]
fn the_literal_prefix_ends_before_the_first_capture() {
    for (text, prefix) in [
        ("/", "/"),
        ("/app/{document}", "/app/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a/{x}/b", "/a/"),
        ("/{x}", "/"),
    ] {
        assert_eq!(template(text).literal_prefix(), prefix);
    }
}

fn any_template() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("{x}"), Just("{y}"), Just("")];
    let last = prop_oneof![Just(""), Just("a"), Just("{z}"), Just("{rest}")];
    (prop::collection::vec(segment, 0..4), last)
        .prop_map(|(segments, last)| {
            let all = segments.into_iter().chain([last]);
            all.map(|segment| format!("/{segment}")).collect()
        })
        .prop_filter("valid", |text: &String| PathTemplate::parse(text).is_ok())
}

fn any_path() -> impl Strategy<Value = String> {
    prop_oneof!["(/[ab]?){0,6}", "\\PC{0,20}", "/[a-z%2F/]{0,12}"]
}

proptest! {
    #[test]
    fn captures_and_literals_are_the_whole_path(text in any_template(), path in any_path()) {
        let template = template(&text);
        if let Some(found) = template.match_path(&path) {
            prop_assert_eq!(found.rewrite(&template), path.clone());
            let prefix = found.rewrite_prefix(&template);
            prop_assert!(path.starts_with(&prefix) && path.starts_with(&template.literal_prefix()));
        }
    }

    /// A path in a scope matches the template and gives the same captures of the key.
    #[test]
    fn a_scope_contains_only_paths_of_the_key(text in any_template(), key in 0_usize..8, path in any_path(), other in any_path()) {
        let template = template(&text);
        let key: Vec<&str> = template.captures().enumerate().filter(|(n, _)| key >> n & 1 == 1).map(|(_, name)| name).collect();
        if let Some(found) = template.match_path(&path) {
            let scope = found.scope(&key);
            let below = if scope.exact { scope.prefix.clone() } else { format!("{}{}", scope.prefix, other.trim_start_matches('/')) };
            let again = template.match_path(&below);
            prop_assert!(again.is_some(), "{text} {below}");
            let again = again.unwrap();
            for name in key {
                prop_assert_eq!(again.raw(name), found.raw(name));
            }
        }
    }

    #[test]
    fn one_template_precedes_the_other_if_a_path_matches_both(one in any_template(), other in any_template(), path in any_path()) {
        let (one, other) = (template(&one), template(&other));
        prop_assert_eq!(one.compare_precedence(&other), other.compare_precedence(&one).reverse());
        if one.match_path(&path).is_some() && other.match_path(&path).is_some() {
            let same = one.compare_precedence(&other).is_eq();
            prop_assert_eq!(same, one.matches_same_paths(&other));
        }
    }

    /// What the configuration refuses as an overlap is all that can happen.
    #[test]
    fn a_scope_that_may_not_contain_a_template_contains_none_of_its_paths(one in any_template(), other in any_template(), path in any_path(), below in any_path()) {
        let (one, other) = (template(&one), template(&other));
        if let Some(found) = one.match_path(&path) {
            let scope = found.scope(&[]);
            let below = if scope.exact { scope.prefix } else { format!("{}{}", scope.prefix, below.trim_start_matches('/')) };
            if other.match_path(&below).is_some() {
                prop_assert!(one.scope_may_contain(&[], &other));
            }
        }
    }
}
