//! Which name a copy gets, and what becomes of what has it.

mod backup;
mod grains;
mod made;
mod place;
mod rules;

pub use place::{Admitted, Names, Spot};
