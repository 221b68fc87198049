//! Finds a claim by its path. Knows no provider and no setting.

use serde_json::{Map, Value};

/// Finds a claim by its name, or by a path of names separated by dots. A name may itself contain dots, such as a client
/// id of Keycloak in `resource_access`: the longest name that leads to a value wins.
pub(super) fn find_claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let whole = claims.get(path).filter(|value| !value.is_null());
    whole.or_else(|| {
        path.rmatch_indices('.').find_map(|(dot, _)| {
            let (name, rest) = (path.get(..dot)?, path.get(dot + 1..)?);
            find_claim(claims.get(name)?.as_object()?, rest)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_longest_name_that_leads_to_a_value_wins() {
        let claims = json!({"a": {"b": 1, "c.d": 2, "c": {"d": 3}, "e": null}, "a.b": 4, "f.g": null,
            "f": {"g": 5}});
        let find = |path: &str| find_claim(claims.as_object().unwrap(), path).cloned();
        for (path, expected) in [
            ("a.b", Some(json!(4))),
            ("a.c.d", Some(json!(2))),
            ("f.g", Some(json!(5))),
            ("a.e", None),
            ("a.b.c", None),
            ("missing", None),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
    }
}
