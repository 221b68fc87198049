//! Starts the parts of a stack in the order of their dependencies: engines, application, service, Envoy.

use super::Builder;
use crate::app::App;
use crate::certificate::Certificate;
use crate::engine::Engine;
use crate::envoy::{self, Envoy, Wiring};
use crate::service::{self, Service};
use crate::stack::Stack;
use crate::{Result, paths, token};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

impl Builder {
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
