//! What the workers do with what the walker hands out.

mod earlier;
mod finish;
mod instead;
mod links;
mod naming;
mod plan;
mod services;
mod special;
mod take;
mod visit;
mod worker;

pub use services::Services;
pub use visit::Visit;
