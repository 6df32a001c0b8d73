//! What was being done when something failed.

use std::fmt;

/// Makes the enum and its words from one table.
macro_rules! operations {
    ($($name:ident => $words:literal,)*) => {
        /// An operation on a path: the verb phrase that goes after "cannot".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = concat!("\"", $words, "\"")] $name,)*
        }

        impl Operation {
            /// The verb phrase, as messages and `--json` have it.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

operations! {
    AllocateBuffers => "allocate buffers for",
    AllocateSpace => "allocate space for",
    AskAbout => "ask about",
    Audit => "audit",
    AwaitIo => "wait for I/O on",
    BeginToCheck => "begin to check",
    BeginToHash => "begin to hash",
    BelieveAll => "use all of",
    Check => "check",
    ChangeTo => "change to directory",
    Clone => "clone",
    CloseTemporary => "close the temporary of",
    Compare => "compare",
    Copy => "copy",
    CopyDirectory => "copy directory",
    CopyDirectoryTo => "copy directory to",
    CopyFromListBelow => "copy from a list below",
    CopyInto => "copy into",
    CopySeveralFilesInto => "copy several files into",
    CopyWithParents => "copy with parents",
    CopyWithParentsInto => "copy with parents into",
    Create => "create",
    CreateDirectory => "create directory",
    CreateHardLink => "create hard link",
    CreateJournal => "create the journal",
    CreateLink => "create link",
    CreateSpecialFile => "create special file",
    CreateSymbolicLink => "create symbolic link",
    Finish => "finish",
    FollowLink => "follow link",
    Fsync => "fsync",
    FsyncDirectory => "fsync directory",
    FsyncJournal => "fsync the journal",
    Hash => "hash",
    HashDirectory => "hash directory",
    Link => "link",
    List => "list",
    ListAsFailed => "list as failed",
    ListAttributes => "list attributes of",
    ListDirectory => "list directory",
    MakeBackup => "make a backup of",
    Open => "open",
    OpenDirectory => "open directory",
    OpenJournal => "open the journal",
    OpenLog => "open the log",
    OpenTemporary => "open the temporary of",
    Publish => "move the finished copy to",
    PutBack => "restore the original file from the backup",
    Read => "read",
    ReadAcl => "read ACL of",
    ReadAttribute => "read attribute of",
    ReadBack => "read back",
    ReadDefaultAcl => "read default ACL of",
    ReadJournal => "read the journal",
    ReadLink => "read link",
    ReadLinks => "read the temporary file of hard links in",
    RemoveJournal => "remove the journal",
    RemoveTemporary => "remove the temporary of",
    RepairFrom => "repair from",
    Replace => "replace",
    Resolve => "resolve",
    Resume => "resume",
    ResumeFrom => "resume from",
    Seek => "seek in",
    SetAcl => "set ACL of",
    SetAttribute => "set attribute of",
    SetAttributes => "set attributes of",
    SetDefaultAcl => "set default ACL of",
    SetMode => "set mode of",
    SetOwner => "set owner of",
    SetSize => "set the size of",
    SetTimes => "set times of",
    Stat => "stat",
    StatTemporary => "stat the temporary of",
    Syncfs => "syncfs",
    UseJournal => "use the journal",
    UseTemporary => "use a temporary file in",
    Verify => "verify",
    Write => "write",
    WriteInto => "write into",
    WriteJournal => "write the journal",
    WriteLog => "write the log",
    WriteThroughDanglingLink => "write through dangling link",
    WriteTo => "write to",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
