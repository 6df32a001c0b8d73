//! Options of rsync and cp that aiocp has not: what does the same here.

/// Options that mean the same to their users, and what these are answered.
struct Foreign {
    options: &'static [&'static str],
    word: &'static str,
}

const fn foreign(options: &'static [&'static str], word: &'static str) -> Foreign {
    Foreign { options, word }
}

const NO_NETWORK: &str = "aiocp copies on this machine alone; rsync and sshfs reach another one";
const KEPT: &str = "leave it out: it is kept by default";
const RESUMES: &str = "--resume continues an interrupted copy, if the first run had it too";
const LINKS: &str = "leave it out: symbolic links are copied as links";
const OWNERS: &str = "-p or --preserve=ownership keeps owner and group";
const NO_OWNERS: &str =
    "owners are kept by -p and -a alone; --no-preserve=ownership takes them out";
const SPECIALS: &str = "-a copies FIFOs, sockets and devices as what they are";
const NO_SPECIALS: &str = "only -a copies special files; -p keeps owners without them";
const DELETES: &str =
    "not yet: aiocp removes nothing from DEST; --verify-only prints what is extra there";
const UNCHANGED: &str = "not yet; -u replaces only files that are older than their SOURCE";
const SNAPSHOTS: &str =
    "not yet; 'aiocp -l' makes a tree of hard links, and a copy into it replaces what it changes";
const ALL_COPIED: &str = "leave it out: what is not left alone by -n or -u is copied whole";
const MAPPED: &str = "not yet: chmod and chown change the copy afterwards";
const LINK_CHOICE: &str = "not yet: links are copied as links, or followed by -L";
const PATTERNS: &str = "--exclude and --include take rsync's patterns; the first match counts";
const EVENTS: &str = "-v prints each file, --json each event";

/// Short options stand before the long ones that they abbreviate.
const TABLE: &[Foreign] = &[
    foreign(
        &["-z", "--compress", "--compress-level", "--compress-choice", "--skip-compress"],
        "leave it out: nothing goes over a network, so nothing is compressed",
    ),
    foreign(&["--info"], "--progress shows progress, -v prints each file, --stats the totals"),
    foreign(&["--partial", "--partial-dir", "--append", "--append-verify"], RESUMES),
    foreign(&["--links"], LINKS),
    foreign(&["--no-links", "--no-l"], "not yet: --exclude leaves single links out"),
    foreign(&["-k", "--copy-links", "--copy-dirlinks"], "-L follows all symbolic links"),
    foreign(&["--copy-unsafe-links", "--safe-links", "--munge-links"], LINK_CHOICE),
    foreign(
        &["-K", "--keep-dirlinks", "--keep-directory-symlink"],
        "not yet; for DEST itself, a slash at its end follows the link",
    ),
    foreign(
        &["-c", "--checksum"],
        "not yet; --verify-only compares contents, and with --repair also copies what differs",
    ),
    foreign(&["--ignore-existing"], "-n, --no-clobber leaves existing files alone"),
    foreign(&["--existing", "--ignore-non-existing"], "not yet: what DEST lacks is always copied"),
    foreign(&["-@", "--modify-window", "--size-only"], UNCHANGED),
    foreign(&["-I", "--ignore-times", "-W", "--whole-file", "--no-whole-file"], ALL_COPIED),
    foreign(
        &[
            "--del",
            "--delete",
            "--delete-before",
            "--delete-during",
            "--delete-delay",
            "--delete-after",
            "--delete-excluded",
            "--delete-missing-args",
            "--ignore-errors",
            "--max-delete",
        ],
        DELETES,
    ),
    foreign(
        &["--remove-source-files"],
        "not yet: aiocp removes nothing; rm SOURCE after --verify-only has ended with 0",
    ),
    foreign(
        &["--human-readable"],
        "leave it out: --stats, --progress and the report have readable sizes",
    ),
    foreign(&["--numeric-ids"], "leave it out: -p and -a keep owners by number"),
    foreign(&["-A", "--acls"], "leave it out: ACLs are kept with the mode"),
    foreign(&["-X", "--xattrs"], "-a or --preserve=xattr keeps extended attributes"),
    foreign(&["--hard-links", "--perms", "--times", "-E", "--executability"], KEPT),
    foreign(&["-U", "--atimes"], KEPT),
    foreign(&["-N", "--crtimes"], "no: Linux sets no creation times"),
    foreign(&["-o", "--owner", "-g", "--group"], OWNERS),
    foreign(&["-D", "--devices", "--specials"], SPECIALS),
    foreign(&["--no-owner", "--no-o", "--no-group", "--no-g"], NO_OWNERS),
    foreign(&["--no-devices", "--no-specials", "--no-D"], NO_SPECIALS),
    foreign(&["--no-perms"], "--no-preserve=mode gives copies the modes of new files"),
    foreign(&["--no-times"], "--no-preserve=timestamps gives copies the times of new files"),
    foreign(
        &["-O", "--omit-dir-times", "-J", "--omit-link-times"],
        "not yet; --no-preserve=timestamps keeps no times at all",
    ),
    foreign(&["--context"], "--preserve=context keeps the security context of SELinux"),
    foreign(&["--relative"], "--parents recreates SOURCE's leading directories under DIRECTORY"),
    foreign(&["--no-implied-dirs", "--no-relative"], "leave it out, and --parents too"),
    foreign(
        &["--dirs", "--no-recursive", "--no-r", "--no-inc-recursive"],
        "not yet: directories are copied whole; --exclude leaves out what is in them",
    ),
    foreign(&["-m", "--prune-empty-dirs"], "not yet: empty directories are copied too"),
    foreign(&["-C", "--cvs-exclude", "-F", "--filter"], PATTERNS),
    foreign(
        &["--backup-dir"],
        "not yet; -b keeps the replaced file beside the new one, with a suffix",
    ),
    foreign(&["--link-dest", "--compare-dest", "--copy-dest", "-y", "--fuzzy"], SNAPSHOTS),
    foreign(&["--chmod", "--chown", "--usermap", "--groupmap"], MAPPED),
    foreign(&["--super", "--fake-super"], "leave it out: -a keeps owners as far as it may"),
    foreign(&["--itemize-changes", "--out-format", "--log-file-format", "--log-format"], EVENTS),
    foreign(&["--list-only"], "--dry-run prints what would be copied"),
    foreign(&["-B"], "--block-size sets the size of a block"),
    foreign(&["--checksum-choice", "--cc", "--checksum-seed"], "leave it out: hashes are BLAKE3"),
    foreign(&["--preallocate"], "leave it out: space is allocated ahead by default"),
    foreign(
        &["--temp-dir", "--delay-updates"],
        "leave it out: a file appears under its name when it is whole",
    ),
    foreign(&["--fsync"], "leave it out: copies are durable, unless --no-sync is given"),
    foreign(
        &["--stop-after", "--stop-at", "--time-limit"],
        "timeout(1) stops a run, and --resume continues it",
    ),
    foreign(&["--mkpath"], "not yet: mkdir -p makes DEST's folder"),
    foreign(&["--copy-contents", "--copy-devices", "--write-devices"], "not yet: cat and dd do it"),
    foreign(
        &["-e", "--rsh", "--rsync-path", "-M", "--remote-option", "--port", "--password-file"],
        NO_NETWORK,
    ),
    foreign(
        &["--timeout", "--contimeout", "--address", "-4", "--ipv4", "-6", "--ipv6", "--daemon"],
        NO_NETWORK,
    ),
    foreign(
        &["-8", "--8-bit-output", "--secluded-args", "--protect-args", "--no-motd"],
        "leave it out",
    ),
];

/// What a user of an option that aiocp has not is answered, if it is one of rsync's or cp's.
pub fn word(option: &str) -> Option<&'static str> {
    TABLE.iter().find(|foreign| foreign.options.contains(&option)).map(|foreign| foreign.word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_named_once_and_its_answer_is_a_line() {
        let mut options: Vec<_> = TABLE.iter().flat_map(|foreign| foreign.options).collect();
        let all = options.len();
        options.sort();
        options.dedup();
        assert_eq!(options.len(), all);
        for foreign in TABLE {
            assert!(!foreign.word.contains('\n') && foreign.word.len() <= 95, "{}", foreign.word);
        }
        assert_eq!(word("--links"), Some(LINKS));
        assert_eq!(word("--exclude"), None);
    }
}
