//! Builds a stack: its parts, its differences from the demonstration, and the order of the start.

use super::Stack;
use crate::app::App;
use crate::certificate::Certificate;
use crate::engine::Engine;
use crate::envoy::{self, Envoy, Wiring};
use crate::render::{Replacements, merge};
use crate::service::{self, Service};
use crate::{FakeService, Result, paths, token};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The ports of a stack. 0, the default, selects a free port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Envoy's listener.
    pub http: u16,
    /// Envoy's admin interface.
    pub admin: u16,
    /// The placement service.
    pub service: u16,
    /// The application.
    pub app: u16,
    /// The first engine's API port; the others follow it.
    pub engine: u16,
    /// The first engine's metrics port; the others follow it.
    pub engine_metrics: u16,
}

/// Describes the parts of a stack.
pub struct Builder {
    engines: usize,
    engine_args: Vec<String>,
    services: usize,
    pool_patch: Value,
    service_patch: Value,
    filter_patch: Value,
    envoy_texts: Replacements,
    concurrency: u32,
    envoys: usize,
    tls: bool,
    app_http2: bool,
    module: Option<PathBuf>,
    fake_service: Option<FakeService>,
    ports: Ports,
    dir: Option<PathBuf>,
    repository_config: bool,
    minimal: bool,
    all_capabilities: bool,
    envoy_edit: Option<EnvoyEdit>,
    progress: fn(&str),
}

/// A change of Envoy's configuration. The second argument is the folder of the run.
type EnvoyEdit = Box<dyn Fn(&mut Value, &Path) -> Result<()>>;

impl Default for Builder {
    fn default() -> Self {
        Self {
            engines: 3,
            engine_args: vec![],
            services: 1,
            pool_patch: json!({}),
            // All clients of a test have one address, so the rate limit of logins must not apply.
            service_patch: json!({"login": {"rate": {"per_minute": 60_000, "burst": 60_000}}}),
            filter_patch: json!({}),
            envoy_texts: Replacements::default(),
            concurrency: 1,
            envoys: 1,
            tls: false,
            app_http2: false,
            module: None,
            fake_service: None,
            ports: Ports::default(),
            dir: None,
            repository_config: false,
            minimal: false,
            all_capabilities: false,
            envoy_edit: None,
            progress: |_| {},
        }
    }
}

impl Builder {
    /// Sets the number of engine simulators.
    #[must_use]
    pub const fn engines(mut self, count: usize) -> Self {
        self.engines = count;
        self
    }

    /// Adds arguments for every simulator.
    #[must_use]
    pub fn engine_args(mut self, args: &[&str]) -> Self {
        self.engine_args
            .extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Sets the number of replicas of the placement service. They share one store.
    #[must_use]
    pub const fn services(mut self, count: usize) -> Self {
        self.services = count;
        self
    }

    /// Applies a JSON merge patch to the service's configuration.
    #[must_use]
    pub fn service_config(mut self, patch: &Value) -> Self {
        merge(&mut self.service_patch, patch);
        self
    }

    /// Applies a JSON merge patch to the pool in the service's configuration.
    #[must_use]
    pub fn pool(mut self, patch: &Value) -> Self {
        merge(&mut self.pool_patch, patch);
        self
    }

    /// Applies a JSON merge patch to the filter's configuration.
    #[must_use]
    pub fn filter_config(mut self, patch: &Value) -> Self {
        merge(&mut self.filter_patch, patch);
        self
    }

    /// Replaces every text of Envoy's configuration that equals `from`, such as a duration, by `to`.
    #[must_use]
    pub fn envoy_text(mut self, from: &str, to: &str) -> Self {
        self.envoy_texts = self.envoy_texts.text(from, Path::new(to));
        self
    }

    /// Sets the number of Envoy's worker threads.
    #[must_use]
    pub const fn envoy_concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Sets the number of Envoys. All have the same configuration.
    #[must_use]
    pub const fn envoys(mut self, count: usize) -> Self {
        self.envoys = count;
        self
    }

    /// Makes Envoy's listener speak TLS. The login cookie becomes `__Host-berth`.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        merge(
            &mut self.service_patch,
            &json!({"session": {"cookie": {"secure": true}}}),
        );
        self
    }

    /// Makes Envoy speak HTTP/2 to the application.
    #[must_use]
    pub const fn app_http2(mut self) -> Self {
        self.app_http2 = true;
        self
    }

    /// Uses another file of the filter.
    #[must_use]
    pub fn module(mut self, module: PathBuf) -> Self {
        self.module = Some(module);
        self
    }

    /// Uses a fake service in place of the placement service.
    #[must_use]
    pub fn fake_service(mut self, stand_in: FakeService) -> Self {
        self.fake_service = Some(stand_in);
        self
    }

    /// Uses these ports.
    #[must_use]
    pub const fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    /// Uses this folder for logs, configurations and the store. It is not removed.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Uses `envoy/config.yaml` unchanged on its own ports, and the default rate limit of logins; for `make run`.
    #[must_use]
    pub fn repository_config(mut self) -> Self {
        self.repository_config = true;
        merge(&mut self.service_patch, &json!({"login": null}));
        self
    }

    /// Uses `envoy/minimal.yaml`, which contains the filter's configuration: patches of that have no effect.
    #[must_use]
    pub const fn minimal(mut self) -> Self {
        self.minimal = true;
        self
    }

    /// Removes the filter's list of capabilities, as in installations that cannot have one.
    #[must_use]
    pub const fn all_capabilities(mut self) -> Self {
        self.all_capabilities = true;
        self
    }

    /// Changes Envoy's configuration after all other changes. The second argument is the folder of the run.
    #[must_use]
    pub fn edit_envoy(mut self, edit: impl Fn(&mut Value, &Path) -> Result<()> + 'static) -> Self {
        self.envoy_edit = Some(Box::new(edit));
        self
    }

    /// Calls this with a line for each part that is ready.
    #[must_use]
    pub const fn progress(mut self, progress: fn(&str)) -> Self {
        self.progress = progress;
        self
    }

    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// When a part does not get ready; the error contains the end of its log.
    pub async fn start(self) -> Result<Stack> {
        let (dir, temporary) = self.run_dir()?;
        let mut engines = Vec::with_capacity(self.engines);
        for index in 0..self.engines {
            engines.push(self.start_engine(index, &dir).await?);
        }
        let app = App::start(self.ports.app).await?;
        let mut service = None;
        let mut replicas = vec![];
        let service_config =
            service::build_config(&engines, &dir, &self.pool_patch, &self.service_patch)?;
        let service_addr = match &self.fake_service {
            Some(stand_in) => stand_in.addr,
            None => {
                let started = Service::start(&service_config, self.ports.service, &dir).await?;
                (self.progress)(&format!("placement service on {}", started.addr));
                for number in 1..self.services {
                    replicas.push(started.start_replica(number).await?);
                }
                service.insert(started).addr
            }
        };
        let certificate = self.tls.then(|| Certificate::make(&dir)).transpose()?;
        let wiring = Wiring {
            http: self.ports.http,
            admin: self.ports.admin,
            service: service_addr.port(),
            app: app.addr.port(),
            certificate: certificate.clone(),
            module: self.module.clone(),
            all_capabilities: self.all_capabilities,
            service_config: Some(service_config),
        };
        let mut further_envoys = vec![];
        let envoy = if self.repository_config {
            let file = Path::new("envoy/config.yaml");
            Envoy::start_file("envoy", file, self.concurrency, &dir).await?
        } else {
            let mut config = if self.minimal {
                envoy::render_minimal(&wiring)?
            } else {
                envoy::render(&wiring, &self.filter_patch, &dir)?
            };
            if self.app_http2 {
                envoy::use_http2(&mut config, "app")?;
            }
            self.envoy_texts.apply(&mut config);
            for replica in &replicas {
                for cluster in ["placement", "pages"] {
                    envoy::add_endpoint(&mut config, cluster, replica.addr)?;
                }
            }
            if let Some(edit) = &self.envoy_edit {
                edit(&mut config, &dir)?;
            }
            for number in 1..self.envoys {
                let name = format!("envoy-{number}");
                further_envoys.push(Envoy::start(&name, &config, self.concurrency, &dir).await?);
            }
            Envoy::start("envoy", &config, self.concurrency, &dir).await?
        };
        (self.progress)(&format!(
            "Envoy on {}, admin on {}",
            envoy.http, envoy.admin
        ));
        Ok(Stack {
            engines,
            app,
            service,
            replicas,
            fake_service: self.fake_service,
            envoy,
            further_envoys,
            certificate,
            dir,
            temporary,
        })
    }

    async fn start_engine(&self, index: usize, dir: &Path) -> Result<Engine> {
        let nth = u16::try_from(index)?;
        let at = |first: u16| {
            if first == 0 {
                0
            } else {
                first.saturating_add(nth)
            }
        };
        let mut args = vec!["--jwt-secret".to_owned(), token::SECRET.to_owned()];
        for document in ["sales.qvf=120", "drugcases.qvf=300"] {
            args.extend(["--document".to_owned(), document.to_owned()]);
        }
        args.extend(self.engine_args.iter().cloned());
        let name = format!("engine-{index}");
        let engine = Engine::start(
            &name,
            at(self.ports.engine),
            at(self.ports.engine_metrics),
            &args,
            dir,
        )
        .await?;
        (self.progress)(&format!(
            "{name} on {}, metrics on {}",
            engine.api, engine.metrics
        ));
        Ok(engine)
    }

    fn run_dir(&self) -> Result<(PathBuf, Option<TempDir>)> {
        if let Some(dir) = &self.dir {
            fs::create_dir_all(dir)?;
            return Ok((dir.clone(), None));
        }
        let all = paths::target_dir().join("run");
        fs::create_dir_all(&all)?;
        let dir = tempfile::Builder::new().prefix("stack-").tempdir_in(all)?;
        Ok((dir.path().to_owned(), Some(dir)))
    }
}
