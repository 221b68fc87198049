//! `berth completions`: prints the script with which a shell completes the commands and options of `berth`.

use super::{Cli, Failure, print};
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the script of the shell.
pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    // Into memory first, because the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "berth", &mut script);
    print(String::from_utf8(script)?.trim_end())
}
