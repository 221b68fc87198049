//! The command line of `berth`: what it understands, and which file does it.

mod account;
mod check;
mod engines;
mod explain;
mod opened;
mod serve;
mod service;
mod sessions;

use crate::cli::account::AccountCommand;
use crate::cli::engines::EnginesCommand;
use crate::cli::explain::Explain;
use crate::cli::sessions::SessionsCommand;
use berth_placement::config::fault::Faults;
use berth_placement::config::load::{self, Loaded};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Berth's placement service: keeps the login sessions, knows the engines, and places every WebSocket
/// on the right one.
#[derive(Parser)]
#[command(name = "berth", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// Listen here instead of where the configuration says; port 0 takes any free port.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
    /// Tell every fault of a configuration file at once.
    Check {
        /// The YAML file.
        file: PathBuf,
        /// Do not fetch the secrets that the file points at.
        #[arg(long)]
        without_secrets: bool,
    },
    /// Local accounts.
    Account {
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Who is logged in.
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },
    /// The engines, as the running service sees them.
    Engines {
        #[command(subcommand)]
        command: EnginesCommand,
    },
    /// Which engine a session would get now, and why.
    Explain(Explain),
    /// Print every setting with its default, commented.
    Defaults,
}

/// Where the configuration is.
#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// The YAML file; without one, the built-in defaults (see `berth defaults`).
    #[arg(long, env = "BERTH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// What a fault in it is told of.
    fn named(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new("defaults"))
    }

    fn load(&self) -> Result<Loaded, Failure> {
        match &self.config {
            Some(file) => load::from_file(file).map_err(|faults| Failure::faults(file, &faults)),
            None => load::from_text("").map_err(|f| Failure::faults(Path::new("defaults"), &f)),
        }
    }
}

/// Why a command failed, in words for the one who typed it.
pub(crate) struct Failure(String);

impl Failure {
    /// One line per fault, each with the file's name before it.
    fn faults(file: &Path, faults: &Faults) -> Self {
        let lines = faults.0.iter().map(|f| format!("{}: {f}", file.display()));
        Self(lines.collect::<Vec<_>>().join("\n"))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Cli {
    /// Does what the command line says.
    pub(crate) async fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve { config, listen } => serve::run(&config, listen).await,
            Command::Check {
                file,
                without_secrets,
            } => check::run(&file, without_secrets),
            Command::Account { command } => account::run(command).await,
            Command::Sessions { command } => sessions::run(command).await,
            Command::Engines { command } => engines::run(command).await,
            Command::Explain(command) => explain::run(command).await,
            Command::Defaults => print(load::DEFAULT.trim_end()),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure(message)) => {
                // Nobody is left to tell when standard error is gone.
                let _ = writeln!(std::io::stderr(), "{message}");
                ExitCode::FAILURE
            }
        }
    }
}

/// One line, or several, on standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
