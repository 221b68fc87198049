//! Every fault of the section names its field.

use crate::config::load::from_text;

fn faults(edge: &str) -> String {
    let loaded = from_text(&format!("edge: {edge}"));
    loaded
        .err()
        .map(|faults| faults.to_string())
        .unwrap_or_default()
}

#[test]
fn a_complete_section_is_valid() {
    let edge = "{ listen: '[::]:443', tls: { certificate: /etc/tls.crt, key: /etc/tls.key },
      service: [berth.berth.svc:9455], token_keys: [{ secret_env: KEY, kid: a }, { jwk_file: public.jwk }],
      strip_headers: [x-user], origins: ['https://app.example.com'], applications: [
        { name: app, addresses: ['10.0.0.1:80'], routes: [
          { prefix: /api/, action: authenticate, bearer: allow, anonymous: allow, on_login_timeout: login, timeout: 1m },
          { path: /page, action: bypass }] }] }";
    assert_eq!(faults(edge), "");
}

#[test]
fn faults_name_their_fields() {
    for (edge, fault) in [
        (
            "{ kubernetes: { host: 'a b' } }",
            "edge.kubernetes.host: must be a DNS name: a-z, 0-9, - and .",
        ),
        (
            "{ kubernetes: { filter_image: 'oci://a/b' } }",
            "edge.kubernetes.filter_image: must be an image such as registry.example.com/berth-filter:1.0",
        ),
        (
            "{ istio: { namespace: A } }",
            "edge.istio.namespace: must be the name of a namespace: a-z, 0-9 and -",
        ),
        (
            "{ istio: { selector: 'a=b,c' } }",
            "edge.istio.selector: \"a=b,c\" are no labels such as app=berth,tier=edge",
        ),
        (
            "{ envoy_gateway: { namespace: a.b } }",
            "edge.envoy_gateway.namespace: must be the name of a namespace: a-z, 0-9 and -",
        ),
        (
            "{ admin: '127.0.0.1:8080' }",
            "edge.admin: must not be the address of edge.listen",
        ),
        (
            "{ admin: '0.0.0.0:9901' }",
            "edge.admin: must be a loopback address: its clients can stop Envoy and read its configuration",
        ),
        ("{ wasm: '' }", "edge.wasm: must be the path of a file"),
        (
            "{ tls: { certificate: a, key: 5 } }",
            "edge.tls.key: invalid type: integer `5`, expected path string",
        ),
        (
            "{ max_heap_mb: 0 }",
            "edge.max_heap_mb: must be 1 to 1048576, not 0",
        ),
        (
            "{ gateway_secret_env: a b }",
            "edge.gateway_secret_env: must be the name of an environment variable",
        ),
        (
            "{ token_keys: [{ kid: a }] }",
            "edge.token_keys[0]: needs either secret_env or jwk_file",
        ),
        (
            "{ token_keys: [{ jwk_file: f, kid: a }] }",
            "edge.token_keys[0].kid: a JWK contains its kid itself",
        ),
        (
            "{ origins: [app] }",
            "edge.origins[0]: must be an origin such as https://app.example.com",
        ),
        (
            "{ api_prefixes: [api] }",
            "edge.api_prefixes[0]: must be a path such as /api/, without a query",
        ),
        (
            "{ strip_headers: [cookie] }",
            "edge.strip_headers[0]: cannot be removed: requests need it",
        ),
        (
            "{ strip_headers: [X-User] }",
            "edge.strip_headers[0]: must be the name of a header in lower case",
        ),
        (
            "{ close_timeout: 11s }",
            "edge.close_timeout: must be 1ms to 10s, not 11s",
        ),
        (
            "{ cache: { bytes: 1 } }",
            "edge.cache.bytes: must be 65536 to 268435456",
        ),
        (
            "{ service: [berth] }",
            "edge.service[0]: \"berth\" is no address such as 10.0.0.5:8080 or app.example:80",
        ),
        (
            "{ applications: [{ name: app, addresses: [], routes: [] }] }",
            "edge.applications[0].addresses: must not be empty",
        ),
        (
            "{ applications: [{ name: app, addresses: ['a:1'], routes: [{ prefix: /a, path: /a, action: bypass }] }] }",
            "edge.applications[0].routes[0]: needs either prefix or path",
        ),
        (
            "{ applications: [{ name: app, addresses: ['a:1'], routes: [{ prefix: /a/../b, action: bypass }] }] }",
            "edge.applications[0].routes[0].prefix: must be a path such as /api/, without a query",
        ),
        (
            "{ applications: [{ name: app, addresses: ['a:1'], routes: [{ path: /a, action: bypass, bearer: allow }] }] }",
            "edge.applications[0].routes[0].bearer: a bypass route checks no identity",
        ),
        (
            "{ applications: [{ name: app, addresses: ['a:1'], routes: [{ path: /a, action: bypass, on_login_timeout: refuse }] }] }",
            "edge.applications[0].routes[0].on_login_timeout: a bypass route checks no session",
        ),
        (
            "{ applications: [{ name: app, addresses: ['a:1'], routes: [{ path: /a, action: authenticate, on_login_timeout: anonymous }] }] }",
            "edge.applications[0].routes[0].on_login_timeout: anonymous requires `anonymous: allow`",
        ),
    ] {
        assert_eq!(faults(edge), fault, "{edge}");
    }
}
