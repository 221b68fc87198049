use super::*;
use crate::config::load::from_text;

const FIRST: &str = "a first secret, of 32 bytes or more";
const SECOND: &str = "another secret, of 32 bytes or more";

fn names(tokens: &str) -> Result<Vec<String>, String> {
    let config = from_text(&format!("tokens: {tokens}")).map_err(|f| f.to_string())?;
    let env = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| FIRST.to_owned());
    let secrets = fetch(&config.config, &env).map_err(|f| f.to_string())?;
    let all = std::iter::once(&secrets.signing_key).chain(&secrets.published_keys);
    Ok(all.map(|key| key.kid().to_owned()).collect())
}

#[test]
fn a_trailing_line_end_of_a_variable_is_not_a_part_of_the_secret() {
    let source = SecretSource::Env("NAME".to_owned());
    let secret = read_secret("a", &source, &|_| Some("text\r\n".to_owned()));
    assert_eq!(secret.unwrap().reveal(), "text");
}

#[test]
fn next_and_previous_keys_are_read() {
    let tokens = format!(
        "{{ kid: now, next: [ {{ algorithm: HS256, key: {{ inline: '{SECOND}' }}, kid: soon }} ], \
         previous: [ {{ algorithm: EdDSA, key: {{ file: tests/keys/eddsa.pem }}, kid: old }}, \
         {{ algorithm: RS256, key: {{ file: tests/keys/rs256.pem }}, kid: older }} ] }}"
    );
    assert_eq!(names(&tokens).unwrap(), ["now", "soon", "old", "older"]);
}

#[test]
fn key_ids_are_unique_and_all_faults_are_reported() {
    let faults = names(&format!(
        "{{ kid: a, next: [ {{ algorithm: HS256, key: {{ inline: '{SECOND}' }}, kid: a }} ], \
         previous: [ {{ algorithm: ES256, key: {{ file: tests/keys/rs256.pem }} }}, \
         {{ algorithm: HS256, key: {{ inline: short }} }} ] }}"
    ));
    assert_eq!(
        faults.unwrap_err(),
        "tokens.next[0].key: another key is named \"a\" too\n\
         tokens.previous[0].key: not a PKCS#8 PEM private key for ES256 (curve P-256)\n\
         tokens.previous[1].key: an HS256 secret needs 32 bytes or more, this one has 5"
    );
    let same = "{ previous: [ { algorithm: HS256, key: { env: BERTH_TOKEN_KEY } } ] }";
    assert!(names(same).unwrap_err().contains("another key is named"));
}

#[test]
fn a_fault_of_the_shape_contains_no_secret() {
    let faults = names(
        "{ previous: [ { algorithm: HS1, key: 5 }, { algorithm: HS256, key: hunter2, kid: '' } ] }",
    );
    let faults = faults.unwrap_err();
    assert!(!faults.contains("hunter2"), "{faults}");
    for line in [
        "tokens.previous[0].key: expected {env: NAME}, {file: PATH} or {inline: TEXT}",
        "tokens.previous[1].key: expected {env: NAME}, {file: PATH} or {inline: TEXT}",
        "tokens.previous[1].kid: must not be empty; null names the key by its thumbprint",
    ] {
        assert!(faults.lines().any(|l| l == line), "{faults}");
    }
    assert!(
        faults.contains("tokens.previous[0].algorithm: unknown variant"),
        "{faults}"
    );
}
