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
    let shape = "key: expected {env: NAME}, {file: PATH} or {inline: TEXT}";
    for (key, fault) in [
        ("{ algorithm: HS256, key: 5 }", shape),
        ("{ algorithm: HS256, key: hunter2 }", shape),
        (
            "{ algorithm: HS1, key: hunter2 }",
            "algorithm: unknown variant `HS1`, expected one of `HS256`, `RS256`, `ES256`, `EdDSA`",
        ),
        (
            "{ algorithm: HS256, key: { inline: hunter2 }, kid: '' }",
            "kid: must not be empty; null names the key by its thumbprint",
        ),
    ] {
        let faults = names(&format!("{{ previous: [ {key} ] }}")).unwrap_err();
        assert_eq!(faults, format!("tokens.previous[0].{fault}"));
    }
}

#[test]
fn only_a_secret_that_signs_must_be_base64_after_its_prefix() {
    let faults = |hook: &str| {
        let text = format!(
            "tokens: {{ algorithm: ES256, key: {{ file: tests/keys/es256.pem }} }}\n\
             webhooks: [ {{ name: a, url: 'https://example.com/', secret: {{ inline: whsec_not-in-base64 }}, {hook} }} ]"
        );
        let config = from_text(&text).unwrap().config;
        fetch(&config, &|_| None).map_or_else(|faults| faults.to_string(), |_| String::new())
    };
    assert_eq!(
        faults("format: json"),
        "webhooks[0].secret: must be Base64 after whsec_"
    );
    assert_eq!(faults("format: caep, audience: partner"), "");
}

#[test]
fn secrets_are_read_from_their_configured_source() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "from a file, and long enough for HS256\n").unwrap();
    let fetch = |text: &str, env: &dyn Fn(&str) -> Option<String>| {
        let config = from_text(text).unwrap().config;
        fetch(&config, env)
            .map(|s| s.gateway)
            .map_err(|f| f.to_string())
    };
    let env = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| "e".repeat(32));
    assert_eq!(fetch("", &env), Ok(None));
    let text = format!("gateways: {{ secret: {{ file: {} }} }}", file.display());
    assert_eq!(
        fetch(&text, &|_| None).unwrap_err(),
        "tokens.key: the environment variable BERTH_TOKEN_KEY is not set\n\
         gateways.secret: must have 16 or more visible ASCII characters"
    );
    let text = format!("tokens: {{ key: {{ file: {} }} }}", file.display());
    assert!(fetch(&text, &|_| None).is_ok());
    assert_eq!(
        fetch("tokens: { key: { inline: short } }", &env).unwrap_err(),
        "tokens.key: an HS256 secret needs 32 bytes or more, this one has 5"
    );
    assert_eq!(
        fetch("tokens: { algorithm: RS256 }", &env).unwrap_err(),
        "tokens.key: not a PKCS#8 PEM private key for RS256"
    );
}
