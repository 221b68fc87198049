//! The running testbed: engines, the placement service with one pool per driver, Envoy with Berth, and Envoy without.

use crate::{
    client_path::{ClientPath, Target},
    options::Options,
    processes::Cpu,
};
use berth_harness::{
    Call, Result,
    engine::Engine,
    envoy::{self, Envoy, Wiring},
    process::Process,
    render,
    service::{self, Service},
    token::{self, Claims},
    usage::{group_cpu, group_rss, own_cpu},
    wait,
};
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

/// Upper bound for the close of all sockets of a load.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Every process of the benchmark. They end when this is dropped.
pub(crate) struct Testbed {
    engines: Vec<Engine>,
    berth: Option<Berth>,
    bare: Envoy,
    targets: Vec<Arc<Target>>,
    _dir: TempDir,
}

/// The placement service and Envoy with the filter.
struct Berth {
    service: Service,
    envoy: Envoy,
}

impl Testbed {
    /// Starts the processes that the selected paths need.
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let all = berth_harness::paths::target_dir().join("bench");
        fs::create_dir_all(&all)?;
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(all)?;
        let mut engines = Vec::with_capacity(options.engines);
        for index in 0..options.engines {
            engines.push(start_engine(index, dir.path()).await?);
        }
        let (ways, workers) = (options.client_paths(), options.envoy_workers);
        let config = bare_config(&engines)?;
        let bare = Envoy::start("bare-envoy", &config, workers, dir.path()).await?;
        let mut berth = None;
        if ways.iter().any(|way| way.is_berth()) {
            berth = Some(Berth::start(&engines, workers, dir.path()).await?);
        }
        let berth_addr = berth.as_ref().map(|berth| berth.envoy.http);
        let targets = targets(&ways, &engines, berth_addr, bare.http).await?;
        eprintln!("bench: {} engines and the gateways are up", engines.len());
        Ok(Self {
            engines,
            berth,
            bare,
            targets,
            _dir: dir,
        })
    }

    pub(crate) fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    pub(crate) fn target(&self, way: ClientPath) -> Option<Arc<Target>> {
        self.targets
            .iter()
            .find(|target| target.way == way)
            .cloned()
    }

    /// CPU seconds used so far.
    pub(crate) fn cpu(&mut self) -> Cpu {
        let used = |process: Option<&mut Process>| process.map_or(0.0, |it| group_cpu(it.pid()));
        let mut cpu = Cpu {
            envoy: used(Some(self.bare.process())),
            service: 0.0,
            engines: self.engines.iter_mut().map(|it| used(it.process())).sum(),
            client: own_cpu(),
        };
        if let Some(berth) = &mut self.berth {
            cpu.envoy += used(Some(berth.envoy.process()));
            cpu.service = used(berth.service.process());
        }
        cpu
    }

    /// Resident KiB of the gateway on this path: Envoy and, if it takes part, the service.
    pub(crate) fn rss(&mut self, way: ClientPath) -> f64 {
        if way == ClientPath::Bare {
            return group_rss(self.bare.process().pid());
        }
        let Some(berth) = self.berth.as_mut().filter(|_| way.is_berth()) else {
            return 0.0;
        };
        let service = berth
            .service
            .process()
            .map_or(0.0, |it| group_rss(it.pid()));
        service + group_rss(berth.envoy.process().pid())
    }

    /// Waits until the engines have exactly this number of sockets.
    pub(crate) async fn await_sockets(&self, sockets: usize) -> Result<()> {
        wait::poll_until("the engines have their sockets", SETTLE_TIMEOUT, || async {
            let mut open = 0;
            for engine in &self.engines {
                open += engine.stats().await.ok()?.sockets;
            }
            (open == sockets).then_some(())
        })
        .await
    }
}

impl Berth {
    async fn start(engines: &[Engine], workers: u32, dir: &Path) -> Result<Self> {
        let config = service_config(engines, dir)?;
        let service = Service::start(&config, 0, dir).await?;
        let wiring = Wiring {
            http: 0,
            admin: 0,
            service: service.addr.port(),
            // No request uses the application's port.
            app: 9,
            certificate: None,
            module: None,
            all_capabilities: false,
            service_config: None,
        };
        let mut config = envoy::render(&wiring, &json!({}), dir)?;
        log_to_file(&mut config, dir);
        let envoy = Envoy::start("berth-envoy", &config, workers, dir).await?;
        Ok(Self { service, envoy })
    }
}

async fn start_engine(index: usize, dir: &Path) -> Result<Engine> {
    let args = [
        "--jwt-secret",
        token::SECRET,
        "--document",
        "sales.qvf=120",
        // Prepared sessions outlive the run, so they must not fill the engine.
        "--session-kb",
        "0",
    ];
    let args = args.map(str::to_owned);
    Engine::start(&format!("engine-{index}"), 0, 0, &args, dir).await
}

/// The demonstration's configuration, with a second pool on the same engines for the other driver.
fn service_config(engines: &[Engine], dir: &Path) -> Result<Value> {
    let mut config = service::build_config(engines, dir, &json!({}), &json!({}))?;
    let pools = config.get_mut("pools").and_then(Value::as_array_mut);
    let pools = pools.ok_or("demo.yaml has no pools")?;
    let mut generic = pools.first().ok_or("demo.yaml has no pool")?.clone();
    render::merge(
        &mut generic,
        &json!({"name": "generic", "driver": "websocket"}),
    );
    pools.push(generic);
    let routes = json!({"routes": [
        {"path": "/app/ws/{document}", "pool": "generic"},
        {"path": "/app/{document}", "pool": "qix", "open": {"document": "{document}"}},
    ]});
    render::merge(&mut config, &routes);
    // One session opens all sockets faster than the gateways report their ends.
    let unlimited = json!({"placement": {"max_streams_per_session": 0}});
    render::merge(&mut config, &unlimited);
    Ok(config)
}

fn bare_config(engines: &[Engine]) -> Result<Value> {
    let file = berth_harness::paths::repository_root().join("tests/bench/envoy.yaml");
    let mut config = render::read_yaml(&file)?;
    let endpoint = |engine: &Engine| {
        let (address, port) = (engine.api.ip(), engine.api.port());
        let address = json!({"socket_address": {"address": address, "port_value": port}});
        json!({"endpoint": {"address": address}})
    };
    let endpoints: Vec<Value> = engines.iter().map(endpoint).collect();
    let pointer = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints";
    *config
        .pointer_mut(pointer)
        .ok_or("bench/envoy.yaml has no endpoints")? = endpoints.into();
    Ok(config)
}

/// Writes the access log to a file: its cost is measured, and the output stays readable.
fn log_to_file(config: &mut Value, dir: &Path) {
    match config {
        Value::Object(fields) => {
            let kind = fields
                .get("@type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if kind.ends_with(".StdoutAccessLog") {
                let kind =
                    "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
                fields.insert("@type".to_owned(), kind.into());
                let path = dir.join("access.log").display().to_string();
                fields.insert("path".to_owned(), path.into());
            }
            fields
                .values_mut()
                .for_each(|field| log_to_file(field, dir));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| log_to_file(item, dir)),
        _ => {}
    }
}

async fn targets(
    ways: &[ClientPath],
    engines: &[Engine],
    berth: Option<SocketAddr>,
    bare: SocketAddr,
) -> Result<Vec<Arc<Target>>> {
    let claims = Claims {
        // Far in the future, and still exact as a JSON number.
        exp: 1 << 48,
        ..Claims::for_account("demo")
    };
    let token = format!("authorization: Bearer {}", claims.sign()?);
    let mut cookie = String::new();
    if let Some(berth) = berth {
        cookie = format!("cookie: {}", login(berth).await?);
    }
    let target = |way| match way {
        ClientPath::Direct => {
            let addresses = engines.iter().map(|engine| engine.api).collect();
            Target::new(way, addresses, &token)
        }
        ClientPath::Bare => Target::new(way, vec![bare], &token),
        ClientPath::Websocket | ClientPath::Qix => Target::new(way, Vec::from_iter(berth), &cookie),
    };
    Ok(ways.iter().copied().map(target).map(Arc::new).collect())
}

async fn login(envoy: SocketAddr) -> Result<String> {
    let form = [("username", "demo"), ("password", "demo-password")];
    let call = Call::post_form("/login", &form).header("origin", &format!("http://{envoy}"));
    let reply = call.send(envoy).await?;
    let cookie = reply.set_cookie("berth");
    cookie.ok_or_else(|| format!("login: {} {}", reply.status, reply.text()).into())
}
