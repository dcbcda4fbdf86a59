//! The providers: which there are, which of them may serve a request, who is chosen, and who is left alone for a while.

mod affinity;
mod bits;
mod catalogue;
pub mod circuit;
mod circuits;
pub mod failure;
mod fingerprint;
mod index;
mod load;
mod recent;
pub mod retry;
mod schedule;
mod selection;
mod window;
mod wire;

pub use affinity::{Affinity, Asker, Sharing, ThreadName};
pub use bits::Bits;
pub use catalogue::{Catalogue, CatalogueError, Exclusion, Provider};
pub use circuits::{CircuitSharing, CircuitView, Circuits, CircuitsView, Pass, Probe, Shut};
pub use fingerprint::Fingerprint;
pub use index::NoCandidate;
pub use load::{InFlightAt, Load};
pub use recent::{ProviderEvents, RecentError};
pub use selection::{AtPresent, Candidate, LeftOut, Standing};
