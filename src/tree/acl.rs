//! The extended attributes that hold ACLs, see acl(5) and include/uapi/linux/posix_acl_xattr.h.

use std::ffi::CStr;

/// Who may use the file.
pub use crate::fs::ACL as ACCESS;
/// What new files in the directory get.
pub const DEFAULT: &CStr = c"system.posix_acl_default";

const VERSION: [u8; 4] = 2u32.to_le_bytes();
const ENTRY_BYTES: usize = 8;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;

/// What the ACL lets the owning group do, as the three bits of a mode. Bytes that are no ACL allow
/// nothing.
///
/// The mode of a file with an ACL has the mask in their place. Once the ACL is gone, the mask would
/// give the group more than it had.
pub fn group_bits(acl: &[u8]) -> u32 {
    let Some(entries) = acl.strip_prefix(&VERSION) else { return 0 };
    let find = |tag: u16| {
        let mut entries = entries.chunks_exact(ENTRY_BYTES);
        let entry = entries.find(|entry| u16::from_le_bytes([entry[0], entry[1]]) == tag)?;
        Some(u32::from(u16::from_le_bytes([entry[2], entry[3]])) & 0o7)
    };
    find(GROUP_OBJ).unwrap_or(0) & find(MASK).unwrap_or(0o7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_gets_what_its_entry_and_the_mask_allow() {
        let acl = |entries: &[(u16, u16)]| {
            let entry = |&(tag, bits): &(u16, u16)| {
                [tag.to_le_bytes(), bits.to_le_bytes(), [0xff; 2], [0xff; 2]].concat()
            };
            [VERSION.to_vec(), entries.iter().flat_map(entry).collect()].concat()
        };
        assert_eq!(group_bits(&acl(&[(1, 6), (2, 7), (GROUP_OBJ, 4), (MASK, 7), (0x20, 0)])), 4);
        assert_eq!(group_bits(&acl(&[(1, 6), (GROUP_OBJ, 7), (MASK, 5)])), 5);
        assert_eq!(group_bits(&acl(&[(1, 6), (GROUP_OBJ, 6)])), 6);
        assert_eq!(group_bits(&[]), 0);
    }
}
