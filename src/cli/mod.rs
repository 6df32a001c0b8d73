//! What a person touches: flags, messages, exit codes.

pub mod aiocp;
mod size;

use clap_complete::Shell;

/// The exit codes of the contract.
pub mod exit {
    /// Everything is copied and durable.
    pub const DONE: u8 = 0;
    /// Some file was not copied, or not with all its metadata.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense; nothing was touched. It is also what clap exits with.
    pub const USAGE: u8 = 2;
}

/// The completion script of a command for a shell.
pub fn completions(command: &mut clap::Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    script
}
