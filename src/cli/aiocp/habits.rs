//! What rsync's users type out of habit, where it means something else here.
//!
//! Short options mean what they mean in cp. Where the words look like rsync's meaning and would
//! copy something else than was meant, they are refused; where they only do less, a line says so.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::args::Args;
use crate::copy::Destination;
use crate::error::quoted;

/// Short options of aiocp that take a value.
const WITH_VALUE: [char; 2] = ['t', 'S'];

/// The short options of rsync that take no value: what may stand together in one word.
const OF_RSYNC: &str = "avqrRbudlLkKHpEAXogDtUNOJSnWxIzmyCFhPics0";

/// A command line that is refused, and what helps.
pub struct Refused {
    pub what: String,
    pub hint: String,
}

/// Short options in one word, as in `-avP`.
struct Cluster {
    word: String,
    /// All options of the word.
    options: String,
    value: Option<Value>,
}

/// The value of the last option of a cluster.
struct Value {
    option: char,
    text: OsString,
    is_attached: bool,
}

impl Cluster {
    /// Whether the letters behind an option are read as its value, and are options of rsync.
    fn swallows_options(&self, option: char) -> Option<&OsStr> {
        let value = self.value.as_ref().filter(|value| value.option == option)?;
        let letters = value.text.to_str()?;
        let stand_together = value.is_attached && self.options.len() > 1;
        let are_options = stand_together && letters.chars().all(|c| OF_RSYNC.contains(c));
        (are_options && !Path::new(letters).exists()).then_some(&value.text)
    }
}

/// The clusters of a command line, up to `--`.
fn clusters(words: &[OsString]) -> Vec<Cluster> {
    let mut found = Vec::new();
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let Some(text) = word.to_str().and_then(|word| word.strip_prefix('-')) else { continue };
        if text.is_empty() || text.starts_with('-') {
            continue;
        }
        let end = text.find(WITH_VALUE).map_or(text.len(), |at| at + 1);
        let (options, attached) = text.split_at(end);
        let option = options.chars().last().filter(|option| WITH_VALUE.contains(option));
        let value = option.and_then(|option| {
            let is_attached = !attached.is_empty();
            let text = if is_attached { attached.into() } else { words.next()?.clone() };
            Some(Value { option, text, is_attached })
        });
        found.push(Cluster { word: format!("-{text}"), options: options.to_owned(), value });
    }
    found
}

/// Refuses what means a copy of something else, or from or to another machine, and answers with
/// lines about options that do something else than in rsync.
pub fn check(
    words: &[OsString],
    args: &Args,
    copy: (&[PathBuf], &Destination),
) -> Result<Vec<String>, Refused> {
    let (sources, destination) = copy;
    let clusters = clusters(words);
    for cluster in &clusters {
        refuse_swallowed(cluster)?;
    }
    let mut lines = Vec::new();
    lines.extend(times_or_target(&clusters, sources)?);
    refuse_hosts(sources, destination)?;
    let all: String = clusters.iter().map(|cluster| cluster.options.as_str()).collect();
    let has = |options: &str| options.chars().all(|option| all.contains(option));
    if has("nv") && !args.seeing.dry_run {
        lines.push(
            "warning: -n is --no-clobber, as in cp, and no dry run; --dry-run is one".to_owned(),
        );
    }
    if has("rl") && !has("a") {
        lines.push(
            "warning: -l makes hard links instead of copies, as in cp; symbolic links are kept \
             without it"
                .to_owned(),
        );
    }
    if has("aP") {
        lines.push(
            "hint: -P is --no-dereference, as in cp; rsync's -P is --progress and --resume"
                .to_owned(),
        );
    }
    if has("aH") {
        lines.push(
            "hint: -H follows links given as SOURCE, as in cp; hard links are kept without it"
                .to_owned(),
        );
    }
    if has("aR") && sources.iter().any(|source| has_folders(source)) {
        lines.push("hint: -R is --recursive, as in cp; rsync's -R is --parents".to_owned());
    }
    if has("a")
        && let Some(line) = contents_or_directory(sources, destination)
    {
        lines.push(line);
    }
    Ok(lines)
}

/// `-rtv` and `-aSv` are options of rsync that stand together.
fn refuse_swallowed(cluster: &Cluster) -> Result<(), Refused> {
    let word = quoted(&cluster.word);
    if let Some(value) = cluster.swallows_options('t') {
        return Err(Refused {
            what: format!("{word} names {} as the directory to copy into", quoted(value)),
            hint: "leave out -t, which is --target-directory: times are kept without it".to_owned(),
        });
    }
    let is_cp = !cluster.options.contains(['a', 'r']) || cluster.options.contains('b');
    match cluster.swallows_options('S') {
        Some(value) if !is_cp => Err(Refused {
            what: format!("{word} gives backups the suffix {}", quoted(value)),
            hint: "leave out -S, which is --suffix: holes are kept without it".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// `-rt A B` copies B into the directory A, and looks like rsync's copy of A to B.
fn times_or_target(clusters: &[Cluster], sources: &[PathBuf]) -> Result<Option<String>, Refused> {
    let is_times = |cluster: &&Cluster| {
        let is_separate =
            cluster.value.as_ref().is_some_and(|value| value.option == 't' && !value.is_attached);
        is_separate && cluster.options.len() > 1
    };
    let Some((cluster, value)) = clusters
        .iter()
        .find(is_times)
        .and_then(|cluster| cluster.value.as_ref().map(|value| (cluster, value)))
    else {
        return Ok(None);
    };
    let (directory, Some(last)) = (Path::new(&value.text), sources.last()) else { return Ok(None) };
    let (into, from) = (quoted(directory), quoted(last));
    let wrong = match (directory.is_dir(), last.symlink_metadata().is_ok()) {
        (true, true) => None,
        (true, false) => Some(format!("there is no SOURCE {from}")),
        (false, _) if directory.exists() => Some(format!("{into} is not a directory")),
        // A missing directory is no SOURCE of rsync either.
        (false, _) => None,
    };
    if let Some(wrong) = wrong {
        let word = quoted(&cluster.word);
        return Err(Refused {
            what: format!("{word} names {into} as the directory to copy into, and {wrong}"),
            hint: "leave out -t, which is --target-directory: times are kept without it".to_owned(),
        });
    }
    let is_either = sources.len() == 1 && directory.is_dir() && last.is_dir();
    Ok(is_either.then(|| {
        format!(
            "warning: -t names the directory to copy into: {from} is copied into {into}; times \
             are kept without -t"
        )
    }))
}

/// A path with a colon that no slash precedes is one on another machine, as in rsync and scp.
fn refuse_hosts(sources: &[PathBuf], destination: &Destination) -> Result<(), Refused> {
    let missing = sources.iter().filter(|source| source.symlink_metadata().is_err());
    let place = destination.path();
    let Some(path) = missing.map(PathBuf::as_path).chain([place]).find(|path| names_host(path))
    else {
        return Ok(());
    };
    let name = quoted(path);
    let local = quoted(Path::new(".").join(path));
    Err(match path.as_os_str().as_bytes().windows(3).any(|part| part == b"://") {
        true => Refused {
            what: format!("{name} is an address, and aiocp copies on this machine alone"),
            hint: "rsync copies from and to rsync://, and curl from most others".to_owned(),
        },
        false => Refused {
            what: format!("{name} names another machine, and aiocp copies on this one alone"),
            hint: format!("sshfs mounts it, and rsync copies over ssh; {local} is a file here"),
        },
    })
}

fn names_host(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let at = |wanted| bytes.iter().position(|&byte| byte == wanted);
    at(b':').is_some_and(|colon| colon > 0 && at(b'/').is_none_or(|slash| colon < slash))
}

/// Whether a path leads through folders, which rsync's `-R` makes again.
fn has_folders(path: &Path) -> bool {
    path.components().count() > 1
}

/// A slash at the end of SOURCE stands for the directory's contents in rsync, and for nothing in
/// cp.
fn contents_or_directory(sources: &[PathBuf], destination: &Destination) -> Option<String> {
    let Destination::Either(place) = destination else { return None };
    let ends_in_slash = |path: &&PathBuf| path.as_os_str().as_bytes().ends_with(b"/");
    let source = sources.iter().find(ends_in_slash).filter(|source| source.is_dir())?;
    let copy = place.join(source.file_name()?);
    let (source, copy) = (quoted(source), quoted(copy));
    place.is_dir().then(|| {
        format!(
            "hint: {source} becomes {copy}, as in cp; with -T its contents are merged into DEST"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_together_up_to_one_that_takes_a_value() {
        let words: Vec<OsString> =
            ["-avt", "dir", "-Sv", "--exclude", "a", "-t", "-", "-x", "--", "-n"]
                .map(OsString::from)
                .into();
        let found: Vec<_> = clusters(&words)
            .into_iter()
            .map(|Cluster { options, value, .. }| (options, value.map(|value| value.text)))
            .collect();
        let wanted = [("avt", Some("dir")), ("S", Some("v")), ("t", Some("-")), ("x", None)];
        let wanted = wanted.map(|(options, text)| (options.to_owned(), text.map(OsString::from)));
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_colon_before_any_slash_names_a_host() {
        for (path, names) in [
            ("host:path", true),
            ("user@host:", true),
            ("rsync://host/module", true),
            ("host::module/path", true),
            ("./host:path", false),
            ("dir/a:b", false),
            ("/a:b", false),
            (":a", false),
            ("plain", false),
        ] {
            assert_eq!(names_host(Path::new(path)), names, "{path}");
        }
    }
}
