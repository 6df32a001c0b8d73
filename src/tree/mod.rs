//! What a tree is: pairs of directories, their entries in batches, and their metadata.

mod acl;
mod dir;
mod filter;
mod glob;
mod list;
mod listed;
mod meta;
mod walk;

pub use dir::{Counterpart, Dir, OpenDir, OpenDirs, Place};
pub use filter::Filter;
pub use list::{Listed, Listing};
pub use listed::List;
pub use meta::{Keeper, Loss, Metadata, Preserve};
pub use walk::{BATCH_ENTRIES, Batch, Entry, EntryKind, Follow, Scope, Visitor, enter, walk};
