//! Has the kernel find out that the machine at the other end is gone. Called once for each accepted connection.
//!
//! A peer that vanished without a word (its machine, or the way to it) is found by TCP's own questions, which wake no
//! program at either end. One that is there but frozen is not: HTTP/2's pings are for that.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::settings::Silence;

/// Lets the connection end when its peer's machine is silent for too long.
pub(super) fn bound(stream: &TcpStream, silence: Silence) -> io::Result<()> {
    let Silence {
        asked_after,
        asked_every,
        ends_after,
    } = silence;
    let questions = ends_after.saturating_sub(asked_after).as_secs() / asked_every.as_secs().max(1);
    let asks = TcpKeepalive::new()
        .with_time(asked_after)
        .with_interval(asked_every)
        // Where there is no other limit.
        .with_retries(u32::try_from(questions).unwrap_or(u32::MAX).max(1));
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&asks)?;
    // What was sent and is never acknowledged would otherwise be tried again for a quarter of an hour.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(ends_after))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn kernel_asks_and_gives_up_when_the_settings_say() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let (near, _far) = (near.unwrap().0, far.unwrap());
        bound(&near, Silence::default()).unwrap();
        let socket = SockRef::from(&near);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(50));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(70)));
    }
}
