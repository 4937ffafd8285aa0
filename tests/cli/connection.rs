//! Ways not to reach a server, or not to be let in. Each says what is wrong, and most what to do.

use anyhow::Result;
use driftless_tests::{identity::Authority, plane::free_port, process::Home};

use crate::desk::Desk;

#[tokio::test]
async fn nobody_logged_in_is_told_how() -> Result<()> {
    let home = Home::new()?;
    let stderr = home.driftless(&["log", "prod"]).await?.expect_failure()?;
    assert!(
        stderr.starts_with("error: no server was named, and no context is current\nhint: log in with"),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test]
async fn server_that_is_not_there_is_told_from_a_mistyped_address() -> Result<()> {
    let home = Home::new()?;
    let ask = async |server: &str| {
        home.driftless(&["--server", server, "channel", "list"])
            .await?
            .expect_failure()
    };
    let url = format!("https://127.0.0.1:{}", free_port()?);
    let stderr = ask(&url).await?;
    assert!(
        stderr.starts_with(&format!(
            "error: cannot reach {url}: connection refused\nhint: is the server running"
        )),
        "{stderr}"
    );
    assert!(
        ask("127.0.0.1:7443")
            .await?
            .contains("has no scheme\nhint: write it as https://HOST:PORT")
    );
    assert!(ask("http://127.0.0.1:7443").await?.contains("must begin with https://"));
    Ok(())
}

#[tokio::test]
async fn certificate_of_a_foreign_ca_is_not_trusted() -> Result<()> {
    let desk = Desk::new().await?;
    desk.write("other.crt", Authority::new()?.certificate())?;
    let login = [
        "login",
        &desk.url,
        "--ca",
        "other.crt",
        "--token-file",
        "data/admin.token",
    ];
    let stderr = desk.fails(1, &login).await?;
    assert!(
        stderr.contains("its certificate is not signed by the CA given\nhint: is the CA given by --ca"),
        "{stderr}"
    );
    let stderr = desk
        .fails(1, &["login", &desk.url, "--token-file", "data/admin.token"])
        .await?;
    assert!(
        stderr.contains("not signed by a CA that this machine trusts"),
        "{stderr}"
    );
    assert!(
        desk.fails(1, &["context", "use", "any"])
            .await?
            .contains("there is no context `any`")
    );
    Ok(())
}

#[tokio::test]
async fn wrong_token_is_refused_and_not_remembered() -> Result<()> {
    let desk = Desk::new().await?;
    desk.write("wrong.token", "dla_0000000000000000000000000000000000000000000\n")?;
    let login = ["login", &desk.url, "--ca", "data/ca.crt", "--token-file", "wrong.token"];
    let stderr = desk.fails(1, &login).await?;
    assert!(
        stderr.starts_with("error: this token is not valid at this server"),
        "{stderr}"
    );
    assert!(!stderr.contains("dla_"), "{stderr}");
    assert!(!desk.home.path().join(".config/driftless/config.yaml").exists());
    desk.write("empty.token", "\n")?;
    let login = ["login", &desk.url, "--ca", "data/ca.crt", "--token-file", "empty.token"];
    assert!(
        desk.fails(1, &login)
            .await?
            .contains("the token file empty.token is empty")
    );
    Ok(())
}

#[tokio::test]
async fn ca_that_cannot_be_read_or_is_none_is_named() -> Result<()> {
    let desk = Desk::new().await?;
    let with = async |ca: &str| {
        desk.fails(1, &["login", &desk.url, "--ca", ca, "--token-file", "data/admin.token"])
            .await
    };
    assert!(
        with("absent.crt")
            .await?
            .starts_with("error: cannot read the CA file absent.crt: ")
    );
    assert!(with("data/admin.token").await?.contains("the CA holds no certificate"));
    Ok(())
}

#[tokio::test]
async fn port_that_is_taken_is_told_before_anything_is_promised() -> Result<()> {
    let desk = Desk::new().await?;
    let address = desk.url.trim_start_matches("https://");
    let stderr = desk
        .fails(1, &["server", "--data", "second", "--listen", address])
        .await?;
    assert!(
        stderr.contains("error: cannot start the server") && stderr.contains(address),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test]
async fn verify_of_what_is_no_bucket_makes_none() -> Result<()> {
    let desk = Desk::new().await?;
    assert!(
        desk.fails(1, &["verify", "--bucket", "absent"])
            .await?
            .contains("there is no folder absent")
    );
    assert!(!desk.home.path().join("absent").exists());
    assert!(
        desk.fails(1, &["verify", "--bucket", "data"])
            .await?
            .contains("hint: it looks like a server's data folder")
    );
    Ok(())
}
