//! The proof of a copy: what stands on the device is read back, and mended where it differs.

mod blocks;
mod compare;
mod mend;
mod pairs;
mod prove;
mod readback;
mod service;

pub use compare::{DirInTarget, StandingName, ToCopy};
pub use pairs::Other;
pub use prove::ToProve;
pub use service::{Readers, Verify};
