//! Hashing trees and checking manifests, in the lines of `b3sum`, coreutils and `xxhsum`.
//!
//! [`list`] hashes what the user names, [`check`] what manifests name. Both feed [`hash`], which
//! keeps many files in flight, and bring its results into order.

mod algorithm;
pub mod check;
pub mod hash;
mod left_out;
pub mod line;
pub mod list;
pub mod location;
mod manifest;
pub mod not_lines;
mod ordered;
pub mod sorter;

pub use algorithm::{Algorithm, Function};
pub use manifest::{Manifest, ManifestEnd};
