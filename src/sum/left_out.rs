//! What is not hashed although it is there.

use crate::fs::{FileId, Stat};
use crate::tree::Filter;

/// Which files are not hashed.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeftOut<'a> {
    /// Those of other sizes than the filter has bounds for.
    pub sizes: Option<&'a Filter>,
    /// The one that the lines go to: each line makes another file of it.
    pub output: Option<FileId>,
}

impl LeftOut<'_> {
    /// Why a file is left out, if it is.
    pub fn judge(&self, stat: &Stat) -> Option<Reason> {
        if self.output == Some(FileId::of(stat)) {
            return Some(Reason::IsOutput);
        }
        self.sizes.filter(|sizes| sizes.excludes_size(stat.st_size as u64)).map(|_| Reason::Size)
    }
}

/// Why a file is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The filter wants other sizes.
    Size,
    /// The lines go there.
    IsOutput,
}
