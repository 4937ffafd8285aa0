//! The server from the outside: over real TLS, as agents, tooling and browsers meet it.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod circles;
#[cfg(test)]
mod clusters;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod contended;
#[cfg(test)]
mod dry_run;
#[cfg(test)]
mod enrollment;
#[cfg(test)]
mod fit;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod life;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod support;
