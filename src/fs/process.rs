//! What the process may have, and what it gives to new files.

use std::path::{Path, PathBuf};

use crate::sys::call::Mode;
use rustix::process::{Rlimit, setrlimit};

use crate::sys::limit::{Resource, limit};

/// The process's umask, as /proc tells it since Linux 4.7. Else it can be asked for only by setting
/// it: no other thread should be making files meanwhile. See umask(2).
pub fn umask() -> u32 {
    told_umask().unwrap_or_else(umask_by_setting)
}

/// The process's umask, if /proc tells it.
pub fn told_umask() -> Option<u32> {
    umask_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn umask_of(status: &str) -> Option<u32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok()
}

fn umask_by_setting() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

/// Raises the process's limit of open files to the most that it may have; see getrlimit(2). A
/// refusal changes nothing.
pub fn raise_open_files_limit() {
    let Some(most) = limit(Resource::Files).hard else { return };
    // Refused only where the hard limit was lowered meanwhile; then the old soft limit holds, and
    // EMFILE tells.
    let _unchanged = setrlimit(
        rustix::process::Resource::Nofile,
        Rlimit { current: Some(most), maximum: Some(most) },
    );
}

/// How many files the process may have open: the soft limit of `RLIMIT_NOFILE`, if there is one.
pub fn open_files_limit() -> Option<u64> {
    limit(Resource::Files).soft
}

/// How many bytes of addresses `RLIMIT_AS`, which is `ulimit -v`, leaves the process; none without
/// a limit.
pub fn addresses_left_bytes() -> Option<u64> {
    let limit = limit(Resource::Addresses).soft?;
    Some(limit.saturating_sub(Used::read().addresses))
}

/// How much memory the process may still take: the least that `RLIMIT_AS`, `RLIMIT_DATA` and the
/// memory limits of its cgroups leave. None where nothing limits it, or where `/proc` does not say.
pub fn memory_left_bytes() -> Option<u64> {
    let (addresses, data) = (limit(Resource::Addresses).soft, limit(Resource::Data).soft);
    let cgroup = cgroup_limit_bytes();
    if addresses.is_none() && data.is_none() && cgroup.is_none() {
        return None;
    }
    let used = Used::read();
    let limits = [(addresses, used.addresses), (data, used.data), (cgroup, used.resident)];
    limits.into_iter().filter_map(|(limit, used)| Some(limit?.saturating_sub(used))).min()
}

/// The memory that the process has, in bytes; see `/proc/PID/statm` in proc(5).
#[derive(Default)]
struct Used {
    addresses: u64,
    resident: u64,
    data: u64,
}

impl Used {
    /// Nothing where there is no /proc: then a limit itself is what is left of it.
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let page_bytes = rustix::param::page_size() as u64;
        let mut fields =
            text.split(' ').map(|pages| pages.parse::<u64>().unwrap_or(0) * page_bytes);
        let (addresses, resident) = (fields.next(), fields.next());
        let data = fields.nth(3);
        let [addresses, resident, data] =
            [addresses, resident, data].map(|bytes| bytes.unwrap_or(0));
        Self { addresses, resident, data }
    }
}

/// The least memory limit of the cgroups that the process is in; see cgroups(7).
fn cgroup_limit_bytes() -> Option<u64> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = cgroup_limit_files(&cgroups).into_iter().filter_map(|path| {
        // "max", and files that are not there, are no limits.
        std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    });
    limits.min()
}

/// The files that hold those limits, of the second and the first version of cgroups.
fn cgroup_limit_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let ancestors = Path::new(path.trim_start_matches('/')).ancestors();
        files.extend(ancestors.map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_every_cgroup_above() {
        let files = |text| {
            let files = cgroup_limit_files(text);
            files.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            files("3:cpu,cpuacct:/x\n2:memory:/a:b\n0::/c/d\n1:name=systemd:/y\nodd\n"),
            [
                "/sys/fs/cgroup/memory/a:b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/c/d/memory.max",
                "/sys/fs/cgroup/c/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no umask")]
    fn the_umask_is_the_one_that_is_told() {
        assert_eq!(umask_of("Name:\tx\nUmask:\t0027\nState:\tR\n"), Some(0o027));
        assert_eq!(umask_of("Name:\tx\n"), None);
        assert_eq!(umask(), umask_by_setting());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no /proc")]
    fn the_memory_that_is_used_is_known() {
        let used = Used::read();
        assert!(used.addresses > used.data && used.data > 0 && used.resident > 0);
    }
}
