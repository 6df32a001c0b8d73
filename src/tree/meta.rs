//! What is kept of a file besides its contents, set through open descriptors.
//!
//! The order is owner, extended attributes, ACLs, mode, times. A new owner takes away setuid,
//! setgid and capabilities. An ACL changes the mode. Nothing after the times changes them.

use std::ffi::{CStr, CString, OsStr};
use std::io;

use super::acl;
use super::dir::OpenDir;
use super::looked::Looked;
use super::made::Made;
use crate::error::{Cause, Operation};
use crate::fs::{self, FileType, Node, Stat};

const SET_ID_BITS: u32 = 0o6000;
pub(super) const SETGID_BIT: u32 = 0o2000;
const GROUP_BITS_SHIFT: u32 = 3;

/// What a copy keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preserve {
    /// Permissions with setuid, setgid and sticky, and ACLs.
    pub mode: bool,
    /// Owner and group.
    pub ownership: bool,
    /// Access and modification times.
    pub timestamps: bool,
    /// Hard links among everything that is copied.
    pub links: bool,
    /// Extended attributes, capabilities among them.
    pub xattr: bool,
    /// Of the extended attributes at least the security context.
    pub context: bool,
    /// FIFOs, sockets and devices.
    pub specials: bool,
    /// A mode that cannot be set in the destination is a failure and not a warning.
    pub mode_demanded: bool,
    /// So are times.
    pub timestamps_demanded: bool,
    /// So are links that cannot be made.
    pub links_demanded: bool,
    /// An ACL that the destination's filesystem cannot hold is a failure and not a warning.
    pub acls_demanded: bool,
    /// An extended attribute that the destination cannot hold is a failure and not a warning.
    pub xattr_demanded: bool,
}

impl Default for Preserve {
    fn default() -> Self {
        Self {
            mode: true,
            ownership: false,
            timestamps: true,
            links: true,
            xattr: false,
            context: false,
            specials: false,
            mode_demanded: false,
            timestamps_demanded: false,
            links_demanded: false,
            acls_demanded: false,
            xattr_demanded: false,
        }
    }
}

impl Preserve {
    /// Whether it is only a warning that another user's file, which was written into, could not be
    /// given something that only its owner may change.
    fn forgives_owner_s(&self, op: Operation) -> bool {
        let is_demanded = match op {
            Operation::SetTimes => self.timestamps_demanded,
            Operation::SetMode | Operation::SetAcl => self.acls_demanded,
            _ => true,
        };
        !is_demanded && !self.ownership
    }

    /// Whether a source without an ACL leaves that of the file whose place its copy takes: unless
    /// the whole of its rights was asked for.
    fn leaves_acls(&self) -> bool {
        !self.acls_demanded && !self.ownership
    }
}

/// How much of its source's metadata a copy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All that was to be kept.
    All,
    /// Not all of it, which was told.
    Part,
}

/// Something that was not kept.
#[derive(Debug)]
pub struct Loss {
    /// What was being done.
    pub op: Operation,
    /// Why.
    pub cause: Cause,
    /// Reading from the source failed; otherwise writing to the copy did.
    pub at_source: bool,
    /// It cannot be had here, and the user did not demand it.
    pub forgivable: bool,
}

impl Loss {
    fn new(op: Operation, cause: impl Into<Cause>) -> Self {
        Self { op, cause: cause.into(), at_source: false, forgivable: false }
    }

    fn at_source(op: Operation, cause: io::Error) -> Self {
        Self { op, cause: cause.into(), at_source: true, forgivable: false }
    }

    /// Forgivable where the call is not available here, unless it was demanded.
    fn unless_demanded(op: Operation, cause: io::Error, demanded: bool) -> Self {
        // A security module says EACCES.
        let is_refused =
            fs::is_unavailable(&cause) || cause.kind() == io::ErrorKind::PermissionDenied;
        Self { forgivable: !demanded && is_refused, ..Self::new(op, cause) }
    }
}

/// Gives copies the metadata of their sources.
pub struct Keeper {
    preserve: Preserve,
    /// Only root can give files away. Other users get no message about it for each file.
    privileged: bool,
    /// Rights that no new file gets.
    umask: u32,
}

/// A copy and where its metadata comes from.
pub struct Metadata<'a> {
    /// The source.
    pub source: Node<'a>,
    /// The source's answer to stat when its copy began.
    pub stat: &'a Stat,
    /// The copy.
    pub target: Node<'a>,
    /// What was there before.
    pub before: Before<'a>,
    /// What the copy has had since it was made, where that is known.
    pub made: Option<Made>,
}

/// What stood where a copy stands, or is to stand.
#[derive(Clone, Copy)]
pub enum Before<'a> {
    /// Nothing: the copy is new.
    Nothing,
    /// The copy itself, as a directory that is merged into.
    Itself,
    /// A file whose place it takes, as if it had been written into.
    Replaced(&'a Replaced),
    /// The copy itself, with other contents.
    WrittenInto,
}

impl Before<'_> {
    /// Of a directory.
    pub fn of_dir(fresh: bool) -> Self {
        if fresh { Self::Nothing } else { Self::Itself }
    }
}

/// Whose a file is that is to be replaced, and what others may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    user: u32,
    group: u32,
    mode: u32,
}

impl Rights {
    /// Those of a file that answered so.
    pub fn of(stat: &Stat) -> Self {
        Self { user: stat.st_uid, group: stat.st_gid, mode: stat.st_mode & 0o777 }
    }
}

/// A file whose place a copy takes.
pub struct Replaced {
    rights: Rights,
    /// Whether a new file in the same folder may have another owner or group.
    is_others: bool,
    /// Its ACL, if it has one, or why that could not be read.
    acl: io::Result<Option<Vec<u8>>>,
}

impl Replaced {
    /// Looks whether the file `name` in `dir` has more than its `rights`, as far as that matters.
    pub fn look(dir: &OpenDir, name: &OsStr, rights: Rights, preserve: &Preserve) -> Self {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let is_usual = rights.user == user.as_raw()
            && [rights.group, dir.target_stat.st_gid].iter().all(|&id| id == group.as_raw());
        let acl = match preserve.mode && !preserve.leaves_acls() {
            true => Ok(None),
            false => fs::attribute_at(&*dir.target, name, acl::ACCESS),
        };
        Self { rights, is_others: !is_usual, acl }
    }
}

/// `S_IWUSR`.
const OWNER_WRITES: u32 = 0o200;

impl Keeper {
    /// Asks what the process may do, and what its umask is. It has to be called before there are
    /// threads that make files.
    pub fn new(preserve: Preserve) -> Self {
        // Only where the mode is not kept it decides what a copy has at last.
        let unknown = || if preserve.mode { 0o777 } else { fs::umask() };
        let umask = fs::told_umask().unwrap_or_else(unknown);
        Self { preserve, privileged: rustix::process::geteuid().is_root(), umask }
    }

    /// What is kept.
    pub fn preserve(&self) -> &Preserve {
        &self.preserve
    }

    /// Looks at what a source has, as far as it is to be kept. `lists_acls` says whether its list
    /// of attributes names its ACLs.
    pub fn look(&self, source: Node<'_>, kind: FileType, lists_acls: bool) -> Looked {
        let Preserve { mode, xattr, context, .. } = self.preserve;
        let names = (xattr || context).then(|| source.attributes());
        Looked::new(source, names, mode.then_some(kind), lists_acls)
    }

    /// The mode with which the copy of a file is to be made so that it has it already: that of the
    /// source, unless more than creating it is needed to give it that.
    pub fn mode_of_new(&self, stat: &Stat, looked: &Looked) -> Option<u32> {
        let mode = match self.preserve.mode {
            true => stat.st_mode & 0o7777,
            false => 0o666 & !self.umask,
        };
        let is_all = matches!(looked.acl, Ok(None)) && mode & (!0o777 | self.umask) == 0;
        // Attributes of one's own are set by who may write the file, whatever its descriptor may.
        let takes_attributes = mode & OWNER_WRITES != 0
            || !matches!(&looked.names, Some(Ok(names)) if !names.is_empty());
        (is_all && takes_attributes).then_some(mode)
    }

    /// Sets all that is kept of a source that was `looked` at. What cannot be kept goes to `lost`,
    /// and does not stop the rest.
    ///
    /// A file whose owner could not be kept gets no setuid and no setgid. A file whose ACL could
    /// not be kept gives its group no more than the ACL did.
    pub fn keep(&self, metadata: &Metadata<'_>, looked: Looked, lost: &mut dyn FnMut(Loss)) {
        let Metadata { source, stat, target, before, made } = *metadata;
        let lost = &mut |loss: Loss| {
            let is_owner_s = matches!(before, Before::WrittenInto)
                && matches!(&loss.cause, Cause::Os(cause) if is_not_permitted(cause))
                && self.preserve.forgives_owner_s(loss.op);
            lost(Loss { forgivable: loss.forgivable || is_owner_s, ..loss });
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let has_owner = made.is_some_and(|made| made.is_owned_by(stat.st_uid, stat.st_gid));
        let owned = self.preserve.ownership && (has_owner || self.keep_owner(stat, target, lost));
        if let Before::Replaced(replaced) = before
            && !self.preserve.ownership
        {
            self.keep_owner_of_replaced(replaced, target, lost);
        }
        let Looked { names, acl, default_acl } = looked;
        if let Some(names) = names {
            self.keep_attributes(names, source, target, lost);
        }
        if kind != FileType::Symlink {
            self.keep_mode(metadata, acl, owned, lost);
            // What was made is known to pass on none.
            let has_none = made.is_some() && matches!(default_acl, Ok(None));
            if kind == FileType::Directory && self.preserve.mode && !has_none {
                self.keep_default_acl(default_acl, target, lost);
            }
        }
        if self.preserve.timestamps {
            self.keep_times(stat, target, lost);
        }
    }

    /// True if the copy now has its source's owner and group.
    fn keep_owner(&self, stat: &Stat, target: Node<'_>, lost: &mut dyn FnMut(Loss)) -> bool {
        let Err(error) = target.set_owner(Some(stat.st_uid), stat.st_gid) else { return true };
        if !matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) {
            lost(Loss::new(Operation::SetOwner, error));
            return false;
        }
        // The group alone may still be one that this user may give.
        let group_kept = target.set_owner(None, stat.st_gid).is_ok();
        if self.privileged {
            lost(Loss::new(Operation::SetOwner, error));
        }
        group_kept && target.stat().is_ok_and(|copy| same_owner(&copy, stat))
    }

    /// Gives the copy the owner and group of the file that it replaces, as far as this user may.
    fn keep_owner_of_replaced(
        &self,
        replaced: &Replaced,
        target: Node<'_>,
        lost: &mut dyn FnMut(Loss),
    ) {
        let Replaced { rights: Rights { user, group, .. }, is_others, .. } = *replaced;
        if !is_others {
            return;
        }
        let kept = target.set_owner(self.privileged.then_some(user), group);
        if let (Err(error), true) = (kept, self.privileged) {
            lost(Loss { forgivable: true, ..Loss::new(Operation::SetOwner, error) });
        }
    }

    fn keep_attributes(
        &self,
        names: io::Result<Vec<CString>>,
        source: Node<'_>,
        target: Node<'_>,
        lost: &mut dyn FnMut(Loss),
    ) {
        let names = match names {
            Ok(names) => names,
            Err(error) => return lost(Loss::at_source(Operation::ListAttributes, error)),
        };
        let mut mode_before = None;
        for name in names.iter().filter(|name| self.wants(name)) {
            let value = match source.attribute(name) {
                Ok(Some(value)) => value,
                // It was removed since. The change time of the file gives it away.
                Ok(None) => continue,
                Err(cause) => {
                    let cause = Cause::Attribute(name.to_string_lossy().into_owned(), cause);
                    lost(Loss { at_source: true, ..Loss::new(Operation::ReadAttribute, cause) });
                    continue;
                }
            };
            if let Err(cause) = set_attribute(name, &value, target, &mut mode_before) {
                let forgivable = !self.preserve.xattr_demanded && is_unsupported(&cause);
                let cause = Cause::Attribute(name.to_string_lossy().into_owned(), cause);
                lost(Loss { forgivable, ..Loss::new(Operation::SetAttribute, cause) });
            }
        }
        if let Some(Err(cause)) = mode_before.map(|mode| target.set_mode(mode)) {
            lost(Loss::new(Operation::SetMode, cause));
        }
    }

    /// Whether an attribute is to be kept.
    ///
    /// ACLs belong to the mode, also where xfs lists them once more under its own names. What else
    /// the system keeps is not for a copy, and `security.evm` signs one inode of one filesystem.
    fn wants(&self, name: &CStr) -> bool {
        match name.to_bytes() {
            b"security.selinux" => true,
            b"security.evm" => false,
            name => {
                self.preserve.xattr
                    && !name.starts_with(b"system.")
                    && !name.starts_with(b"trusted.SGI_ACL_")
            }
        }
    }

    fn keep_mode(
        &self,
        metadata: &Metadata<'_>,
        acl: io::Result<Option<Vec<u8>>>,
        owned: bool,
        lost: &mut dyn FnMut(Loss),
    ) {
        let Metadata { stat, target, before, made, .. } = *metadata;
        if !self.preserve.mode {
            match before {
                Before::Nothing => self.give_mode_of_new_file(metadata, lost),
                Before::Itself => {}
                Before::Replaced(replaced) => self.give_mode_of_replaced(replaced, target, lost),
                Before::WrittenInto => take_set_id(target, lost),
            }
            return;
        }
        let is_written_into = matches!(before, Before::WrittenInto);
        let left = match before {
            Before::Replaced(replaced) if self.preserve.leaves_acls() => Some(replaced),
            _ => None,
        };
        let mut mode = stat.st_mode & 0o7777;
        if mode & SET_ID_BITS != 0
            && !owned
            && !target.stat().is_ok_and(|copy| same_owner(&copy, stat))
        {
            mode &= !SET_ID_BITS;
        }
        // What changes its ACL changes its mode.
        let mut made = made.filter(|made| made.has_no_acl());
        match (acl, left) {
            (Ok(None), Some(Replaced { acl: Ok(None), .. }) | None) if made.is_some() => {}
            (Ok(None), Some(replaced)) => {
                // The mode limits it: no one gets more than the source's group.
                made = None;
                self.keep_acl_of_replaced(replaced, target, lost);
            }
            (Ok(None), _) if is_written_into && self.preserve.leaves_acls() => {}
            (Ok(wanted), _) => {
                made = None;
                if !self.keep_acl(acl::ACCESS, wanted.as_deref(), target, lost) {
                    mode = limited(mode, wanted.as_deref());
                }
            }
            (Err(error), _) => {
                made = None;
                lost(self.unread_acl(Operation::ReadAcl, error));
                self.keep_acl(acl::ACCESS, None, target, lost);
                mode = limited(mode, None);
            }
        }
        // Only its owner may set it, which need not be done.
        let has_it = || target.stat().is_ok_and(|copy| copy.st_mode & 0o7777 == mode);
        if !(made.is_some_and(|made| made.has_mode(mode)) || is_written_into && has_it()) {
            self.set_mode(target, mode, lost);
        }
    }

    fn keep_default_acl(
        &self,
        acl: io::Result<Option<Vec<u8>>>,
        target: Node<'_>,
        lost: &mut dyn FnMut(Loss),
    ) {
        match acl {
            Ok(wanted) => drop(self.keep_acl(acl::DEFAULT, wanted.as_deref(), target, lost)),
            Err(error) => lost(self.unread_acl(Operation::ReadDefaultAcl, error)),
        }
    }

    fn set_mode(&self, target: Node<'_>, mode: u32, lost: &mut dyn FnMut(Loss)) {
        if let Err(error) = target.set_mode(mode) {
            let demanded = self.preserve.mode_demanded;
            lost(Loss::unless_demanded(Operation::SetMode, error, demanded));
        }
    }

    /// The mode that open(2) and mkdir(2) give, and no ACL, whatever the folder passes on.
    fn give_mode_of_new_file(&self, metadata: &Metadata<'_>, lost: &mut dyn FnMut(Loss)) {
        let Metadata { stat, target, made, .. } = *metadata;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !made.is_some_and(Made::has_no_acl) {
            self.keep_acl(acl::ACCESS, None, target, lost);
        }
        if is_dir && made.is_none() {
            self.keep_acl(acl::DEFAULT, None, target, lost);
        }
        let mode = if is_dir { 0o777 } else { 0o666 } & !self.umask;
        if !is_dir && made.is_some_and(|made| made.has_mode(mode)) {
            return;
        }
        // A directory has setgid from its folder, as mkdir(2) says.
        let inherited = match is_dir {
            true => target.stat().map(|made| made.st_mode & SETGID_BIT),
            false => Ok(0),
        };
        match inherited {
            Ok(inherited) => self.set_mode(target, mode | inherited, lost),
            Err(error) => lost(Loss::new(Operation::SetMode, error)),
        }
    }

    /// The mode of a file that is written into, without setuid and setgid, and its ACL.
    fn give_mode_of_replaced(
        &self,
        replaced: &Replaced,
        target: Node<'_>,
        lost: &mut dyn FnMut(Loss),
    ) {
        let mut mode = replaced.rights.mode;
        if !self.keep_acl_of_replaced(replaced, target, lost) {
            mode = limited(mode, replaced.acl.as_ref().ok().and_then(Option::as_deref));
        }
        self.set_mode(target, mode, lost);
    }

    /// The source may have an ACL, and does not say.
    fn unread_acl(&self, op: Operation, cause: io::Error) -> Loss {
        let demanded = self.preserve.mode_demanded;
        Loss { at_source: true, ..Loss::unless_demanded(op, cause, demanded) }
    }

    /// Gives the copy the ACL of the file whose place it takes. False if it does not have that now,
    /// or if what that was cannot be known.
    fn keep_acl_of_replaced(
        &self,
        replaced: &Replaced,
        target: Node<'_>,
        lost: &mut dyn FnMut(Loss),
    ) -> bool {
        match &replaced.acl {
            Ok(acl) => self.keep_acl(acl::ACCESS, acl.as_deref(), target, lost),
            Err(cause) => {
                let errno = cause.raw_os_error().unwrap_or(libc::EIO);
                let cause = io::Error::from_raw_os_error(errno);
                let forgivable = fs::is_unavailable(&cause);
                lost(Loss { forgivable, ..Loss::new(Operation::ReadAcl, cause) });
                self.keep_acl(acl::ACCESS, None, target, lost);
                false
            }
        }
    }

    /// Sets an ACL, or removes the one that the copy inherited from its folder. False if the copy
    /// does not have the ACL now.
    fn keep_acl(
        &self,
        which: &CStr,
        wanted: Option<&[u8]>,
        target: Node<'_>,
        lost: &mut dyn FnMut(Loss),
    ) -> bool {
        let done = match wanted {
            Some(acl) => target.set_attribute(which, acl),
            None => match target.attribute(which) {
                Ok(None) => Ok(()),
                // One that cannot be looked at is removed as well as one that is there.
                Ok(Some(_)) | Err(_) => target.remove_attribute(which),
            },
        };
        let Err(error) = done else { return true };
        let op = if which == acl::ACCESS { Operation::SetAcl } else { Operation::SetDefaultAcl };
        lost(Loss::unless_demanded(op, error, self.preserve.acls_demanded));
        false
    }

    fn keep_times(&self, stat: &Stat, target: Node<'_>, lost: &mut dyn FnMut(Loss)) {
        let in_every_range =
            |seconds: i64| i32::try_from(seconds).is_ok_and(|seconds| seconds >= 0);
        let kept = target.set_times(stat).and_then(|()| {
            if in_every_range(stat.st_atime) && in_every_range(stat.st_mtime) {
                return Ok(true);
            }
            // The kernel silently sets what the filesystem cannot hold to the nearest time that it
            // can.
            let copy = target.stat()?;
            Ok((copy.st_atime, copy.st_mtime) == (stat.st_atime, stat.st_mtime))
        });
        match kept {
            Ok(true) => {}
            Ok(false) => lost(Loss::new(Operation::SetTimes, Cause::TimeOutOfRange)),
            Err(error) => {
                let demanded = self.preserve.timestamps_demanded;
                lost(Loss::unless_demanded(Operation::SetTimes, error, demanded));
            }
        }
    }
}

/// Sets an attribute. Attributes of one's own are set by who may write the file: to a copy that
/// stands, and that its owner may only read, the owner gives that right for the time. Its mode is
/// in `mode_before` then. One with setuid or setgid is left alone, which a change may cost it.
fn set_attribute(
    name: &CStr,
    value: &[u8],
    target: Node<'_>,
    mode_before: &mut Option<u32>,
) -> io::Result<()> {
    let set = || target.set_attribute(name, value);
    let refused = match set() {
        Err(cause) if cause.raw_os_error() == Some(libc::EACCES) => cause,
        answer => return answer,
    };
    let mode = target.stat()?.st_mode & 0o7777;
    if mode & (OWNER_WRITES | SET_ID_BITS) != 0 || target.set_mode(mode | OWNER_WRITES).is_err() {
        return Err(refused);
    }
    *mode_before = Some(mode);
    set()
}

/// A mode whose group bits are no more than an ACL that is lost allowed the owning group. Where
/// that is unknown, they are none.
fn limited(mode: u32, acl: Option<&[u8]>) -> u32 {
    let allowed = acl.map_or(0, acl::group_bits);
    mode & (!(0o7 << GROUP_BITS_SHIFT) | allowed << GROUP_BITS_SHIFT)
}

/// Takes setuid and setgid from a file that has other contents now.
fn take_set_id(target: Node<'_>, lost: &mut dyn FnMut(Loss)) {
    let taken = target.stat().and_then(|copy| match copy.st_mode & SET_ID_BITS {
        0 => Ok(()),
        _ => target.set_mode(copy.st_mode & 0o7777 & !SET_ID_BITS),
    });
    if let Err(error) = taken {
        lost(Loss::new(Operation::SetMode, error));
    }
}

fn same_owner(one: &Stat, other: &Stat) -> bool {
    (one.st_uid, one.st_gid) == (other.st_uid, other.st_gid)
}

fn is_not_permitted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// Whether the filesystem has no such thing at all.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}
