//! What is written at the end of a copy has a place of its own.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fs::call::FileType;

use super::pair::OperandPair;
use super::resolve::Operands;
use crate::copy::options::Options;
use crate::error::{Error, Operation, Result};
use crate::fs;
use crate::tree::List;

/// When a file that is written beside the copy appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appears {
    /// Before the copy begins, so that the walk meets it.
    BeforeIt,
    /// When it is over.
    BehindIt,
}

impl Operands {
    /// What a file would take the place of: a source, or the copy of one. Nothing if the file is no
    /// part of the copy as far as that is known before it.
    pub fn has(&self, file: &Path, appears: Appears, options: &Options) -> Result<Option<PathBuf>> {
        let place = real_place(file)?;
        for pair in &self.pairs {
            let source = pair.source.path();
            for side in [&source, &pair.target.path()] {
                let below = match (place.strip_prefix(real_place(side)?), file.strip_prefix(side)) {
                    (Ok(below), _) | (_, Ok(below)) => below,
                    _ => continue,
                };
                let has_no_name = below.as_os_str().is_empty();
                let at = |root: &Path| if has_no_name { root.to_owned() } else { root.join(below) };
                let is_met = appears == Appears::BeforeIt && *side == source && !has_no_name;
                let is_there = at(&source).symlink_metadata().map_or(is_met, |stat| !stat.is_dir());
                if is_there && pair.copies(below, options) {
                    return Ok(Some(at(side)));
                }
            }
        }
        Ok(None)
    }
}

impl OperandPair {
    /// Whether a file below this operand, or the operand itself, is not left out by its name.
    fn copies(&self, below: &Path, options: &Options) -> bool {
        if !self.is_dir() {
            let name = self.source.name.as_bytes();
            return !options.filter.excludes(name, FileType::RegularFile);
        }
        let is_listed = |list: &List| list.is_everything() || list.covers(below);
        !options.filter.leaves_out(below, FileType::RegularFile)
            && options.list.as_ref().is_none_or(is_listed)
    }
}

/// A path with the folder that it is in as it really is, if that exists.
fn real_place(path: &Path) -> Result<PathBuf> {
    let here = Path::new(".");
    let real = |path: &Path| match fs::canonical(path) {
        Ok(real) => Ok(Some(real)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::new(Operation::Resolve, path, cause)),
    };
    if path.as_os_str().is_empty() || path.is_dir() {
        let path = if path.as_os_str().is_empty() { here } else { path };
        return Ok(real(path)?.unwrap_or_else(|| path.to_owned()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(here);
    Ok(match (real(folder)?, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    })
}
