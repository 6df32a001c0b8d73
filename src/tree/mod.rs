//! What a tree is: pairs of open directories, their entries in batches, and their metadata.

mod dir;
mod meta;
mod walk;

pub use dir::{Dir, Operand};
pub use meta::{set_dir_metadata, set_file_metadata, set_link_times};
pub use walk::{BATCH_ENTRIES, Batch, Entry, EntryKind, Visitor, walk};
