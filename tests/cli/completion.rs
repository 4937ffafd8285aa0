//! Completion in a real bash, with names from a real server; and paging on a real terminal.

use std::process::Command;

use anyhow::{Result, ensure};
use driftless_tests::{process::Program, terminal};

use crate::desk::{Desk, greeting};

/// What bash offers for the last of these words.
async fn offered(desk: &Desk, words: &[&str]) -> Result<Vec<String>> {
    let driftless = desk.home.command(Program::Driftless)?;
    let mut bash = Command::new("bash");
    bash.current_dir(desk.home.path())
        .envs(driftless.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("DRIFTLESS", driftless.get_program())
        .args(["--norc", "-c", SCRIPT, "driftless"])
        .args(words);
    let output = tokio::process::Command::from(bash).output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && stderr.is_empty(),
        "{}: {stderr}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Calls the function that bash would call at the key, with the words given.
const SCRIPT: &str = r#"
source <("$DRIFTLESS" completion bash)
function=$(complete -p driftless | sed 's/.*-F \([^ ]*\) .*/\1/')
COMP_WORDS=(driftless "$@")
COMP_CWORD=$#
COMP_TYPE=9
"$function" driftless "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[tokio::test]
async fn bash_completes_commands_and_live_names() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.succeeds(&["channel", "create", "staging"]).await?;
    let snapshot = desk.pushes("shop", &greeting("a")).await?;
    desk.succeeds(&["cluster", "enroll", "edge-1", "--channel", "prod"])
        .await?;

    assert_eq!(offered(&desk, &["chan"]).await?, ["channel"]);
    assert_eq!(offered(&desk, &["log", ""]).await?[..2], ["prod", "staging"]);
    assert_eq!(offered(&desk, &["log", "st"]).await?, ["staging"]);
    assert_eq!(offered(&desk, &["view", "e"]).await?, ["edge-1"]);
    assert_eq!(offered(&desk, &["push", "--component", "s"]).await?, ["shop"]);
    assert_eq!(offered(&desk, &["push", "--channel", "p"]).await?, ["prod"]);
    assert_eq!(offered(&desk, &["show", &snapshot[..5]]).await?, [&snapshot[..12]]);
    let context = desk.url.trim_start_matches("https://");
    assert_eq!(offered(&desk, &["context", "use", "127"]).await?, [context]);
    assert_eq!(offered(&desk, &["clusters", "-o", "y"]).await?, ["yaml"]);

    desk.server.kill();
    assert_eq!(
        offered(&desk, &["view", "e"]).await?,
        [""],
        "a server that is away is no noise"
    );
    Ok(())
}

#[tokio::test]
async fn every_shell_gets_a_script() -> Result<()> {
    let desk = Desk::new().await?;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = desk.succeeds(&["completion", shell]).await?;
        assert!(script.contains("DRIFTLESS_COMPLETE"), "{shell}: {script}");
    }
    Ok(())
}

/// What a terminal of ten lines shows of a log that is longer.
async fn log_on_a_terminal(desk: &Desk, environment: &[(&str, &str)], flags: &[&str]) -> Result<String> {
    let mut command = desk.home.command(Program::Driftless)?;
    command
        .args(["log", "prod"])
        .args(flags)
        .env_remove("PAGER")
        .envs(environment.iter().copied());
    let shown = terminal::show(command, 100, 10).await?;
    ensure!(shown.status.success(), "{}: {}", shown.status, shown.screen);
    Ok(shown.screen)
}

#[tokio::test]
async fn long_output_goes_through_the_pager_on_a_terminal_only() -> Result<()> {
    let desk = Desk::ready().await?;
    for text in ["a", "b"] {
        desk.pushes("shop", &greeting(text)).await?;
    }
    let mark = ("DRIFTLESS_PAGER", "sed s/^/paged:/");
    let plain = log_on_a_terminal(&desk, &[("DRIFTLESS_PAGER", "cat")], &[]).await?;
    assert!(plain.contains("snapshot") && plain.lines().count() > 10, "{plain}");

    let paged = log_on_a_terminal(&desk, &[mark, ("PAGER", "false")], &[]).await?;
    assert!(paged.lines().all(|line| line.starts_with("paged:")), "{paged}");
    assert!(paged.contains('\x1b'), "colours pass through a pager: {paged}");
    let general = log_on_a_terminal(&desk, &[("PAGER", "sed s/^/paged:/")], &[]).await?;
    assert!(general.lines().all(|line| line.starts_with("paged:")), "{general}");
    assert_eq!(
        log_on_a_terminal(&desk, &[("DRIFTLESS_PAGER", "head -n 1")], &[])
            .await?
            .lines()
            .count(),
        1
    );

    let without = [
        log_on_a_terminal(&desk, &[mark], &["--no-pager"]).await?,
        log_on_a_terminal(&desk, &[("DRIFTLESS_PAGER", "no-such-pager")], &[]).await?,
    ];
    for shown in without {
        assert!(
            !shown.contains("paged:") && shown.lines().count() == plain.lines().count(),
            "{shown}"
        );
    }
    assert!(
        !log_on_a_terminal(&desk, &[mark], &["-n", "1", "--oneline"])
            .await?
            .contains("paged:"),
        "it fits"
    );
    let colourless = log_on_a_terminal(&desk, &[mark], &["--color", "never"]).await?;
    assert!(!colourless.contains('\x1b'), "{colourless}");
    assert!(!desk.succeeds(&["log", "prod"]).await?.contains('\x1b'));
    assert!(
        desk.succeeds(&["log", "prod", "--color", "always"])
            .await?
            .contains('\x1b')
    );
    Ok(())
}
