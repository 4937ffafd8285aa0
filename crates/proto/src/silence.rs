//! When a connection has ended of which nothing is heard any more.
//!
//! Both ends have their kernels ask whether the other machine is there, which wakes no program at either end. That finds
//! a machine that is gone, or the way to it. A program that is there but frozen it does not: HTTP/2's pings are for that.

use std::{io, time::Duration};

use rand::Rng;
use socket2::{SockRef, TcpKeepalive};

/// Seconds without a packet after which the other machine is asked, the least and the most: less than anything on the
/// way forgets an idle connection after (cloud load balancers: four to six minutes; many firewalls: five).
///
/// Far apart, because a fleet connects at once, after its server has started, and Linux rounds timers of a minute to
/// some seconds. Ten thousand questions in one moment are more than a network queue holds (1,000 packets for each
/// processor, `net.core.netdev_max_backlog`), the same ones are dropped again each time that they are repeated, and
/// connections end that nothing is wrong with.
const ASKED_AFTER: (u64, u64) = (30, 90);
/// And then so often, should it not answer.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// How often it is asked before it is given up.
const QUESTIONS: u32 = 4;

/// Has the kernel end `stream` with an error once its peer's machine does not answer: 50 to 110 s after the last packet
/// of an idle one, each connection at a time of its own; and as long after it was sent for what is not acknowledged,
/// which would otherwise be tried again for a quarter of an hour (Linux alone).
///
/// # Errors
/// When the kernel does not take it: the connection has broken already.
pub fn bound<'s, S>(stream: &'s S, rng: &mut impl Rng) -> io::Result<()>
where
    SockRef<'s>: From<&'s S>,
{
    let asked_after = Duration::from_secs(rng.random_range(ASKED_AFTER.0..=ASKED_AFTER.1));
    let asks = TcpKeepalive::new()
        .with_time(asked_after)
        .with_interval(ASKED_EVERY)
        .with_retries(QUESTIONS);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&asks)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(asked_after + ASKED_EVERY * QUESTIONS))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        collections::BTreeMap,
        net::{TcpListener, TcpStream},
    };

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn kernel_asks_four_times_and_gives_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        bound(&stream, &mut StdRng::seed_from_u64(1)).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), ASKED_EVERY);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        let asked_after = socket.tcp_keepalive_time().unwrap();
        assert!((30..=90).contains(&asked_after.as_secs()), "{asked_after:?}");
        let ends_after = asked_after + Duration::from_secs(20);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(ends_after));
    }

    #[test]
    fn connections_opened_together_are_not_asked_together() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        let mut asked: BTreeMap<u64, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            bound(&stream, &mut rng).unwrap();
            let after = SockRef::from(&stream).tcp_keepalive_time().unwrap().as_secs();
            *asked.entry(after).or_default() += 1;
        }
        let most = asked.values().max().unwrap();
        // A timer wheel of 250 ticks a second rounds these to two seconds.
        assert!(
            *most < 500,
            "{most} are asked in the same second, of 1,000 that a queue holds"
        );
    }
}
