//! Which failed steps are done again, and when.

use std::time::Duration;

use crate::error::Error;

/// First pause; it doubles. Five tries last about a second and a half: a server that restarts is back by then.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const TRIES: u32 = 5;

/// How long to wait before try number `tried + 1`; `None` to give up.
///
/// A server that never answered in this program's life is more likely not there than restarting: the person who
/// mistyped its address should not wait.
pub(crate) fn pause(tried: u32, error: &Error, answered_before: bool) -> Option<Duration> {
    let worth_it = error.is_retryable() && (answered_before || !error.is_unreachable());
    (worth_it && tried < TRIES).then(|| FIRST_PAUSE * 2u32.pow(tried.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::connect::Unreachable;

    fn refused(code: Code) -> Error {
        Error::Refused {
            code,
            message: String::new(),
        }
    }

    fn away() -> Error {
        Error::Unreachable {
            server: String::new(),
            cause: Unreachable::Refused,
        }
    }

    #[test]
    fn pauses_double_and_end() {
        let error = refused(Code::Unavailable);
        let pauses: Vec<_> = (1..=5)
            .map(|tried| pause(tried, &error, true).map(|pause| pause.as_millis()))
            .collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), Some(800), None]);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(pause(1, &refused(Code::Aborted), true), None);
        assert_eq!(pause(1, &refused(Code::Unauthenticated), true), None);
    }

    #[test]
    fn server_that_never_answered_is_given_up_at_once() {
        assert_eq!(pause(1, &away(), false), None);
        assert!(pause(1, &away(), true).is_some());
    }
}
