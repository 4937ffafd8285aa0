//! Waiting for a condition with a deadline. Every suite waits through here; nothing sleeps for luck.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// First pause between two looks; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Short enough that waiting adds little to a measured time.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Looks again and again until `probe` gives `Ok(Some(value))`, and fails when `within` has passed.
///
/// `Ok(None)` means "not yet"; `Err(state)` means "not yet, and this is what it looks like". The
/// last such state is in the error, beside `what` was waited for. A probe that hangs is cut off at
/// the deadline.
pub async fn eventually<T>(
    within: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut last = String::from("nothing was seen yet");
    let mut pause = FIRST_PAUSE;
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => last = String::from("not yet"),
            Ok(Err(state)) => last = format!("{state:#}"),
            Err(_) => bail!("{what}: no answer within {within:?}; last seen: {last}"),
        }
        if Instant::now() + pause >= deadline {
            bail!("{what}: not within {within:?}; last seen: {last}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[tokio::test]
    async fn value_is_returned_as_soon_as_it_is_there() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), "third look", async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn failure_names_the_condition_and_the_last_state() {
        let error = eventually(Duration::from_millis(50), "three replicas", async || {
            Err::<Option<()>, _>(anyhow!("2 of 3"))
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "three replicas: not within 50ms; last seen: 2 of 3");
    }

    #[tokio::test]
    async fn hanging_probe_is_cut_off() {
        let error = eventually(Duration::from_millis(50), "an answer", async || {
            std::future::pending::<Result<Option<()>>>().await
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("no answer within 50ms"), "{error}");
    }
}
