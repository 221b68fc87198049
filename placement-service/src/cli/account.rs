//! `berth account`: local accounts in the configured store.

use super::{ConfigFile, Failure, print};
use berth_placement::accounts::{Accounts, AddError, MAX_PASSWORD_BYTES};
use berth_placement::clock::SystemClock;
use berth_placement::store::{self, StoreError};
use clap::Subcommand;
use std::io::Read;
use std::sync::Arc;

#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Add an account. One that exists stays as it is.
    Add {
        /// The name to log in with.
        name: String,
        /// A role of the account; may be given several times.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from standard input, up to the end of its first line.
        #[arg(long, required = true)]
        password_stdin: bool,
        /// It is fine when the account exists already.
        #[arg(long)]
        if_missing: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the accounts: name, tab, roles.
    Ls {
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Does what the command line says.
pub(super) async fn run(command: AccountCommand) -> Result<(), Failure> {
    match command {
        AccountCommand::Add {
            name,
            roles,
            password_stdin: _,
            if_missing,
            config,
        } => {
            let password = read_password()?;
            match accounts(&config).await?.add(&name, &roles, password).await {
                Ok(()) => print(&format!("added {name}")),
                Err(AddError::Exists(_)) if if_missing => print(&format!("{name} exists already")),
                Err(error) => Err(error.into()),
            }
        }
        AccountCommand::Ls { config } => {
            for account in accounts(&config).await?.list().await? {
                print(&format!("{}\t{}", account.name, account.roles.join(",")))?;
            }
            Ok(())
        }
    }
}

async fn accounts(config: &ConfigFile) -> Result<Accounts, Failure> {
    let config = config.load()?.config;
    let stores = store::open(&config.store).await?;
    let accounts = stores
        .accounts
        .ok_or_else(|| StoreError("keeps no accounts".to_owned()))?;
    Ok(Accounts::new(accounts, Arc::new(SystemClock))?)
}

fn read_password() -> Result<String, Failure> {
    let limit = u64::try_from(MAX_PASSWORD_BYTES)? + 2;
    let mut text = String::new();
    std::io::stdin().take(limit).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    Ok(line.to_owned())
}
