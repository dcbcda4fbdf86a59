//! One query at a time per key, however many requests wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::LookupError;
use super::principal::Principal;
use super::secret::SecretHash;

/// How many keys may be asked about at once.
const FLIGHTS_MAX: usize = 1024;

/// What a query ends with.
pub(super) type Landing = Result<Arc<Principal>, LookupError>;

/// The queries under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flying: Mutex<HashMap<SecretHash, Flight>>,
}

/// The waiting side.
#[derive(Debug)]
struct Flight {
    /// Whoever comes after an invalidation must not be answered by a query from before it.
    generation: u64,
    landing: watch::Receiver<Option<Landing>>,
}

/// The flying side. However it ends (even by a panic), the flight is over when this is dropped.
#[derive(Debug)]
pub(super) struct Pilot {
    flights: Arc<Flights>,
    pub(super) hash: SecretHash,
    pub(super) generation: u64,
    landing: watch::Sender<Option<Landing>>,
}

/// A place on a flight.
pub(super) enum Boarding {
    /// Somebody else has asked already.
    Passenger(watch::Receiver<Option<Landing>>),
    /// Nobody has: the caller must.
    Pilot(Pilot, watch::Receiver<Option<Landing>>),
    /// Too many queries are under way.
    Full,
}

impl Flights {
    pub(super) fn board(self: &Arc<Self>, hash: SecretHash, generation: u64) -> Boarding {
        let mut flying = self.flying.lock();
        if let Some(flight) = flying.get(&hash).filter(|flight| flight.generation == generation) {
            return Boarding::Passenger(flight.landing.clone());
        }
        if flying.len() >= FLIGHTS_MAX {
            return Boarding::Full;
        }
        let (landing, receiver) = watch::channel(None);
        flying.insert(hash, Flight { generation, landing: receiver.clone() });
        Boarding::Pilot(Pilot { flights: Arc::clone(self), hash, generation, landing }, receiver)
    }
}

impl Pilot {
    /// Tells everybody who waits.
    pub(super) fn land(self, landing: Landing) {
        self.landing.send_replace(Some(landing));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let mut flying = self.flights.flying.lock();
        // A later generation may have taken off under the same key.
        if flying.get(&self.hash).is_some_and(|flight| flight.generation == self.generation) {
            flying.remove(&self.hash);
        }
    }
}

/// Waits for the end of a flight.
pub(super) async fn arrive(mut landing: watch::Receiver<Option<Landing>>) -> Landing {
    match landing.wait_for(Option::is_some).await {
        Ok(landing) => landing.clone().unwrap_or(Err(LookupError::Unavailable)),
        // The query panicked, or its runtime has ended.
        Err(_) => Err(LookupError::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn pilot(flights: &Arc<Flights>, generation: u64) -> Option<(Pilot, watch::Receiver<Option<Landing>>)> {
        match flights.board(SecretHash::of("key"), generation) {
            Boarding::Pilot(pilot, landing) => Some((pilot, landing)),
            Boarding::Passenger(_) | Boarding::Full => None,
        }
    }

    #[tokio::test]
    async fn whoever_comes_after_an_invalidation_does_not_join_an_older_flight() {
        let flights = Arc::default();
        let (old, old_landing) = pilot(&flights, 0).expect("nobody flies yet");
        assert!(pilot(&flights, 0).is_none(), "the second is a passenger");
        let (new, new_landing) = pilot(&flights, 1).expect("the flight is of an older generation");
        old.land(Err(LookupError::Unknown));
        assert!(pilot(&flights, 1).is_none(), "the end of the old flight does not end the new one");
        new.land(Err(LookupError::Unavailable));
        assert_eq!(arrive(old_landing).await.unwrap_err(), LookupError::Unknown);
        assert_eq!(arrive(new_landing).await.unwrap_err(), LookupError::Unavailable);
        assert!(flights.flying.lock().is_empty());
    }

    #[tokio::test]
    async fn a_flight_that_crashes_leaves_nobody_waiting() {
        let flights = Arc::default();
        let (lost, landing) = pilot(&flights, 0).expect("nobody flies yet");
        drop(lost);
        assert_eq!(arrive(landing).await.unwrap_err(), LookupError::Unavailable);
        assert!(pilot(&flights, 0).is_some());
    }

    #[test]
    fn the_number_of_flights_is_bounded() {
        let flights: Arc<Flights> = Arc::default();
        let board = |n: usize| flights.board(SecretHash::of(&n.to_string()), 0);
        let flying: Vec<_> = (0..FLIGHTS_MAX).map(board).collect();
        assert!(flying.iter().all(|boarding| matches!(boarding, Boarding::Pilot(..))));
        assert!(matches!(board(FLIGHTS_MAX), Boarding::Full));
        assert!(matches!(board(0), Boarding::Passenger(_)));
    }
}
