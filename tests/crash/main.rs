//! The real server, killed, starved and crowded: nothing acknowledged is lost, nothing unfinished is seen.
//!
//! [`kills`], [`full_disk`] and [`teams`] are the tests; [`served`] is the server they hurt, [`pushers`] what keeps it busy,
//! and [`history`] the judge of what a channel remembers afterwards.

mod full_disk;
mod history;
mod kills;
mod pushers;
mod served;
mod teams;
