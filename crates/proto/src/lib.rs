//! The generated gRPC types of `proto/driftless/v1`, and their conversions to and from the model.
//!
//! Used by server, client and agent, and so is what both ends do with their sockets: see [`silence`]. Conversions from the wire check everything: a hash that is no hash, a name
//! that breaks its rule or a missing part is an [`Error`] that names the field.

/// The generated types. Their documentation is in the `.proto` file.
#[expect(
    missing_docs,
    reason = "generated code; the comments of the .proto file become the docs where there are some"
)]
pub mod v1 {
    tonic::include_proto!("driftless.v1");
}

mod convert;
pub mod silence;

pub use convert::{
    Asked, Error, asked, change, from_asked, from_change, from_orders, from_prospect, from_time, from_vars, hash,
    hashes, opt_hash, orders, prospect, time, to_hash, vars,
};

/// Metadata key under which a refused call says why, in a word for programs.
pub const REASON: &str = "driftless-reason";
/// The [`REASON`] of a call by a cluster that was retired: asking again is no use until a person enrols it anew.
pub const RETIRED: &str = "retired";

/// The compiled descriptors of `proto/`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The most objects that a Hello names as held; what comes after is not looked at.
pub const MAX_HELD: usize = 1000;

/// The most bytes one gRPC message may have, either way: a whole bundle, compressed, fits.
pub const MAX_MESSAGE_BYTES: usize = 40 * 1024 * 1024;
