//! The file system calls that a copy stands on, checked and without `unsafe`: opening beneath a
//! descriptor, metadata by descriptor, room, the page cache, and files in the making.

mod cache;
mod facts;
mod foresight;
mod hidden;
mod identity;
mod in_place;
mod io;
mod journal;
mod lease;
mod magic;
mod mount;
mod names;
mod node;
mod open;
mod own;
mod process;
mod publish;
mod registry;
mod space;
mod stat;
mod stdio;
mod sync;
mod target;
mod temporary;
mod times;
mod unavailable;
mod unlisted;

pub(crate) use crate::sys::call;

pub use cache::{
    DirectLook, cached_bytes, drop_cache, leave_access_time, look_after_direct, read_ahead,
    set_direct, set_direct_without_trace,
};
pub use facts::{
    DIRECT_ALIGN_DEFAULT, DirectIo, Folding, NO_DIRECT_IO, clock_of, direct_io, grain_of_times,
    holes_are_believed, never_clones, numbers_are_kept, preallocation_helps, syncs_whole,
    why_not_made,
};
pub use foresight::{may_make, may_replace, may_write};
pub use hidden::{HIDDEN_PREFIX, Mark, hidden_number, random};
pub use identity::{
    FileId, Identity, IdentityBytes, Name, Numbers, Sameness, Trust, compare, compare_names,
    end_of_climb, ino_and_birth, same_contents, trust,
};
pub use in_place::{Stands, WriteAccess};
pub use io::{believed, close, has_byte_at, read_at, read_cached_at, read_full_at, write_all};
pub use journal::Journal;
pub use lease::wait_for_lease;
pub use magic::is_magic_link;
pub use mount::{Mount, mount_of};
pub use names::{is_append_only, keeps_names, rename, rename_unless_taken, unlink_if};
pub use node::{ACL, Node, attribute_at};
pub use open::{
    ReadFrom, canonical, is_path_only, list, open_above, open_any_length, open_beneath, open_dir,
    open_dir_behind, open_dir_to_fill, open_folder, open_folder_to_fill, open_path,
    open_path_behind, open_path_beneath, open_to_read, open_to_read_behind, open_to_read_from,
};
pub use own::{ALL_OF_OWNER, give_owner_all, is_new_and_own, is_own, needs_rights};
pub use process::{
    addresses_left_bytes, memory_left_bytes, open_files_limit, raise_open_files_limit, told_umask,
    umask,
};
pub use publish::{Appearance, publish_hard_link, publish_made};
pub use registry::{OpenedUp, remove_temporaries, remove_temporaries_at_once};
pub use space::{clone, free_bytes, next_data, preallocate, reserve, set_size, truncate};
pub use stat::{
    Birth, FileType, Stat, Timespec, allocated_bytes, birth, birth_at, holds_what_it_says,
    is_as_listed, is_as_written, is_unchanged, size_is_believed, stat, stat_at, stat_behind,
    stat_following, stat_if_reached,
};
pub use stdio::{is_stdin, stdin, stdout, stdout_file};
pub use sync::{Syncs, sync_file, sync_filesystem};
pub use target::{Leftover, Target};
pub use temporary::{Given, IfTaken, Temporary, Unpublished};
pub use times::{Age, Clock, Grain, Moment, Seen, Settled, age, settles_at};
pub use unavailable::{is_no_answer, is_unavailable};
pub use unlisted::{NameSync, sync_folder};
