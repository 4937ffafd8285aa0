//! Objects against the rest of a snapshot.
