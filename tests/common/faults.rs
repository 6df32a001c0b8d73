//! Copies in which system calls fail, under strace(1): the folder, the command, and many at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{describe, folder, noise, run_limited};

/// How many copies run at once. They mostly wait.
const THREADS: usize = 3;

/// The folder of one copy, in which an old one stands.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// One with files of all sizes, links and what they replace.
    pub fn new() -> Self {
        let place = Self { folder: folder() };
        let (source, target) = (place.source(), place.target());
        fs::create_dir_all(source.join("below/deeper")).unwrap();
        fs::create_dir_all(target.join("below")).unwrap();
        fs::write(source.join("below/small"), noise(5000, 1)).unwrap();
        fs::write(source.join("below/replaced"), noise(7000, 2)).unwrap();
        fs::write(source.join("below/deeper/empty"), "").unwrap();
        fs::write(source.join("big"), noise((1 << 20) + 4097, 3)).unwrap();
        fs::write(source.join("replaced-big"), noise(3 << 19, 4)).unwrap();
        fs::hard_link(source.join("below/small"), source.join("hard")).unwrap();
        symlink("below/small", source.join("link")).unwrap();
        fs::set_permissions(source.join("below/small"), fs::Permissions::from_mode(0o640)).unwrap();
        for name in ["below/small", "below/replaced", "big", "replaced-big"] {
            super::set_times(&source.join(name), 1_500_000_000, 123_456_789);
        }
        for name in ["below/replaced", "replaced-big"] {
            fs::write(target.join(name), "old").unwrap();
            super::set_times(&target.join(name), 1_400_000_000, 0);
        }
        for name in ["below/deeper", "below", ""] {
            super::set_times(&source.join(name), 1_300_000_000, 5);
        }
        place
    }

    /// One with more of each kind, so that what fails for all of a kind fails for several.
    pub fn rich() -> Self {
        let place = Self::new();
        let at = |name: &str| place.source().join(name);
        fs::create_dir(at("many")).unwrap();
        for n in 0..24 {
            fs::write(at(&format!("many/{n}")), noise(n * 300, n as u64)).unwrap();
        }
        for (name, start_bytes, len_bytes) in
            [("hole-small", 4096, 70_000), ("hole-big", 1 << 20, (3 << 20) + 5)]
        {
            let file = fs::File::create(at(name)).unwrap();
            file.set_len(len_bytes).unwrap();
            file.write_all_at(b"data", start_bytes).unwrap();
        }
        symlink("many/1", at("many/link")).unwrap();
        fs::hard_link(at("many/1"), at("many/hard")).unwrap();
        super::cold_file(&at("cold"), 2);
        for name in ["many", ""] {
            super::set_times(&at(name), 1_300_000_000, 5);
        }
        place
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub fn target(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    pub fn arguments(&self) -> [PathBuf; 3] {
        ["-T".into(), self.source(), self.target()]
    }

    /// What the copy is to be like.
    pub fn is_copied(&self) -> Result<(), String> {
        let (wanted, found) = (describe(&self.source()), describe(&self.target()));
        let names = wanted.keys().chain(found.keys()).collect::<BTreeSet<_>>();
        for name in names {
            if wanted.get(name) != found.get(name) {
                let (wanted, found) = (wanted.get(name), found.get(name));
                return Err(format!("{name:?} is {found:?} and not {wanted:?}"));
            }
        }
        let stat = |name: &str| fs::metadata(self.target().join(name)).unwrap();
        match stat("hard").ino() == stat("below/small").ino() {
            true => Ok(()),
            false => Err("the hard link is a copy".to_owned()),
        }
    }

    /// Whether all names are there with their data, whatever else they have.
    pub fn has_all_data(&self) -> Result<(), String> {
        let data = |root: &Path| {
            let described = describe(root).into_iter();
            // Behind mode and time.
            described
                .map(|(name, line)| (name, line.splitn(3, ' ').nth(2).map(str::to_owned)))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        match data(&self.source()) == data(&self.target()) {
            true => Ok(()),
            false => Err("not all data is there".to_owned()),
        }
    }

    /// Whether each name has its old contents or its new ones.
    pub fn is_old_or_new(&self) -> Result<(), String> {
        for entry in walkdir::WalkDir::new(self.target()) {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(self.target()).unwrap();
            if name.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".aiocp-")) {
                continue;
            }
            let source = self.source().join(name);
            let Ok(wanted) = fs::symlink_metadata(&source) else {
                return Err(format!("{name:?} is new"));
            };
            if wanted.file_type() != entry.file_type() {
                return Err(format!("{name:?} is of another kind"));
            }
            if entry.file_type().is_file() {
                let found = fs::read(entry.path()).unwrap();
                let was_there = name.to_string_lossy().contains("replaced");
                if found != fs::read(&source).unwrap() && !(was_there && found == b"old") {
                    return Err(format!("{name:?} has {} bytes, and others", found.len()));
                }
            }
        }
        Ok(())
    }
}

/// The seed of this run's random choices, which is printed.
pub fn seed() -> String {
    let seed = std::env::var("AIOCP_SEED").unwrap_or_else(|_| {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).unwrap();
        u64::from_ne_bytes(bytes).to_string()
    });
    println!("AIOCP_SEED={seed}");
    seed
}

/// Random choices that depend on the seed and on what is chosen.
pub fn random(seed: &str, what: &str) -> fastrand::Rng {
    let hash = blake3::hash(format!("{seed} {what}").as_bytes());
    fastrand::Rng::with_seed(u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()))
}

/// Whether a case was asked for by its call in `AIOCP_SWEEP`, which may be `all`. Nothing if
/// nothing was asked for, and a sample does.
pub fn is_wanted(call: &str) -> Option<bool> {
    let wanted = std::env::var("AIOCP_SWEEP").ok().filter(|wanted| !wanted.is_empty())?;
    Some(wanted == "all" || wanted.split(',').any(|name| call.split(',').any(|one| one == name)))
}

/// Copies in `place` while strace injects these faults, each `CALLS:error=ERROR:when=...`.
pub fn copy_with(place: &Place, options: &[&str], faults: &[String]) -> Output {
    let calls: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    let trace = format!("trace={}", calls.join(","));
    let mut strace = ["--seccomp-bpf", "-qq", "-e", &trace].map(str::to_owned).to_vec();
    for fault in faults {
        strace.extend(["-e".to_owned(), format!("inject={fault}")]);
    }
    let strace: Vec<&str> = strace.iter().map(String::as_str).collect();
    let mut command = super::strace(&strace, Path::new("/dev/null"));
    // The loader looks for libraries wherever cargo tells it to.
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUST_BACKTRACE");
    run_limited(command.args(options).args(place.arguments()))
}

/// Whether a command ended in a panic.
pub fn has_panicked(stderr: &str) -> bool {
    let words = ["panicked", "internal error", "overflow", "memory allocation of"];
    words.iter().any(|word| stderr.contains(word))
}

/// Tries all cases, some at once, and prints what went wrong as soon as it is known.
pub fn try_all<C: Sync>(
    cases: &[C],
    attempt: impl Fn(&C) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(what) = attempt(case) {
                eprintln!("{what}");
                failures.lock().unwrap().push(what);
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    failures.into_inner().unwrap()
}
