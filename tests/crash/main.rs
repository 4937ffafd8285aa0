//! The real server, killed and starved: nothing acknowledged is lost, nothing unfinished is seen.
//!
//! [`kills`] and [`full_disk`] are the tests; [`served`] is the server they hurt, [`pushers`] what keeps it busy,
//! and [`history`] the judge of what a channel remembers afterwards.

mod full_disk;
mod history;
mod kills;
mod pushers;
mod served;
