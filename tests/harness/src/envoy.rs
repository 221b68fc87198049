//! Envoy as a process: lets `berth render` write its configuration for free ports, reads the admin address back, and
//! waits until Envoy is ready.

use crate::certificate::Certificate;
use crate::process::Process;
use crate::render::{self, Replacements};
use crate::{Call, Result, paths, service, wait};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The listener port in `envoy/config.yaml`.
pub const HTTP_PORT: u16 = 8080;
/// The admin port in it.
pub const ADMIN_PORT: u16 = 9901;
/// The placement service's port in it.
pub const SERVICE_PORT: u16 = 9455;
/// The application's port in it.
pub const APP_PORT: u16 = 9460;

/// File of the filter's configuration in a run's folder. Envoy watches it.
const FILTER_FILE: &str = "filter.json";
/// JSON pointer to the plugin's configuration in it.
const PLUGIN_CONFIG: &str = "/resources/0/typed_config/config/configuration/value";
/// JSON pointer to the VM's configuration in it.
const VM_CONFIG: &str = "/resources/0/typed_config/config/vm_config";

/// Replaces the filter's configuration of a running Envoy by filesystem discovery, as an operator would. Each call
/// needs another `version`.
///
/// # Errors
/// When the file cannot be replaced.
pub fn push_filter_config(dir: &Path, version: &str, patch: &Value) -> Result<()> {
    let file = dir.join(FILTER_FILE);
    let mut resource = render::read_yaml(&file)?;
    render::merge(&mut resource, &json!({"version_info": version}));
    let settings = resource.pointer_mut(PLUGIN_CONFIG);
    render::merge(
        settings.ok_or("the file has no plugin configuration")?,
        patch,
    );
    let new_path = dir.join("filter.json.new");
    render::write(&new_path, &resource)?;
    Ok(fs::rename(&new_path, &file)?)
}

/// A running Envoy.
pub struct Envoy {
    /// Address of its first listener.
    pub http: SocketAddr,
    /// Address of its admin interface.
    pub admin: SocketAddr,
    process: Process,
    file: PathBuf,
    concurrency: u32,
    dir: PathBuf,
}

/// What differs from the repository's files in one run.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Port of the listener; 0 selects a free port.
    pub http: u16,
    /// Port of the admin interface; 0 selects a free port.
    pub admin: u16,
    /// Port of the placement service.
    pub service: u16,
    /// Port of the application.
    pub app: u16,
    /// The certificate of a TLS listener. Without one, the listener speaks plain HTTP.
    pub certificate: Option<Certificate>,
    /// The filter's file, if it is not the default one.
    pub module: Option<PathBuf>,
    /// Whether the list of capabilities is removed, as in installations that cannot have one.
    pub all_capabilities: bool,
    /// The service's configuration, from which Envoy's is written; `None`: that of the demonstration.
    pub service_config: Option<Value>,
}

/// Lets `berth render` write Envoy's and the filter's configuration for this run. Writes the second into `dir` and
/// returns the first.
///
/// # Errors
/// When the files cannot be read, or the filter has not been built.
pub fn render(wiring: &Wiring, filter_patch: &Value, dir: &Path) -> Result<Value> {
    let rendered = render_files(wiring, dir)?;
    let mut resource = render::read_yaml(&rendered.join("filter.yaml"))?;
    if wiring.all_capabilities {
        let vm = resource
            .pointer_mut(VM_CONFIG)
            .and_then(Value::as_object_mut);
        let vm = vm.ok_or("filter.yaml has no VM")?;
        vm.remove("capability_restriction_config")
            .ok_or("filter.yaml has no list of capabilities")?;
    }
    let settings = resource.pointer_mut(PLUGIN_CONFIG);
    render::merge(
        settings.ok_or("filter.yaml has no plugin configuration")?,
        filter_patch,
    );
    render::write(&dir.join(FILTER_FILE), &resource)?;
    render::read_yaml(&rendered.join("config.yaml"))
}

/// Runs `berth render` as an operator would. Returns the folder of the files.
fn render_files(wiring: &Wiring, dir: &Path) -> Result<PathBuf> {
    let mut config = match &wiring.service_config {
        Some(config) => config.clone(),
        None => service::read_demo_config()?,
    };
    let loopback = |port: u16| format!("127.0.0.1:{port}");
    let certificate = wiring.certificate.as_ref();
    let tls = certificate.map(|one| json!({"certificate": one.file, "key": one.key_file}));
    let edge = json!({
        "listen": loopback(wiring.http),
        "admin": loopback(wiring.admin),
        "service": [loopback(wiring.service)],
        "filter_file": dir.join(FILTER_FILE),
        "wasm": filter_module(wiring)?,
        "tls": tls,
    });
    // `berth render` writes no secret but the demonstration's: a test gives others to the filter itself.
    let secrets = json!({"tokens": service::read_demo_config()?.get("tokens"), "gateways": null});
    render::merge(&mut config, &json!({"edge": edge, "tokens": null}));
    render::merge(&mut config, &secrets);
    let app = config.pointer_mut("/edge/applications/0/addresses");
    *app.ok_or("demo.yaml has no application")? = json!([loopback(wiring.app)]);
    let file = dir.join("edge.yaml");
    render::write(&file, &config)?;
    let folder = dir.join("rendered");
    let mut command = Command::new(paths::binary("berth")?);
    command.args(["render", "envoy", "--config"]).arg(&file);
    let output = command.arg("--output").arg(&folder).output()?;
    if output.status.success() {
        return Ok(folder);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("berth render: {error}").into())
}

fn filter_module(wiring: &Wiring) -> Result<PathBuf> {
    match &wiring.module {
        Some(module) => Ok(module.clone()),
        None => paths::filter_module(),
    }
}

/// Renders `envoy/minimal.yaml` for this run. Adds an admin interface, from which the harness reads the ports.
///
/// # Errors
/// When the file cannot be read, or the filter has not been built.
pub fn render_minimal(wiring: &Wiring) -> Result<Value> {
    let mut config = render::read_yaml(&paths::repository_root().join("envoy/minimal.yaml"))?;
    Replacements::default()
        .port(HTTP_PORT, wiring.http)
        .port(SERVICE_PORT, wiring.service)
        .text("target/wasm/berth_filter.wasm", &filter_module(wiring)?)
        .apply(&mut config);
    let admin = json!({"address": "127.0.0.1", "port_value": wiring.admin});
    let admin = json!({"admin": {"address": {"socket_address": admin}}});
    render::merge(&mut config, &admin);
    Ok(config)
}

/// Adds an endpoint to a cluster.
///
/// # Errors
/// When the configuration has no such cluster.
pub fn add_endpoint(config: &mut Value, cluster: &str, address: SocketAddr) -> Result<()> {
    let endpoints = find_cluster(config, cluster)?
        .pointer_mut("/load_assignment/endpoints/0/lb_endpoints")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| format!("no cluster {cluster} with addresses"))?;
    let address = json!({"address": address.ip(), "port_value": address.port()});
    endpoints.push(json!({"endpoint": {"address": {"socket_address": address}}}));
    Ok(())
}

/// Makes Envoy speak HTTP/2 to a cluster, as it does to the placement service.
///
/// # Errors
/// When the configuration has no such cluster.
pub fn use_http2(config: &mut Value, cluster: &str) -> Result<()> {
    let options = find_cluster(config, "placement")?["typed_extension_protocol_options"].clone();
    find_cluster(config, cluster)?["typed_extension_protocol_options"] = options;
    Ok(())
}

/// Finds a cluster in a configuration.
///
/// # Errors
/// When the configuration has no such cluster.
pub fn find_cluster<'a>(config: &'a mut Value, name: &str) -> Result<&'a mut Value> {
    let clusters = config.pointer_mut("/static_resources/clusters");
    let mut clusters = clusters.and_then(Value::as_array_mut).into_iter().flatten();
    let cluster_config = clusters.find(|cluster| cluster["name"] == name);
    cluster_config.ok_or_else(|| format!("no cluster {name}").into())
}

/// `config.yaml` of a folder with the filter of its `filter.yaml` in place of the discovery. So `envoy --mode validate`
/// checks both together.
///
/// # Errors
/// When the files cannot be read or have another structure.
pub fn render_inline(folder: &Path) -> Result<Value> {
    let resource = render::read_yaml(&folder.join("filter.yaml"))?;
    let filter = resource.pointer("/resources/0/typed_config").cloned();
    let mut config = render::read_yaml(&folder.join("config.yaml"))?;
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let first = config.pointer_mut(&format!("{manager}/http_filters/0"));
    *first.ok_or("config.yaml has no HTTP filter")? =
        json!({"name": "berth", "typed_config": filter.ok_or("filter.yaml has no filter")?});
    Ok(config)
}

impl Envoy {
    /// Writes `config` into `dir`, starts Envoy with it and waits until it is ready. `name` is its `node.id`.
    ///
    /// # Errors
    /// When it does not get ready; the error contains the end of its log.
    pub async fn start(name: &str, config: &Value, concurrency: u32, dir: &Path) -> Result<Self> {
        let path = dir.join(format!("{name}.json"));
        render::write(&path, config)?;
        Self::start_file(name, &path, concurrency, dir).await
    }

    /// Starts Envoy with an unchanged file. Paths in it are relative to the repository's root.
    ///
    /// # Errors
    /// When it does not get ready; the error contains the end of its log.
    pub async fn start_file(name: &str, file: &Path, concurrency: u32, dir: &Path) -> Result<Self> {
        let admin_path = dir.join(format!("{name}.admin"));
        let _ = fs::remove_file(&admin_path);
        let mut command = paths::envoy_command()?;
        command.extend(["-c".into(), file.display().to_string()]);
        command.extend([
            "--admin-address-path".into(),
            admin_path.display().to_string(),
        ]);
        command.extend([
            "--concurrency".into(),
            concurrency.to_string(),
            "--disable-hot-restart".into(),
            "--service-node".into(),
            name.into(),
        ]);
        let mut process = Process::spawn(name, &command, dir)?;
        match await_ready(&mut process, &admin_path).await {
            Ok((http, admin)) => Ok(Self {
                http,
                admin,
                process,
                file: file.to_owned(),
                concurrency,
                dir: dir.to_owned(),
            }),
            Err(error) => Err(format!("{error}\n{}", process.tail()).into()),
        }
    }

    /// Kills it and starts it with the same configuration. Ports that the configuration leaves open may change.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        let name = self.process.name().to_owned();
        *self = Self::start_file(&name, &self.file, self.concurrency, &self.dir).await?;
        Ok(())
    }

    /// The value of a counter or gauge by its full name; `None` when Envoy does not have it.
    ///
    /// # Errors
    /// When the admin interface does not respond.
    pub async fn stat(&self, name: &str) -> Result<Option<u64>> {
        let text = Call::get("/stats").send(self.admin).await?.text();
        let line = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == name);
        Ok(line.and_then(|(_, value)| value.parse().ok()))
    }

    /// Address of the listener with that name.
    ///
    /// # Errors
    /// When there is no such listener.
    pub async fn listener_address(&self, name: &str) -> Result<SocketAddr> {
        let reply = Call::get("/listeners?format=json").send(self.admin).await?;
        let all = reply.json();
        let listeners = all.get("listener_statuses").and_then(Value::as_array);
        let address = listeners
            .into_iter()
            .flatten()
            .find(|listener| listener["name"] == name)
            .and_then(|listener| listener.get("local_address"));
        loopback_address(address.ok_or_else(|| format!("no listener {name} in {all}"))?)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

async fn await_ready(process: &mut Process, admin_path: &Path) -> Result<(SocketAddr, SocketAddr)> {
    let mut admin = None;
    let process = std::cell::RefCell::new(process);
    let live = || {
        let exit_status = process.borrow_mut().exit_status();
        if let Ok(text) = fs::read_to_string(admin_path) {
            admin = text.parse::<SocketAddr>().ok();
        }
        async move {
            if let Some(status) = exit_status {
                return Some(Err(format!("Envoy ended: {status}")));
            }
            let reply = Call::get("/ready").send(admin?).await.ok()?;
            (reply.status == 200).then_some(admin.ok_or_else(String::new))
        }
    };
    let admin = wait::poll_until("Envoy is ready", START_TIMEOUT, live).await??;
    let listeners = Call::get("/listeners?format=json")
        .send(admin)
        .await?
        .json();
    let address = listeners.pointer("/listener_statuses/0/local_address");
    let address = address.ok_or_else(|| format!("no listener in {listeners}"))?;
    Ok((loopback_address(address)?, admin))
}

/// The loopback address with the port of a socket address in Envoy's output.
fn loopback_address(address: &Value) -> Result<SocketAddr> {
    let port = address.pointer("/socket_address/port_value");
    let port = port.and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok());
    Ok(([127, 0, 0, 1], port.ok_or("a listener's port")?).into())
}
