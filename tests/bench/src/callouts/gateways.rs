//! Envoy configurations to compare: the shipped one with another HTTP filter, or none, in place of Berth's.

use super::Gateway;
use berth_harness::{
    Result,
    envoy::{self, Wiring},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// One call, and the token of its response as a header: the minimum of a gateway script.
const LUA: &str = r#"
function envoy_on_request(handle)
  local cookie = handle:headers():get("cookie")
  local session = cookie and cookie:match("berth=([%w_-]+)")
  if not session then
    handle:respond({[":status"] = "401"}, "")
    return
  end
  local headers, body = handle:httpCall("placement", {
    [":method"] = "POST", [":path"] = "/v1/tokens", [":authority"] = "berth-placement",
    ["content-type"] = "application/json",
  }, '{"session":"' .. session .. '"}', 5000)
  local token = headers[":status"] == "200" and body:match('"token":"([^"]+)"')
  if not token then
    handle:respond({[":status"] = "503"}, "")
    return
  end
  handle:headers():remove("cookie")
  handle:headers():replace("authorization", "Bearer " .. token)
end
"#;

/// Writes the configuration of one gateway into its own folder.
pub(super) fn config(gateway: Gateway, service: u16, app: u16, dir: &Path) -> Result<Value> {
    let dir = dir.join(format!("{gateway:?}"));
    fs::create_dir_all(&dir)?;
    let wiring = Wiring {
        http: 0,
        admin: 0,
        service,
        app,
        certificate: None,
        module: None,
        all_capabilities: false,
        service_config: None,
    };
    let patch = match gateway {
        Gateway::Uncached => json!({"cache": {"entries": 0}}),
        _ => json!({}),
    };
    let mut config = envoy::render(&wiring, &patch, &dir)?;
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let log = config.pointer_mut(&format!("{manager}/access_log/0/typed_config"));
    let log = log.and_then(Value::as_object_mut);
    let log = log.ok_or("config.yaml has no access log")?;
    log.insert(
        "@type".to_owned(),
        "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog".into(),
    );
    log.insert(
        "path".to_owned(),
        dir.join("access.log").display().to_string().into(),
    );
    let filters = config.pointer_mut(&format!("{manager}/http_filters"));
    let filters = filters.and_then(Value::as_array_mut);
    let filters = filters.ok_or("config.yaml has no HTTP filters")?;
    let other = match gateway {
        Gateway::Cached | Gateway::Uncached => return Ok(config),
        Gateway::None => None,
        Gateway::Lua => Some(json!({
            "name": "lua",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": {"inline_string": LUA},
            },
        })),
        Gateway::ExtAuthz => Some(json!({
            "name": "ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "http_service": {
                    "server_uri": {"uri": "http://berth-placement", "cluster": "placement", "timeout": "5s"},
                    "path_override": "/is-authenticated",
                },
                "allowed_headers": {"patterns": [{"exact": "cookie"}]},
            },
        })),
    };
    filters.retain(|filter| filter["name"] != "berth");
    filters.splice(0..0, other);
    Ok(config)
}
