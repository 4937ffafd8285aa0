//! The limit of open files: one stream is one file, and many systems start programs with 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// For the runtime, the client's connections and whatever the process has open besides.
const SPARE: u64 = 64;

/// Raises the soft limit to the hard one; answers what it is then. Where that is not allowed, the limit stays as it is.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    // None is none.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Is a limit of `allowed` files enough for so many streams?
///
/// # Errors
/// [`Error::OpenFiles`] where it is not.
pub fn at_least(streams: usize, allowed: u64) -> Result<(), Error> {
    let needed = streams as u64 + SPARE;
    if needed <= allowed {
        return Ok(());
    }
    let most = allowed.saturating_sub(SPARE);
    Err(Error::OpenFiles {
        streams,
        needed,
        allowed,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_that_is_too_small_is_told_with_what_would_fit() {
        assert!(at_least(18_000, 20_000).is_ok());
        assert!(at_least(1, u64::MAX).is_ok());
        let text = at_least(20_000, 20_000).unwrap_err().to_string();
        assert!(
            text.contains("20000 streams take 20064 open files") && text.contains("at most 19936 agents"),
            "{text}"
        );
    }
}
