//! `berth sessions`: lists and ends login sessions in the configured store. Running services learn of an end through
//! the event log.

use super::store_context::StoreContext;
use super::{ConfigFile, Failure, print};
use berth_placement::sessions::{SessionList, SessionView};
use berth_store::{EndCause, SessionQuery};
use clap::{ArgAction, Subcommand};

#[derive(Subcommand)]
pub(super) enum SessionsCommand {
    /// List sessions, one per line, separated by tabs: name, account, roles, runtime, seconds until the
    /// idle timeout, seconds until the absolute timeout, parent session, identity provider, display name.
    Ls {
        /// Only sessions of this account: a local name, or PROVIDER:NAME.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Print JSON, with times as Unix seconds.
        #[arg(long)]
        json: bool,
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
            json,
            config,
        } => {
            let sessions = StoreContext::new(&config).await?.sessions().await?;
            let listed = sessions.list(account.as_deref()).await?;
            if json {
                return print(&serde_json::to_string_pretty(&listed)?);
            }
            let SessionList { sessions, more } = listed;
            for session in &sessions {
                print(&session_line(session))?;
            }
            if more {
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
            let sessions = StoreContext::new(&config).await?.sessions().await?;
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

fn session_line(session: &SessionView) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        session.session_ref.clone(),
        session.account.clone(),
        session.roles.join(","),
        session.runtime.clone(),
        session.idle_remaining_s.to_string(),
        session.absolute_remaining_s.to_string(),
        or_none(&session.parent_ref),
        or_none(&session.provider),
        session.display_name.clone(),
    ]
    .join("\t")
}
