//! What went wrong: the operation, the path, the offset and the cause, as data.
//!
//! The library never prints, and nothing depends on an error's text; [`Error`]'s `Display` is the
//! one line that a person reads.

mod missing;
mod operation;
mod shown;
mod special;
mod unavailable;

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use missing::Missing;
pub use operation::Operation;
pub use shown::{quoted, shown};
pub use special::SpecialKind;
pub use unavailable::is_unavailable;

use crate::units;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A system call failed; the code is an `errno` value, see errno(3).
    #[error("{}", reason(.0))]
    Os(#[from] io::Error),
    /// The destination's filesystem is full, see ENOSPC in errno(3). What was left of it, the
    /// unfinished copy's own space included, came to less.
    #[error("No space left on device")]
    NoSpace {
        /// What the whole copy of the file takes, in bytes.
        needed_bytes: u64,
        /// What the filesystem had for it, in bytes; other copies may have taken it meanwhile.
        left_bytes: u64,
    },
    /// The destination's filesystem took nothing any more, and the file was not tried.
    #[error("No space left on device; it was not tried")]
    Full {
        /// What the copy of the file takes, in bytes.
        needed_bytes: u64,
    },
    /// Size, modification time or change time differ from what they were when the copy of the file
    /// began.
    #[error("the source changed while it was being copied")]
    SourceChanged,
    /// What was read back from the device is not what was written to it.
    #[error("the data read back differs from the data written")]
    NotAsWritten,
    /// Size or modification time differ from what they were when the reading of the file began.
    #[error("it changed while it was being read")]
    ChangedWhileRead,
    /// What is found is not what was listed: the name was exchanged in between.
    #[error("it was replaced after the directory was listed")]
    Swapped,
    /// What was just made is not what its name leads to.
    #[error("it was replaced right after it was created")]
    Exchanged,
    /// What was named to be copied is not there.
    #[error("No such file or directory")]
    NoSource,
    /// The folder of the destination is not there.
    #[error("No such file or directory")]
    NoFolder,
    /// The kernel alone makes what is in the folder, as in /proc and /sys.
    #[error("{}", reason(.0))]
    KernelsFolder(io::Error),
    /// The destination is named as what a process has open.
    #[error("it names an open file, and a copy would be a new one")]
    OpenFile,
    /// Source and destination are one file.
    #[error("source and destination are the same file")]
    SameFile,
    /// The destination lies in the source.
    #[error("the destination lies inside the source, {}", quoted(.0))]
    IntoItself(PathBuf),
    /// A directory stands where a file has to go.
    #[error("a directory cannot be overwritten with a non-directory")]
    DirectoryInTheWay,
    /// A FIFO, socket or device stands where a file has to go.
    #[error("a {0} is not overwritten with a file")]
    SpecialInTheWay(SpecialKind),
    /// The filesystem lets a file have no more names; see EMLINK in link(2).
    #[error(
        "the filesystem allows no more hard links to one file; this is a copy, and further names \
         are linked to it"
    )]
    TooManyNames,
    /// Something stands there, and may not be replaced.
    #[error("it exists")]
    Exists,
    /// Something stands where a link is to be made.
    #[error("it exists, and a link replaces it only on request")]
    LinkInstead,
    /// Making the backup would replace the source.
    #[error("its backup would take the place of the source")]
    BackupIsSource,
    /// A directory was reached from within itself through a symbolic link.
    #[error("a symbolic link leads back to a directory above it")]
    Cycle,
    /// A link's own contents are read from where the link stands.
    #[error("relative symbolic links can be made in the working directory alone")]
    RelativeLink,
    /// A list names what lies below a symbolic link.
    #[error("it is a symbolic link, and only -L follows it")]
    LinkOnTheWay,
    /// A path that has to be made again below the destination goes up.
    #[error("'..' would lead outside")]
    LeadsUp,
    /// Two sources would get one name.
    #[error("another source has the same name there")]
    SameName,
    /// Two names of the source are one name in the destination, which folds case or composes
    /// letters: the path of the other one.
    #[error("the destination has one name for it and {}", quoted(.0))]
    NameClash(PathBuf),
    /// A file stands where a directory has to go.
    #[error("a non-directory cannot be overwritten with a directory")]
    FileInTheWay,
    /// A FIFO, socket or device, which a copy of contents cannot keep.
    #[error("it is a {0}, which is not copied")]
    Special(SpecialKind),
    /// Something that is no regular file where only one may be read.
    #[error("it is a {0}, and no regular file")]
    NotRegular(SpecialKind),
    /// A manifest without a line that can be checked.
    #[error("no line in it is properly formatted{first}")]
    NoGoodLine {
        /// What its first line is, behind a semicolon.
        first: String,
        /// Whether more of it was left unread.
        is_cut: bool,
    },
    /// A name in a manifest leads out of the directory that is audited.
    #[error("it is outside the audited directory")]
    LeadsOutside,
    /// More output bytes than are kept for each file of a directory.
    #[error("outputs of more than {0} bytes are for files, not for directories")]
    LongOutput(u64),
    /// What is written at the end, and the file of SOURCE or of the copy whose place it would take.
    #[error("{output} would overwrite {}, and is not written", quoted(.file))]
    IsCopied {
        /// What is written, as in "the manifest".
        output: &'static str,
        /// The file.
        file: PathBuf,
    },
    /// A name for whose line no check would have room.
    #[error("its name has more than {0} bytes, and no check reads such a line")]
    LongName(usize),
    /// Standard input is a key or a manifest already.
    #[error("standard input is in use already")]
    StdinInUse,
    /// The filesystem refuses direct I/O, and nothing else was allowed.
    #[error("direct I/O was demanded, but {0}")]
    NoDirect(&'static str),
    /// An extended attribute, by name, and what the system said of it.
    #[error("{}: {}", shown(.0), reason(.1))]
    Attribute(String, io::Error),
    /// The hash of each block has to be remembered until the end.
    #[error("it has too many blocks to be hashed")]
    TooManyBlocks,
    /// A time before or after all that the destination's filesystem has numbers for.
    #[error("the filesystem cannot hold them")]
    TimeOutOfRange,
    /// A signal stopped the run.
    #[error("it was interrupted")]
    Interrupted,
    /// Another process holds the journal of this copy.
    #[error("another aiocp is at work on this copy")]
    JournalInUse,
    /// Why what was copied before is copied again.
    #[error("{0}")]
    NotResumed(&'static str),
    /// The filesystem does not clone this file into that folder.
    #[error("{}", reason(.0))]
    NoClone(io::Error),
    /// A file may be written, and nothing may take its place.
    #[error("{}", reason(.0))]
    OnlyWritten(io::Error),
    /// A file that is to be written into may not be, which another would replace.
    #[error("{}", reason(.0))]
    NotWritten(io::Error),
    /// A file that was written into, and whose copy came to nothing.
    #[error("it is only partly written, and its old contents are lost")]
    HalfWritten,
    /// A name that a list of lines cannot hold.
    #[error("there is a line break in its name")]
    LineBreak,
    /// The thread that was to answer is gone, which only a bug can bring about.
    #[error("an internal thread ended early")]
    ThreadGone,
}

impl Cause {
    /// What errno(3) says of ENOSPC.
    pub const NO_SPACE: &'static str = "No space left on device";
}

/// One failed operation on one path.
#[derive(Debug)]
pub struct Error {
    /// What could not be done.
    pub op: Operation,
    /// The path as the user would write it.
    pub path: PathBuf,
    /// Where in the file, in bytes, if the operation has a place.
    pub offset_bytes: Option<u64>,
    /// The cause.
    pub cause: Cause,
}

impl Error {
    /// An error without an offset.
    pub fn new(op: Operation, path: impl Into<PathBuf>, cause: impl Into<Cause>) -> Self {
        Self { op, path: path.into(), offset_bytes: None, cause: cause.into() }
    }

    /// The same error at `offset_bytes` of the file.
    pub fn at(mut self, offset_bytes: u64) -> Self {
        self.offset_bytes = Some(offset_bytes);
        self
    }

    /// The `errno` value behind the error, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match &self.cause {
            Cause::Os(error)
            | Cause::KernelsFolder(error)
            | Cause::OnlyWritten(error)
            | Cause::NotWritten(error) => error.raw_os_error(),
            Cause::NoSpace { .. } | Cause::Full { .. } => Some(libc::ENOSPC),
            Cause::NoSource | Cause::NoFolder => Some(libc::ENOENT),
            _ => None,
        }
    }

    /// What else a copy has than its source, if it is something that cannot be had here: as likely
    /// as not, no other copy will have it either.
    pub fn missing(&self) -> Option<Missing> {
        self.refused().map(|(missing, _)| missing)
    }

    /// The same, with the number of the error that says so.
    fn refused(&self) -> Option<(Missing, i32)> {
        let (errno, is_context) = match &self.cause {
            Cause::Attribute(name, error) => (error.raw_os_error(), name == "security.selinux"),
            _ => (self.errno(), false),
        };
        // A security module says EACCES.
        let errno =
            errno.filter(|&errno| unavailable::is_refusal(errno) || errno == libc::EACCES)?;
        let missing = if is_context { Missing::Context } else { Missing::of(self.op)? };
        Some((missing, errno))
    }

    /// What the user can do about it, as a line of its own.
    pub fn hint(&self) -> Option<String> {
        match self.cause {
            Cause::NoSpace { needed_bytes, left_bytes } => {
                let [needed, left] =
                    [needed_bytes, left_bytes].map(|part| units::bytes(part as f64));
                Some(match needed_bytes > left_bytes {
                    true => format!("this file needs {needed}, {left} free"),
                    false => format!("this file needs {needed}, which other files took"),
                })
            }
            _ => self.remedy().map(str::to_owned),
        }
    }

    /// The same in words that are the same for all files.
    pub fn remedy(&self) -> Option<&'static str> {
        let of_missing = self.refused().map(|(missing, errno)| missing.remedy(errno));
        of_missing.or_else(|| self.remedy_of_cause())
    }

    fn remedy_of_cause(&self) -> Option<&'static str> {
        match (&self.cause, self.errno()) {
            (Cause::Os(_), Some(errno)) => self.remedy_of_errno(errno),
            (Cause::SpecialInTheWay(SpecialKind::Fifo | SpecialKind::Socket), _) => {
                Some("--remove-destination replaces it")
            }
            (Cause::SpecialInTheWay(_), _) => Some("not yet: cat or dd write into a device"),
            (Cause::NoSource, _) => Some(remedy_of_missing_source(&self.path)),
            (Cause::NoFolder, _) => {
                Some("the folder that it is to go into does not exist; mkdir -p makes it")
            }
            (Cause::KernelsFolder(_), _) => {
                Some("the kernel alone makes files there; choose another DEST")
            }
            (Cause::OpenFile, _) => Some("cat writes into what is open: cat SOURCE"),
            (Cause::SameFile, _) => Some("choose another DEST: a file is not copied onto itself"),
            (Cause::IntoItself(_), _) => Some("choose a DEST outside of SOURCE"),
            (Cause::FileInTheWay | Cause::DirectoryInTheWay, _) => {
                Some("rename or remove what is there, or choose another DEST")
            }
            (Cause::LinkInstead, _) => Some("--force replaces it, --backup replaces and keeps it"),
            (Cause::BackupIsSource, _) => Some("--backup=numbered never replaces a file"),
            (Cause::Special(_), _) => Some("-a copies it as what it is"),
            (Cause::IsCopied { .. }, _) => Some("write it elsewhere, or --exclude the file"),
            (Cause::LineBreak, _) => Some("-0 writes it, and ends the names in NUL"),
            (Cause::OnlyWritten(_), _) => {
                Some("it may be written all the same: --inplace does that, as cat SOURCE > DEST")
            }
            (Cause::NotWritten(_), Some(libc::EACCES)) => {
                Some("chmod u+w lets its owner write; without --inplace it is replaced")
            }
            (Cause::NotWritten(_), _) => Some("without --inplace it is replaced"),
            (Cause::NoGoodLine { is_cut: true, .. }, _) => {
                Some("--warn reads it to its end, and names each line")
            }
            (Cause::NoClone(_), _) => Some("--reflink=auto copies what cannot be cloned"),
            (Cause::TooManyBlocks, _) => Some(
                "--block-size=64M makes 64 times fewer; holes that are only copied are not hashed",
            ),
            (Cause::NoDirect(_), _) => {
                Some("--direct=auto uses the page cache where direct I/O is refused")
            }
            _ => None,
        }
    }

    /// What helps where a system call failed with this number.
    fn remedy_of_errno(&self, errno: i32) -> Option<&'static str> {
        use Operation::{CopyInto, CopySeveralFilesInto, CopyWithParentsInto, Create};
        let is_into = matches!(self.op, CopyInto | CopySeveralFilesInto | CopyWithParentsInto);
        match errno {
            libc::EMFILE => Some("raise the limit of open files (ulimit -n)"),
            libc::ENFILE => Some("raise the whole system's limit, /proc/sys/fs/file-max"),
            libc::EAGAIN if matches!(self.op, Operation::BeginToHash | Operation::BeginToCheck) => {
                Some("raise the limit of processes (ulimit -u) or of memory (ulimit -v)")
            }
            libc::ENOSPC => {
                Some("free some space, or inodes, on the destination; df and df -i show them")
            }
            libc::EDQUOT => Some("free some of your quota on the destination; quota shows it"),
            libc::EROFS => Some(
                "the filesystem is mounted read-only, or has become so after an error; \
                 findmnt -T shows it",
            ),
            libc::EFBIG => Some("the filesystem, or ulimit -f, allows no file of this size"),
            libc::EIO if self.op != Operation::AwaitIo => {
                Some("the device failed; dmesg may say more")
            }
            libc::ENOENT if self.path.as_os_str().is_empty() => Some("the path is empty"),
            libc::EACCES => remedy_of_missing_right(self.op),
            libc::ENOTDIR if self.op == Create && ends_in_slash(&self.path) => Some(
                "a slash at the end names a directory, and there is none; leave it out, or \
                     mkdir -p makes the directory",
            ),
            libc::ENOTDIR if is_into => {
                Some("it has to be a directory; choose another one, or mkdir -p makes one")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.op, quoted(&self.path))?;
        if let Some(offset_bytes) = self.offset_bytes {
            write!(f, " at byte {offset_bytes}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

/// It has no source: its line says the cause already, and a chain would say it again.
impl std::error::Error for Error {}

/// What helps where a SOURCE is not there.
fn remedy_of_missing_source(path: &Path) -> &'static str {
    match path.as_os_str().as_bytes() {
        b"-" => "standard input is named /dev/stdin",
        name if name.iter().any(|byte| b"*?[".contains(byte)) => {
            "no name matches the pattern, so the shell left it as it is; ls shows what is there"
        }
        _ => "SOURCE comes first and DEST last; ls shows what is there",
    }
}

/// What helps where the rights do not suffice.
fn remedy_of_missing_right(op: Operation) -> Option<&'static str> {
    use Operation as Op;
    match op {
        Op::Open | Op::OpenDirectory | Op::ListDirectory | Op::Read | Op::Stat => {
            Some("its owner can let you read it (chmod), and root may read all (sudo)")
        }
        Op::Create | Op::CreateDirectory | Op::Publish | Op::Replace | Op::CopyInto => {
            Some("the folder's owner can let you write there (chmod), and root may (sudo)")
        }
        _ => None,
    }
}

fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// The text of an I/O error without the "(os error 2)" that `std` appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error") {
        Some(end) if error.raw_os_error().is_some() => text[..end].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri's strerror_r appends the number itself")]
    fn a_message_is_one_line_with_operation_path_and_reason() {
        let error = Error::new(Operation::Open, "a\nb", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "cannot open 'a\\nb': No such file or directory");
        let error = Error::new(
            Operation::Read,
            OsStr::from_bytes(b"x\xff"),
            io::Error::from_raw_os_error(5),
        )
        .at(4096);
        assert_eq!(error.to_string(), "cannot read 'x\\xff' at byte 4096: Input/output error");
        assert_eq!(error.errno(), Some(5));
    }
}
