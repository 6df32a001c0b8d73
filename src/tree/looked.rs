//! What a source has besides its data and what stat says.

use std::ffi::{CStr, CString};
use std::io;

use super::acl;
use crate::fs::{FileType, Node};

/// What one look at a source found, of all that is to be kept.
pub struct Looked {
    /// The names of its extended attributes, if any are to be kept.
    pub(super) names: Option<io::Result<Vec<CString>>>,
    /// Its ACL.
    pub(super) acl: io::Result<Option<Vec<u8>>>,
    /// What new files in it get, if it is a directory.
    pub(super) default_acl: io::Result<Option<Vec<u8>>>,
}

impl Looked {
    /// Asks for the ACLs of a source of this kind, if they are to be kept. What its list does not
    /// name is not asked for if `lists_acls` says that the list would name it.
    pub(super) fn new(
        source: Node<'_>,
        names: Option<io::Result<Vec<CString>>>,
        kind: Option<FileType>,
        lists_acls: bool,
    ) -> Self {
        let listed = names.as_ref().and_then(|names| names.as_ref().ok()).filter(|_| lists_acls);
        let ask = |which: &CStr| match listed {
            Some(names) if !names.iter().any(|name| **name == *which) => Ok(None),
            _ => source.attribute(which),
        };
        let (acl, default_acl) = match kind {
            None | Some(FileType::Symlink) => (Ok(None), Ok(None)),
            Some(FileType::Directory) => (ask(acl::ACCESS), ask(acl::DEFAULT)),
            Some(_) => (ask(acl::ACCESS), Ok(None)),
        };
        Self { names, acl, default_acl }
    }
}
