//! What a new file has from the beginning, which it need not be asked or given any more.

use crate::fs::Stat;

/// What every new file of a directory has: this owner and group, no ACL, and the mode that it was
/// made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFiles {
    user: u32,
    group: u32,
}

/// Which file has shown what a copy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It was looked at.
    ByItself,
    /// Another new file of the directory was, and the directory may have been changed since.
    ByAnother,
}

/// What a copy has had since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    files: NewFiles,
    /// Of a file that has had no name since it was made so, and thus no ACL.
    mode: Option<u32>,
    shown: Shown,
}

impl NewFiles {
    /// What a new file of the directory answered, made in the same way as all.
    pub(super) fn of(stat: &Stat) -> Self {
        Self { user: stat.st_uid, group: stat.st_gid }
    }

    /// One of them, made with this mode.
    pub(super) fn file(self, mode: u32, shown: Shown) -> Made {
        Made { files: self, mode: Some(mode), shown }
    }

    /// A directory. In the moment in which it had no descriptor it may have been exchanged for
    /// another one of this user's, which may have an ACL.
    pub(super) fn directory(self) -> Made {
        Made { files: self, mode: None, shown: Shown::ByItself }
    }
}

impl Made {
    /// Whether it was not looked at itself.
    pub fn is_taken_from_another(self) -> bool {
        self.shown == Shown::ByAnother
    }

    /// Whether it has this owner and group.
    pub fn is_owned_by(self, user: u32, group: u32) -> bool {
        (self.files.user, self.files.group) == (user, group)
    }

    /// Whether it has no ACL.
    pub fn has_no_acl(self) -> bool {
        self.mode.is_some()
    }

    /// Whether it has this mode.
    pub fn has_mode(self, mode: u32) -> bool {
        self.mode == Some(mode)
    }
}
