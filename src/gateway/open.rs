//! The bills that are not settled yet: what is left of them when the process must end is settled as it stands.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;

use super::bill::Bill;

/// A power of two well above the number of cores.
const SHARDS: usize = 64;

/// Bills of requests in flight, drains included.
pub struct OpenBills {
    shards: [Mutex<HashMap<Uuid, Weak<Bill>>>; SHARDS],
}

impl OpenBills {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { shards: std::array::from_fn(|_| Mutex::default()) })
    }

    /// Settles every bill with what is known of its request by now. Requests that have not cost anything yet are not
    /// recorded.
    pub fn interrupt_all(&self) {
        for shard in &self.shards {
            // Settled without the lock: the last holder of a bill takes it out of here.
            let bills: Vec<_> = shard.lock().values().filter_map(Weak::upgrade).collect();
            bills.iter().for_each(|bill| bill.interrupt());
        }
    }

    /// The bill takes itself out again when it is dropped.
    pub(super) fn add(&self, bill: &Arc<Bill>) {
        self.shard(bill.request_id).lock().insert(bill.request_id, Arc::downgrade(bill));
    }

    pub(super) fn remove(&self, request_id: Uuid) {
        self.shard(request_id).lock().remove(&request_id);
    }

    fn shard(&self, request_id: Uuid) -> &Mutex<HashMap<Uuid, Weak<Bill>>> {
        // The last byte of a UUIDv7 is random.
        &self.shards[usize::from(request_id.as_bytes()[15]) % SHARDS]
    }
}
