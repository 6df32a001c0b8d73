//! The values of flags that only `aiocp` has.

use clap::ValueEnum;

use crate::copy::{EngineKind, Reflink, Sparse};

/// The values of `--sparse`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SparseArg {
    Auto,
    Always,
    Never,
}

impl From<SparseArg> for Sparse {
    fn from(arg: SparseArg) -> Self {
        match arg {
            SparseArg::Auto => Self::Auto,
            SparseArg::Always => Self::Always,
            SparseArg::Never => Self::Never,
        }
    }
}

/// The values of `--reflink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReflinkArg {
    Auto,
    Always,
    Never,
}

impl From<ReflinkArg> for Reflink {
    fn from(arg: ReflinkArg) -> Self {
        match arg {
            ReflinkArg::Auto => Self::Auto,
            ReflinkArg::Always => Self::Always,
            ReflinkArg::Never => Self::Never,
        }
    }
}

/// The values of `--engine`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EngineArg {
    /// Kernel AIO for what is direct, threads for the rest
    Kernel,
    /// glibc's POSIX AIO
    Posix,
    /// Threads that call pread and pwrite
    Threads,
}

impl From<EngineArg> for EngineKind {
    fn from(arg: EngineArg) -> Self {
        match arg {
            EngineArg::Kernel => Self::Kernel,
            EngineArg::Posix => Self::Posix,
            EngineArg::Threads => Self::Threads,
        }
    }
}
