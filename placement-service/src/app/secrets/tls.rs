//! Reads the certificates and keys of the listener and of the connections to engines. Knows no connection.

use crate::config::Config;
use crate::config::fault::Fault;
use crate::core::tls::{PemFault, ServerFiles};
use crate::engines::drivers::transport::EngineTransport;
use crate::http::server;

/// The files of the listener, which can be used together.
pub(super) fn read_server_files(config: &Config, faults: &mut Vec<Fault>) -> Option<ServerFiles> {
    let settings = config.tls.as_ref()?;
    let files = server::read_files(settings).and_then(|files| {
        files.server_config()?;
        Ok(files)
    });
    let clients_field = |PemFault { field, message }: PemFault| {
        let section = if field == "ca" { "tls.clients" } else { "tls" };
        faults.push(Fault::new(format!("{section}.{field}"), message));
    };
    files.map_err(clients_field).ok()
}

/// The transport of each pool.
pub(super) fn read_engine_transports(
    config: &Config,
    faults: &mut Vec<Fault>,
) -> Vec<EngineTransport> {
    let pools = config.pools.iter().enumerate();
    let transports = pools.filter_map(|(index, pool)| {
        let transport = EngineTransport::from_config(pool);
        let fault = |PemFault { field, message }: PemFault| {
            faults.push(Fault::new(format!("pools[{index}].tls.{field}"), message));
        };
        transport.map_err(fault).ok()
    });
    transports.collect()
}
