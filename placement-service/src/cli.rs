//! The command line of `berth`: parses the arguments and calls the command. Each command has a file of its own.

mod account;
mod affinities;
mod check;
mod completions;
mod drain_wait;
mod engines;
mod explain;
mod gateways;
mod health;
mod output;
mod reload;
mod render;
mod serve;
mod service_client;
mod sessions;
mod store_context;
mod streams;

use crate::cli::account::AccountCommand;
use crate::cli::affinities::AffinitiesCommand;
use crate::cli::engines::EnginesCommand;
use crate::cli::explain::ExplainArgs;
use crate::cli::gateways::GatewaysCommand;
use crate::cli::health::HealthArgs;
use crate::cli::reload::{ConfigCommand, ReloadArgs};
use crate::cli::render::RenderArgs;
use crate::cli::sessions::SessionsCommand;
use crate::cli::streams::StreamsCommand;
use berth_placement::config::fault::Faults;
use berth_placement::config::load::{self, LoadedConfig};
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const NO_FILE: &str = "no configuration file: name one with --config FILE or BERTH_CONFIG";
const EXIT_CODES: &str =
    "Exit codes: 0 success, 1 failure or a negative answer, 2 wrong command line.";

/// Berth's placement service: keeps login sessions, tracks engines, and places each WebSocket on an
/// engine.
#[derive(Parser)]
#[command(name = "berth", version, max_term_width = 100, after_help = EXIT_CODES)]
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
        /// Listen on this address instead of the configured one; port 0 takes any free port.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
    /// Check a configuration file and report all faults at once.
    Check {
        /// The YAML file.
        file: PathBuf,
        /// Do not read the secrets that the file refers to.
        #[arg(long)]
        without_secrets: bool,
        /// Also review these files of Envoy, the filter or Istio, which are kept by hand, against it.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        edge: Vec<PathBuf>,
    },
    /// Manage local accounts.
    Account {
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// List and end login sessions.
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },
    /// List and release the keys of the running service that have an engine.
    Affinities {
        #[command(subcommand)]
        command: AffinitiesCommand,
    },
    /// List, drain and undrain the engines of the running service.
    Engines {
        #[command(subcommand)]
        command: EnginesCommand,
    },
    /// List the Envoys that report to the running service, and drain one before it stops.
    Gateways {
        #[command(subcommand)]
        command: GatewaysCommand,
    },
    /// List the open WebSockets of the running service's gateways, and close one.
    Streams {
        #[command(subcommand)]
        command: StreamsCommand,
    },
    /// Explain which engine a session would get now.
    Explain(ExplainArgs),
    /// Ask the running service whether it is ready; fails if it is not. For health checks of containers.
    Health(HealthArgs),
    /// Have the running service read its configuration file again, without dropping a request or a socket.
    Reload(ReloadArgs),
    /// Print the configuration of the running service.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Write the files of the edge, Envoy and the filter, from the configuration.
    Render(RenderArgs),
    /// Print all settings with their defaults and comments.
    Defaults,
    /// Print the script with which a shell completes this command.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The option `--config`, which commands share.
#[derive(clap::Args)]
pub(crate) struct ConfigFile {
    /// The YAML file; without it, the built-in defaults apply (see `berth defaults`).
    #[arg(long, env = "BERTH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file, if one is named.
    fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The name of the configuration in messages.
    fn display_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new("defaults"))
    }

    /// The text of the file; empty without one.
    fn read(&self) -> Result<String, Failure> {
        let Some(file) = &self.config else {
            return Ok(String::new());
        };
        let text = std::fs::read_to_string(file);
        text.map_err(|error| Failure(format!("{}: cannot read the file: {error}", file.display())))
    }

    fn load(&self) -> Result<LoadedConfig, Failure> {
        let loaded = match &self.config {
            Some(file) => load::from_file(file),
            None => load::from_text(""),
        };
        loaded.map_err(|faults| self.failure(&faults))
    }

    /// The faults of the configuration. Without a file, it says so.
    fn failure(&self, faults: &Faults) -> Failure {
        let Failure(mut message) = Failure::from_faults(self.display_path(), faults);
        if self.config.is_none() {
            message += "\n";
            message += NO_FILE;
        }
        Failure(message)
    }

    /// Refuses to work on the store of the built-in defaults, a file in the current folder: nobody means it, and it would
    /// be created.
    fn require_file(&self) -> Result<(), Failure> {
        match self.config {
            Some(_) => Ok(()),
            None => Err(Failure(NO_FILE.to_owned())),
        }
    }
}

/// Why a command failed: the message for standard error.
pub(crate) struct Failure(String);

impl Failure {
    /// One line per fault, each prefixed with the file's name.
    fn from_faults(file: &Path, faults: &Faults) -> Self {
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
    /// Runs the command, and prints its failure to standard error.
    pub(crate) async fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Serve { config, listen } => serve::run(&config, listen).await,
            Command::Check {
                file,
                without_secrets,
                edge,
            } => check::run(&file, without_secrets, &edge),
            Command::Account { command } => account::run(command).await,
            Command::Sessions { command } => sessions::run(command).await,
            Command::Affinities { command } => affinities::run(command).await,
            Command::Engines { command } => engines::run(command).await,
            Command::Gateways { command } => gateways::run(command).await,
            Command::Streams { command } => streams::run(command).await,
            Command::Explain(command) => explain::run(command).await,
            Command::Health(args) => health::run(args).await,
            Command::Reload(args) => reload::reload(args).await,
            Command::Config { command } => reload::config(command).await,
            Command::Render(args) => render::run(&args),
            Command::Defaults => print(load::DEFAULT.trim_end()),
            Command::Completions { shell } => completions::run(shell),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure(message)) => {
                print_progress(&message);
                ExitCode::FAILURE
            }
        }
    }
}

/// Prints a text and a line break to standard output. A reader that has closed the pipe, such as `head`, has read what it
/// needs: the command goes on to its end.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Prints a line to standard error. If it is closed, there is nowhere left to report to.
fn print_progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
