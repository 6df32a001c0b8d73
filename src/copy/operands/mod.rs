//! What the user named: resolved into pairs of names, and walked through.

mod pair;
mod paths;
mod resolve;
mod walk;

pub use resolve::{Destination, Operands};
