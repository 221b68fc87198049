//! `berth sessions`: lists and ends login sessions in the configured store. Running services learn of an end through
//! the event log.

use super::output::{Listing, OutputArgs};
use super::store_context::StoreContext;
use super::{ConfigFile, Failure, print};
use berth_placement::sessions::SessionView;
use berth_store::{EndCause, SessionQuery};
use clap::{ArgAction, Subcommand};

const COLUMNS: [&str; 9] = [
    "SESSION",
    "ACCOUNT",
    "ROLES",
    "RUNTIME",
    "IDLE S",
    "ABSOLUTE S",
    "PARENT",
    "PROVIDER",
    "NAME",
];

#[derive(Subcommand)]
pub(super) enum SessionsCommand {
    /// List sessions: name, account, roles, runtime, seconds until the idle timeout, seconds until the absolute timeout,
    /// parent session, identity provider, display name.
    Ls {
        /// Only sessions of this account: a local name, or PROVIDER:NAME.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// End one session, or all sessions of an account, with their child sessions.
    // No -h: a session's name may begin with it.
    #[command(disable_help_flag = true)]
    End {
        /// The session's name, as `ls` prints it.
        #[arg(value_name = "SESSION", allow_hyphen_values = true)]
        #[arg(required_unless_present = "account")]
        session: Option<String>,
        /// All sessions of this account: a local name, or PROVIDER:NAME.
        #[arg(long, value_name = "ACCOUNT", conflicts_with = "session")]
        account: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
        /// Print help.
        #[arg(long, action = ArgAction::Help)]
        help: Option<bool>,
    },
}

/// Runs the command.
pub(super) async fn run(command: SessionsCommand) -> Result<(), Failure> {
    match command {
        SessionsCommand::Ls {
            account,
            output,
            config,
        } => {
            let sessions = StoreContext::open(&config).await?.sessions().await?;
            let listed = sessions.list(account.as_deref()).await?;
            let names = listed.sessions.iter().map(|s| s.session_ref.clone());
            output.print(&Listing {
                columns: &COLUMNS,
                rows: listed.sessions.iter().map(session_row).collect(),
                names: names.collect(),
                json: serde_json::to_value(&listed)?,
            })?;
            if listed.more {
                return Err(Failure("there are more; name an account".to_owned()));
            }
            Ok(())
        }
        SessionsCommand::End {
            session,
            account,
            config,
            help: _,
        } => {
            let sessions = StoreContext::open(&config).await?.sessions().await?;
            let by = EndCause::Operator;
            let ended = match (session, account) {
                (Some(session), _) if sessions.end_by_ref(&session, by).await? => 1,
                (Some(session), _) => {
                    return Err(Failure(format!("there is no session {session:?}")));
                }
                (None, account) => {
                    let select = SessionQuery::Account(account.unwrap_or_default());
                    sessions.end_selected(&select, by).await?
                }
            };
            print(&format!("ended {ended}"))
        }
    }
}

fn session_row(session: &SessionView) -> Vec<String> {
    vec![
        session.session_ref.clone(),
        session.account.clone(),
        session.roles.join(","),
        session.runtime.clone(),
        session.idle_remaining_s.to_string(),
        session.absolute_remaining_s.to_string(),
        session.parent_ref.clone().unwrap_or_default(),
        session.provider.clone().unwrap_or_default(),
        session.display_name.clone(),
    ]
}
