//! The store from outside: one contract on every backend, the journal among rivals and faults, and `verify`
//! against every kind of damage.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod support;
#[cfg(test)]
mod verify;
