//! What a copy may have to do without, as a whole.

use super::Operation;

/// Something that is kept of files, and that a filesystem or a sandbox may not have for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// Permissions, and ACLs with them.
    Mode,
    /// Owner and group.
    Ownership,
    /// Access and modification times.
    Timestamps,
    /// Extended attributes.
    Attributes,
    /// The security context.
    Context,
    /// Hard links.
    Links,
}

impl Missing {
    /// What is missing where an operation cannot be had.
    pub(super) fn of(op: Operation) -> Option<Self> {
        use Operation::{
            Link, ListAttributes, ReadAcl, ReadAttribute, ReadDefaultAcl, SetAcl, SetAttribute,
            SetDefaultAcl, SetMode, SetOwner, SetTimes,
        };
        match op {
            SetMode | SetAcl | SetDefaultAcl | ReadAcl | ReadDefaultAcl => Some(Self::Mode),
            SetOwner => Some(Self::Ownership),
            SetTimes => Some(Self::Timestamps),
            ListAttributes | ReadAttribute | SetAttribute => Some(Self::Attributes),
            Link => Some(Self::Links),
            _ => None,
        }
    }

    /// What the user can do about it. EACCES is the answer to who may not, and of a security
    /// module.
    pub(super) fn remedy(self, errno: i32) -> &'static str {
        match (self, errno) {
            (Self::Links, _) => {
                "the names are copied one by one; --no-preserve=links does so at once"
            }
            (Self::Mode, libc::EACCES) => {
                "it is not allowed here; --no-preserve=mode leaves it out"
            }
            (Self::Mode, _) => "it is not supported here; --no-preserve=mode leaves it out",
            (Self::Ownership, libc::EACCES) => {
                "it is not allowed here; --no-preserve=ownership leaves it out"
            }
            (Self::Ownership, _) => {
                "it is not supported here; --no-preserve=ownership leaves it out"
            }
            (Self::Timestamps, libc::EACCES) => {
                "they are not allowed here; --no-preserve=timestamps leaves them out"
            }
            (Self::Timestamps, _) => {
                "they are not supported here; --no-preserve=timestamps leaves them out"
            }
            (Self::Attributes, libc::EACCES) => {
                "they are not allowed here; --no-preserve=xattr leaves them out"
            }
            (Self::Attributes, _) => {
                "they are not supported here; --no-preserve=xattr leaves them out"
            }
            (Self::Context, libc::EACCES) => {
                "it is not allowed here; --no-preserve=xattr,context leaves it out"
            }
            (Self::Context, _) => {
                "it is not supported here; --no-preserve=xattr,context leaves it out"
            }
        }
    }
}
