//! `berth account`: manages local accounts in the configured store, and locks accounts of OpenID providers. Locking or
//! changing an account ends its sessions, in running services too.

use super::output::{Listing, OutputArgs};
use super::store_context::StoreContext;
use super::{ConfigFile, Failure, print};
use berth_placement::config::Lockout;
use berth_placement::core::account_key::AccountKey;
use berth_placement::login::accounts::{AccountError, Accounts, MAX_PASSWORD_BYTES};
use berth_placement::login::password::Passwords;
use berth_store::{AccountRow, EndCause, SessionQuery, StoreError};
use clap::Subcommand;
use humantime_serde::re::humantime::format_rfc3339_seconds;
use serde::Serialize;
use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

const COLUMNS: [&str; 5] = ["ACCOUNT", "ROLES", "STATE", "FAILURES", "LOCKED UNTIL"];

#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Add an account. An existing account is not changed.
    Add {
        /// The name to log in with.
        name: String,
        /// A role of the account; may be given several times.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from standard input, up to the end of its first line.
        #[arg(long, required = true)]
        password_stdin: bool,
        /// Succeed if the account exists already.
        #[arg(long)]
        if_missing: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lock an account until it is unlocked, and end its sessions.
    Lock {
        /// The account; of an OpenID provider as PROVIDER:NAME, also before its first login.
        #[arg(value_name = "ACCOUNT")]
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Unlock an account that `lock` or failed logins have locked, and reset its count of failed logins.
    Unlock {
        /// The account; of an OpenID provider as PROVIDER:NAME.
        #[arg(value_name = "ACCOUNT")]
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Remove a local account, and end its sessions.
    Rm {
        /// The account.
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Change the password of an account, and end its sessions.
    Passwd {
        /// The account.
        name: String,
        /// Read the password from standard input, up to the end of its first line.
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Replace the roles of an account, and end its sessions if the roles changed.
    Roles {
        /// The account.
        name: String,
        /// A role of the account; may be given several times.
        #[arg(long = "role", value_name = "ROLE", required_unless_present = "none")]
        roles: Vec<String>,
        /// Remove all roles.
        #[arg(long, conflicts_with = "roles")]
        none: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List local accounts and locked accounts of providers: name, roles, state (open, locked or locked-out), consecutive
    /// failed logins, end of the lock-out.
    Ls {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// Runs the command.
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
            let context = StoreContext::open_or_create(&config).await?;
            let (_, accounts) = build_accounts(context)?;
            match accounts.add(&name, &roles, password).await {
                Ok(()) => print(&format!("added {name}")),
                Err(AccountError::Exists(_)) if if_missing => {
                    print(&format!("{name} exists already"))
                }
                Err(error) => Err(error.into()),
            }
        }
        AccountCommand::Lock { name, config } => {
            let context = StoreContext::open_or_create(&config).await?;
            let (context, accounts) = build_accounts(context)?;
            check_provider(&context, &name)?;
            accounts.lock(&name).await?;
            let ended = end_sessions(&context, &name, EndCause::AccountLocked).await?;
            print(&format!("locked {name}; {ended}"))
        }
        AccountCommand::Unlock { name, config } => {
            let (_, accounts) = open_accounts(&config).await?;
            accounts.unlock(&name).await?;
            print(&format!("unlocked {name}"))
        }
        AccountCommand::Rm { name, config } => {
            let (context, accounts) = open_accounts(&config).await?;
            accounts.remove(&name).await?;
            let ended = end_sessions(&context, &name, EndCause::AccountRemoved).await?;
            print(&format!("removed {name}; {ended}"))
        }
        AccountCommand::Passwd {
            name,
            password_stdin: _,
            config,
        } => {
            let password = read_password()?;
            let (context, accounts) = open_accounts(&config).await?;
            accounts.set_password(&name, password).await?;
            let ended = end_sessions(&context, &name, EndCause::PasswordChanged).await?;
            print(&format!("{name} has a new password; {ended}"))
        }
        AccountCommand::Roles {
            name,
            roles,
            none: _,
            config,
        } => {
            let (context, accounts) = open_accounts(&config).await?;
            if !accounts.set_roles(&name, &roles).await? {
                return print(&format!("{name} has these roles already"));
            }
            let ended = end_sessions(&context, &name, EndCause::RolesChanged).await?;
            print(&format!("{name} has new roles; {ended}"))
        }
        AccountCommand::Ls { output, config } => {
            let (context, accounts) = open_accounts(&config).await?;
            let (lockout, now_ms) = (context.config.login.lockout, context.clock.now_ms());
            let accounts = accounts.list().await?;
            let views = accounts
                .iter()
                .map(|a| AccountView::new(a, &lockout, now_ms));
            let views: Vec<AccountView<'_>> = views.collect();
            output.print(&Listing {
                columns: &COLUMNS,
                rows: views.iter().map(AccountView::row).collect(),
                names: accounts.iter().map(|a| a.name.clone()).collect(),
                json: serde_json::to_value(&views)?,
            })
        }
    }
}

async fn open_accounts(config: &ConfigFile) -> Result<(StoreContext, Accounts), Failure> {
    build_accounts(StoreContext::open(config).await?)
}

fn build_accounts(context: StoreContext) -> Result<(StoreContext, Accounts), Failure> {
    let accounts = context.stores.accounts.clone();
    let accounts = accounts.ok_or_else(|| StoreError::Data("keeps no accounts".to_owned()))?;
    let accounts = Accounts::new(accounts, context.clock.clone(), Passwords::new()?);
    Ok((context, accounts))
}

/// A lock on an account of a provider that is not configured would never take effect.
fn check_provider(context: &StoreContext, key: &str) -> Result<(), Failure> {
    let AccountKey::Provider { provider, .. } = AccountKey::parse(key) else {
        return Ok(());
    };
    let mut providers = context.config.oidc.iter().map(|p| p.name.as_str());
    if providers.any(|name| name == provider) {
        return Ok(());
    }
    Err(Failure(format!(
        "{key:?}: the configuration has no OpenID provider {provider:?}"
    )))
}

/// Ends every session of the account. Must run after the change, so that a login in progress sees the change.
async fn end_sessions(
    context: &StoreContext,
    name: &str,
    cause: EndCause,
) -> Result<String, Failure> {
    let select = SessionQuery::Account(name.to_owned());
    let ended = context.sessions().await?.end_selected(&select, cause).await;
    let incomplete = |error| {
        Failure(format!(
            "{name} has been changed, but not all of its sessions have ended: {error}"
        ))
    };
    Ok(match ended.map_err(incomplete)? {
        1 => "1 session ended".to_owned(),
        n => format!("{n} sessions ended"),
    })
}

/// An account as operators see it.
#[derive(Serialize)]
struct AccountView<'a> {
    account: &'a str,
    roles: &'a [String],
    state: &'static str,
    /// Consecutive failed logins.
    failures: u32,
    /// The end of the lock-out.
    locked_until: Option<String>,
}

impl<'a> AccountView<'a> {
    fn new(account: &'a AccountRow, lockout: &Lockout, now_ms: u64) -> Self {
        let until = account.attempts.locked_until_ms;
        let locked_out = lockout.is_locked(account.attempts, now_ms);
        let state = match (account.locked, locked_out) {
            (true, _) => "locked",
            (false, true) => "locked-out",
            (false, false) => "open",
        };
        let until = UNIX_EPOCH + Duration::from_millis(until);
        Self {
            account: &account.name,
            roles: &account.roles,
            state,
            failures: account.attempts.failures,
            locked_until: locked_out.then(|| format_rfc3339_seconds(until).to_string()),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.account.to_owned(),
            self.roles.join(","),
            self.state.to_owned(),
            self.failures.to_string(),
            self.locked_until.clone().unwrap_or_default(),
        ]
    }
}

fn read_password() -> Result<String, Failure> {
    let limit = u64::try_from(MAX_PASSWORD_BYTES)? + 2;
    let mut text = String::new();
    std::io::stdin().take(limit).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    Ok(line.to_owned())
}
