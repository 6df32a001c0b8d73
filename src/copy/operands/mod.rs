//! What the user named: resolved into pairs of names, and walked through.

mod outputs;
mod pair;
mod paths;
mod resolve;
mod walk;

pub use outputs::Appears;
pub use resolve::{Destination, Operands};
