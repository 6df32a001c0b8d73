//! **aiocp** copies files and trees on Linux at the speed of the device, and knows the BLAKE3 hash
//! of what it moved.
//!
//! ```text
//!  walk ──► batch ──► worker ─┬─ small ─► read, hash, write ───────────┬─► sync ─► publish
//! (tree)   (names)   (opens)  │                                        │  (batch)
//!                             └─ big ──► pipeline: pread ─► block ─┬─► pwrite
//!                                        (N in flight, one context)└─► hash
//! ```
//!
//! - [`copy`] is the way in: operands, options, and the route from there.
//! - [`digest`] assembles a BLAKE3 hash from blocks that arrive in any order.
//! - [`report`] is what happened, as data; [`sum`] the manifests; [`cli`] the command line.
//! - [`fs`] is the file system, by descriptor.
//!
//! The other rooms are this crate's own: `pipeline` moves and hashes blocks of big files, `tree`
//! is what a tree is, `workers` are the threads, and `sys` alone has `unsafe` in it.
//! The asynchronous I/O is a package of its own, [`linux_aio`].
//!
//! ```
//! use aiocp::copy::{Destination, Operands, Options, copy};
//! use aiocp::report::{Event, Sink, Totals};
//!
//! struct Errors;
//! impl Sink for Errors {
//!     fn event(&self, event: Event) {
//!         if let Event::Failed(error) = event {
//!             eprintln!("{error}");
//!         }
//!     }
//!     fn wants_files(&self) -> bool {
//!         false
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let (from, to) = (folder.path().join("from"), folder.path().join("to"));
//! std::fs::write(&from, "data")?;
//! let destination = Destination::Either(to.clone());
//! let (operands, refused) = Operands::resolve(&[from], &destination, &Options::default())?;
//! assert!(refused.is_empty());
//! let totals = Totals::default();
//! copy(&operands, &Options::default(), &Errors, &totals)?;
//! assert_eq!(Totals::get(&totals.failed), 0);
//! assert_eq!(std::fs::read(to)?, b"data");
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod copy;
pub mod digest;
pub mod error;
pub mod fs;
pub(crate) mod pipeline;
pub mod report;
pub mod sum;
pub(crate) mod sys;
pub(crate) mod tree;
pub(crate) mod units;
pub(crate) mod workers;

/// The examples of the book's page about the library, for `cargo test --doc`.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
pub struct LibraryPage;
