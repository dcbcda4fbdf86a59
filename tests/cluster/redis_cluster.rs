//! A real Redis Cluster: three masters on loopback, whose slots can be moved, which can die, and can have replicas.

use std::time::Duration;

use redis::Value;

use crate::servers::ports::Port;
use crate::servers::redis::Redis;
use crate::support::eventually;

const SLOTS: u16 = 16_384;

/// A master that was not heard of for so long is failing, in milliseconds.
const NODE_TIMEOUT: &str = "1000";

/// So many keys are moved at once.
const PIECE: &str = "20";

pub struct RedisCluster {
    pub masters: Vec<Redis>,
    /// Each of a master.
    pub replicas: Vec<Redis>,
    buses: Vec<Port>,
}

impl RedisCluster {
    /// Three masters that share the slots; what they know survives a crash where `keeps` says so.
    pub async fn start(keeps: bool) -> Self {
        let buses: Vec<_> = (0..3).map(|_| Port::take()).collect();
        let masters = buses.iter().map(|bus| server(bus, keeps)).collect();
        let cluster = Self { masters, replicas: Vec::new(), buses };
        cluster.share_out().await;
        cluster
    }

    /// Gives a master a replica, which takes its place when it dies.
    pub async fn add_replica(&mut self, of: usize) {
        let bus = Port::take();
        let replica = server(&bus, false);
        self.meets(&replica, &bus).await;
        self.replicas.push(replica);
        self.buses.push(bus);
        self.is_well().await;
        let (replica, master) = (&self.replicas[self.replicas.len() - 1], id_of(&self.masters[of]).await);
        eventually("it becomes a replica", async || {
            replica.try_call::<()>(&["CLUSTER", "REPLICATE", &master]).await.ok()
        })
        .await;
        eventually("it has all", async || {
            let info: String = replica.call(&["INFO", "replication"]).await;
            (info.contains("role:slave") && info.contains("master_link_status:up")).then_some(())
        })
        .await;
    }

    async fn meets(&self, server: &Redis, bus: &Port) {
        let [port, bus] = [server.port(), bus.number()].map(|port| port.to_string());
        self.masters[0].call::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
    }

    /// The URL for a node, which finds the others itself.
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.masters[0].port())
    }

    async fn share_out(&self) {
        let third = SLOTS / 3;
        for (n, master) in (0..).zip(&self.masters) {
            let last = if n == 2 { SLOTS - 1 } else { (n + 1) * third - 1 };
            let [first, last, epoch] = [n * third, last, n + 1].map(|number| number.to_string());
            master.call::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            master.call::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        for (master, bus) in self.masters.iter().zip(&self.buses).skip(1) {
            self.meets(master, bus).await;
        }
        self.is_well().await;
    }

    /// Waits until every master knows of every slot.
    pub async fn is_well(&self) {
        let known = format!("cluster_known_nodes:{}", 3 + self.replicas.len());
        for master in &self.masters {
            eventually("the Redis Cluster is well", async || {
                let info: String = master.try_call(&["CLUSTER", "INFO"]).await.ok()?;
                let holds = |line: &str| info.lines().any(|found| found.trim() == line);
                let well = holds("cluster_state:ok")
                    && holds("cluster_slots_ok:16384")
                    && holds(&known)
                    && holds("cluster_size:3");
                well.then_some(())
            })
            .await;
        }
    }

    /// The slot of a key.
    pub async fn slot_of(&self, key: &str) -> u16 {
        self.masters[0].call(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// Which master has this slot.
    pub async fn owner_of(&self, slot: u16) -> usize {
        for (n, master) in self.masters.iter().enumerate() {
            let ranges = slots_of(master).await;
            if ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot)) {
                return n;
            }
        }
        panic!("nobody has slot {slot}");
    }

    /// Moves a slot with all its keys to another master, bit by bit, as `redis-cli --cluster reshard` does; each
    /// state lasts so long. How many keys were moved.
    pub async fn move_slot(&self, slot: u16, to: usize, linger: Duration) -> usize {
        let from = self.owner_of(slot).await;
        assert_ne!(from, to, "it is there");
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let [source_id, target_id] = [id_of(source).await, id_of(target).await];
        let (slot, port) = (slot.to_string(), target.port().to_string());
        target.call::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await;
        source.call::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await;
        tokio::time::sleep(linger).await;
        let mut moved = 0;
        loop {
            let keys: Vec<String> = source.call(&["CLUSTER", "GETKEYSINSLOT", &slot, PIECE]).await;
            if keys.is_empty() {
                break;
            }
            moved += keys.len();
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "2000", "KEYS"];
            command.extend(keys.iter().map(String::as_str));
            source.call::<Value>(&command).await;
            tokio::time::sleep(linger).await;
        }
        // Whoever has it now first, as the documentation of SETSLOT asks for.
        for master in [target, source].into_iter().chain(&self.masters) {
            master.call::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await;
        }
        moved
    }
}

fn server(bus: &Port, keeps: bool) -> Redis {
    let bus = bus.number().to_string();
    let settings = [
        ("--cluster-enabled", "yes"),
        ("--cluster-port", bus.as_str()),
        ("--cluster-node-timeout", NODE_TIMEOUT),
        ("--cluster-require-full-coverage", "no"),
        ("--appendonly", if keeps { "yes" } else { "no" }),
        ("--appendfsync", "always"),
    ];
    Redis::start_with(&settings.map(|(name, value)| [name, value]).concat())
}

/// First and last slot of each of its ranges.
async fn slots_of(master: &Redis) -> Vec<(u16, u16)> {
    let id = id_of(master).await;
    let nodes: String = master.call(&["CLUSTER", "NODES"]).await;
    let own = nodes.lines().find(|line| line.starts_with(&id)).unwrap();
    let ranges = own.split(' ').skip(8).filter(|word| !word.starts_with('['));
    ranges
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (first.parse().unwrap(), last.parse().unwrap())
        })
        .collect()
}

async fn id_of(master: &Redis) -> String {
    master.call(&["CLUSTER", "MYID"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_can_be_moved_with_its_keys_and_a_master_that_dies_comes_back_with_its_own() {
    let mut cluster = RedisCluster::start(true).await;
    let slot = cluster.slot_of("{tg:1}").await;
    let from = cluster.owner_of(slot).await;
    for n in 0..50 {
        cluster.masters[from].call::<()>(&["SET", &format!("{{tg:1}}:{n}"), "1"]).await;
    }
    let to = (from + 1) % 3;
    assert_eq!(cluster.move_slot(slot, to, Duration::ZERO).await, 50);
    cluster.is_well().await;
    assert_eq!(cluster.owner_of(slot).await, to);
    let moved = cluster.masters[from].try_call::<String>(&["GET", "{tg:1}:1"]).await.unwrap_err().to_string();
    assert!(moved.to_lowercase().contains("moved"), "{moved}");
    cluster.masters[to].stop();
    eventually("it is missed", async || {
        let info: String = cluster.masters[from].call(&["CLUSTER", "INFO"]).await;
        (!info.contains("cluster_slots_fail:0")).then_some(())
    })
    .await;
    cluster.masters[to].restart();
    cluster.is_well().await;
    assert_eq!(cluster.masters[to].call::<String>(&["GET", "{tg:1}:1"]).await, "1");
}
