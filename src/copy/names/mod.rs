//! Which name a copy gets, and what becomes of what has it.

mod backup;
mod grains;
mod in_place;
mod made;
mod place;
mod rules;
mod sources;

pub use place::{Admitted, Names, Spot};
pub use sources::SourceFiles;
