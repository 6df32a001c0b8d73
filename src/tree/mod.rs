//! What a tree is: pairs of directories, their entries in batches, and their metadata.

mod acl;
mod clash;
mod dir;
mod entry;
mod filter;
mod glob;
mod known;
mod level;
mod list;
mod listing;
mod looked;
mod made;
mod meta;
mod pair;
mod rights;
mod single;
mod taken;
mod trust;
mod visitor;
mod walk;

pub use clash::NameHolder;
#[cfg(test)]
pub use dir::ChildPair;
pub use dir::{Counterpart, Devices, Dir, Folder, OpenDir, OpenDirs};
pub use entry::{BATCH_ENTRIES, Batch, Entry, EntryKind};
pub use filter::Filter;
pub use list::List;
pub use looked::Looked;
pub use made::Made;
pub use meta::{Before, Keeper, Kept, Metadata, Preserve, Replaced, Rights};
pub use pair::enter;
pub use single::{WalkEvent, walk_single};
pub use taken::TakenNames;
pub use visitor::{Follow, Scope, Visitor};
pub use walk::walk;
