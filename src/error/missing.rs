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

    /// What the user can do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Mode => "it is not supported here; --no-preserve=mode leaves it out",
            Self::Ownership => "it is not supported here; --no-preserve=ownership leaves it out",
            Self::Timestamps => {
                "they are not supported here; --no-preserve=timestamps leaves them out"
            }
            Self::Attributes => "they are not supported here; --no-preserve=xattr leaves them out",
            Self::Links => "the names are copied one by one; --no-preserve=links does so at once",
        }
    }
}
