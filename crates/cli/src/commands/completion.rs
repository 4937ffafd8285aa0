//! `driftless completion`: what makes a shell complete our commands.

use anyhow::{Context as _, Result};
use clap_complete::env::Shells;

use crate::{complete, failure::Outcome, output};

/// Print what makes a shell complete commands, flags and live names
///
/// For bash, add `source <(driftless completion bash)` to ~/.bashrc; for zsh the same with zsh to ~/.zshrc; for fish,
/// `driftless completion fish | source` to ~/.config/fish/config.fish. Names of channels, clusters, components and
/// snapshots come from the server of the current context, if it answers within a second.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

pub(crate) fn run(args: Args) -> Result<Outcome> {
    let name = match args.shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).context("every shell named above is built in")?;
    // Called by its path, this program may be another than the one that the shell would find.
    let by_path = std::env::args_os()
        .next()
        .is_some_and(|name| name.to_string_lossy().contains('/'));
    let program = if by_path {
        std::env::current_exe()?
    } else {
        "driftless".into()
    };
    let mut script = Vec::new();
    shell.write_registration(
        complete::VARIABLE,
        "driftless",
        "driftless",
        &program.to_string_lossy(),
        &mut script,
    )?;
    output::write(&String::from_utf8(script)?)?;
    Ok(Outcome::Success)
}
