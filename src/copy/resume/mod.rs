//! `--resume`: what is finished is on record, and the next run goes on from there.
//!
//! Something finished is recorded when its data is durable and it has its name. Should the record
//! outlive a power cut and the name not, the comparison with what stands there tells, so that no
//! record waits for a directory.

mod chain;
mod file;
mod format;
mod identity;
mod index;
mod known;
mod leftovers;
mod lock;
mod manner;
mod partial;
mod recovered;
mod session;
mod tidy;

pub use file::Journal;
pub use identity::{JournalIdentity, JournalPlace};
pub use known::COPY_CHANGED;
pub use lock::has_journal;
pub use partial::Partial;
pub use session::{
    Completed, Due, Earlier, FirstName, Found, Looks, Records, Resume, Trusts, Unnamed,
};
