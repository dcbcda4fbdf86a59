//! The providers: which there are, and which of them may serve a request, in what order.

mod catalogue;
pub mod circuit;
pub mod failure;
mod recent;
mod selection;

pub use catalogue::{Catalogue, CatalogueError, Exclusion, Provider};
pub use recent::{ProviderEvents, RecentError};
pub use selection::{Candidate, NoCandidate};
