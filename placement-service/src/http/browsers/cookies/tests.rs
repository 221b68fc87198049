//! Which cookies are read, and the attributes of those that are set.

use super::*;

fn cookie(secure: bool, same_site: SameSite) -> LoginCookie {
    LoginCookie::new(&Cookie {
        name: None,
        secure,
        same_site,
    })
}

fn read(headers: &[&[u8]]) -> Result<Option<String>, &'static str> {
    let mut map = HeaderMap::new();
    for header in headers {
        map.append("cookie", HeaderValue::from_bytes(header).unwrap());
    }
    let value = cookie(false, SameSite::Lax).read(&map);
    value.map(|v| v.map(str::to_owned)).map_err(|p| p.reason())
}

#[test]
fn the_cookie_is_found_among_others_and_must_be_unique() {
    let value = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[b"a=1; berth=x; b=2"]), value("x"));
    assert_eq!(read(&[b"a=1", b"b=2;berth=x=y"]), value("x=y"));
    assert_eq!(read(&[b"xberth=1; berth2=2; Berth=3; berth"]), Ok(None));
    assert_eq!(read(&[b"berth="]), Ok(None));
    assert_eq!(read(&[b"berth=\xff"]), value("?"));
    assert_eq!(read(&[b"berth=x; berth=x"]), Err("cookie-duplicate"));
    assert_eq!(read(&[b"berth=x", b"berth="]), Err("cookie-duplicate"));
    let too_long = format!("berth={}", "a".repeat(MAX_VALUE_BYTES + 1));
    assert_eq!(read(&[too_long.as_bytes()]), Err("cookie-too-long"));
    assert!(read(&[&too_long.as_bytes()[..too_long.len() - 1]]).is_ok());
}

#[test]
fn runtimes_on_one_host_have_separate_cookies() {
    let cookie_named = |name: &str| {
        LoginCookie::new(&Cookie {
            name: Some(name.to_owned()),
            secure: false,
            same_site: SameSite::Lax,
        })
    };
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_static("flows=a; forms=b"));
    assert_eq!(cookie_named("flows").read(&headers).unwrap(), Some("a"));
    assert_eq!(cookie_named("forms").read(&headers).unwrap(), Some("b"));
    assert_eq!(cookie_named("berth").read(&headers).unwrap(), None);
    let set_cookie = cookie_named("flows").set(&SessionId::generate()).unwrap();
    assert!(set_cookie.to_str().unwrap().starts_with("flows="));
}

#[test]
fn attributes_are_as_configured() {
    let id = SessionId::generate();
    let set_cookie = |secure, same_site| {
        let value = cookie(secure, same_site).set(&id).unwrap();
        let text = value.to_str().unwrap().replace(id.reveal(), "ID");
        (text, value.is_sensitive())
    };
    let expect = |text: &str| (text.to_owned(), true);
    assert_eq!(
        set_cookie(true, SameSite::Lax),
        expect("__Host-berth=ID; Path=/; HttpOnly; SameSite=Lax; Secure")
    );
    assert_eq!(
        set_cookie(true, SameSite::None),
        expect("__Host-berth=ID; Path=/; HttpOnly; SameSite=None; Secure")
    );
    assert_eq!(
        set_cookie(false, SameSite::Strict),
        expect("berth=ID; Path=/; HttpOnly; SameSite=Strict")
    );
    assert_eq!(
        cookie(true, SameSite::Lax).clear().unwrap(),
        "__Host-berth=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
    );
    assert_eq!(
        cookie(true, SameSite::None).set_anonymous("N"),
        "__Host-berth-anon=N; Path=/; HttpOnly; SameSite=Lax; Secure"
    );
    let attempt = |secure| {
        cookie(secure, SameSite::Strict)
            .set_login_state("abc", "S", 600)
            .unwrap()
    };
    // SHA-256 of "abc": FIPS 180-4, appendix.
    assert_eq!(
        attempt(true),
        "__Host-berth-oidc-ba7816bf=S; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"
    );
    assert_eq!(
        attempt(false),
        "berth-oidc-ba7816bf=S; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"
    );
}

#[test]
fn too_many_logins_in_progress_are_cleared() {
    let cookie = cookie(false, SameSite::Lax);
    let mut headers = HeaderMap::new();
    let mut pairs = vec!["berth=x; berth-oidc-1=y; berth-oidc-zzzzzzzz=z".to_owned()];
    for n in 1..MAX_LOGIN_STATES {
        let set_cookie = cookie.set_login_state(&n.to_string(), "S", 600).unwrap();
        pairs.push(
            set_cookie
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned(),
        );
    }
    headers.insert("cookie", pairs.join("; ").try_into().unwrap());
    assert_eq!(cookie.read_login_state(&headers, "1").unwrap(), Some("S"));
    assert_eq!(cookie.read_login_state(&headers, "9").unwrap(), None);
    assert!(cookie.clear_login_states(&headers).is_empty());
    headers.append("cookie", "berth-oidc-00000000=S".try_into().unwrap());
    let cookies = cookie.clear_login_states(&headers);
    assert_eq!(cookies.len(), MAX_LOGIN_STATES);
    let last = "berth-oidc-00000000=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0";
    assert_eq!(cookies[MAX_LOGIN_STATES - 1], last);
}
