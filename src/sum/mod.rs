//! Manifests: the lines that `b3sum` prints and checks.

mod manifest;

pub use manifest::{Manifest, line};
