//! What filesystem a path is on, in the words of proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::open_path_behind;
use crate::sys::call::CWD;

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its kind, as "ext4".
    pub kind: String,
    /// What is mounted, as "/dev/sda1".
    pub device: OsString,
    /// Where it is mounted.
    pub point: OsString,
}

/// What a path is on, or the nearest folder above it that there is; nothing where /proc does not
/// say.
pub fn mount_of(path: &Path) -> io::Result<Option<Mount>> {
    let path = std::path::absolute(path)?;
    let opened = path.ancestors().find_map(|path| open_path_behind(CWD, path.as_os_str()).ok());
    let Some(opened) = opened else { return Ok(None) };
    let Some(number) = mount_number(&opened)? else { return Ok(None) };
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|&byte| byte == b'\n').find_map(|line| Mount::of(line, &number)))
}

/// The number of the mount that a descriptor is on, see proc_pid_fdinfo(5).
fn mount_number(file: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    Ok(number.map(|number| number.trim().into()))
}

impl Mount {
    /// A line of the table, if it is that of this mount:
    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn of(line: &[u8], number: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        if fields.next()? != number {
            return None;
        }
        let point = unescaped(fields.nth(3)?);
        fields.find(|&field| field == b"-")?;
        let kind = String::from_utf8_lossy(fields.next()?).into_owned();
        Some(Self { kind, device: unescaped(fields.next()?), point })
    }
}

/// A field without its escapes: `\040` is a space.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_taken_apart() {
        let line = br"36 35 98:0 / /mnt/my\040disk rw shared:1 master:2 - fuse.x /dev/a\134b rw";
        let mount = Mount::of(line, b"36").unwrap();
        assert_eq!(
            (&*mount.kind, mount.device.to_str(), mount.point.to_str()),
            ("fuse.x", Some(r"/dev/a\b"), Some("/mnt/my disk"))
        );
        assert_eq!(Mount::of(line, b"3"), None);
        assert_eq!(Mount::of(b"36 35", b"36"), None);
        assert_eq!(Mount::of(b"", b"36"), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no /proc")]
    fn what_is_not_there_is_on_what_its_folder_is_on() {
        let proc = mount_of(Path::new("/proc/self")).unwrap().unwrap();
        assert_eq!((&*proc.kind, proc.point.to_str()), ("proc", Some("/proc")));
        let missing = mount_of(Path::new("/proc/self/not/there")).unwrap().unwrap();
        assert_eq!(missing, proc);
    }
}
