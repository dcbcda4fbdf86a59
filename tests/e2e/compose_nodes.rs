//! `docker compose --profile nodes up`: two gateways that share everything but what must be their own, behind one port.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::packaging::{compose, read};

const NODES: [&str; 2] = ["gateway", "gateway-2"];

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// What is mounted in a service, by where.
fn mounts(service: &Value) -> BTreeMap<String, String> {
    let pair = |volume: &str| {
        let (from, to) = volume.trim_end_matches(":ro").split_once(':')?;
        Some((to.to_owned(), from.to_owned()))
    };
    words(&service["volumes"]).into_iter().filter_map(pair).collect()
}

/// Where the balancer's configuration says this, without the words it begins with.
fn said<'a>(lines: &[&'a str], beginning: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.strip_prefix(beginning)).map(str::trim).collect()
}

#[test]
fn both_nodes_share_the_database_and_a_redis_that_throws_nothing_away() {
    let services = compose()["services"].clone();
    let [first, second] = NODES.map(|name| &services[name]);
    for shared in ["image", "command", "environment"] {
        assert!(!first[shared].is_null());
        assert_eq!(first[shared], second[shared], "{shared}");
    }
    for name in ["postgres", "redis"] {
        assert_eq!(second["depends_on"][name]["condition"], "service_healthy", "the second node waits for {name}");
        assert!(services[name]["profiles"].is_null(), "{name} is there in every profile");
    }
    for variable in ["DATABASE_URL", "REDIS_URL"] {
        assert!(second["environment"][variable].is_string(), "{variable} has a value");
    }
    let redis = words(&services["redis"]["command"]);
    let set = |name: &str, value: &str| redis.windows(2).any(|pair| pair == [name, value]);
    assert!(set("--maxmemory-policy", "noeviction"), "{redis:?}");
    assert!(set("--appendonly", "yes"), "after a restart budgets are found again: {redis:?}");
    for name in ["gateway-2", "balancer"] {
        assert_eq!(services[name]["profiles"], json!(["nodes"]), "{name} is not there by default");
    }
}

#[test]
fn each_node_has_a_folder_and_a_name_of_its_own() {
    let compose = compose();
    let mut folders = Vec::new();
    for name in NODES {
        let service = &compose["services"][name];
        let mounts = mounts(service);
        let (inside, file) = mounts.iter().find(|(inside, _)| inside.ends_with(".yaml")).expect("a configuration");
        assert!(words(&service["command"]).contains(&&**inside), "{name} reads what is mounted");
        let config: Value = serde_yaml::from_str(&read(file)).unwrap();
        let data_dir = config["node"]["data_dir"].as_str().unwrap();
        let folder = mounts.get(data_dir).unwrap_or_else(|| panic!("{name}: {data_dir} is mounted: {mounts:?}"));
        assert!(compose["volumes"].as_object().unwrap().contains_key(folder), "{folder} survives the container");
        folders.push(folder.clone());
        // Compose gives each container another name, as long as nobody gives it one.
        assert!(config["node"]["name"].as_str().unwrap().starts_with("${HOSTNAME"), "{config}");
        assert!(service["hostname"].is_null() && service["environment"]["HOSTNAME"].is_null(), "{name}");
    }
    assert_ne!(folders[0], folders[1], "two nodes of one journal");
}

#[test]
fn the_balancer_asks_both_nodes_whether_they_are_ready() {
    let compose = compose();
    let balancer = &compose["services"]["balancer"];
    let text = read(&mounts(balancer)["/usr/local/etc/haproxy/haproxy.cfg"]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let config: Value = serde_yaml::from_str(&read("conf/tollgate.compose.yaml")).unwrap();
    let port = |name: &str| config["server"][name].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let servers: Vec<Vec<&str>> = said(&lines, "server ").iter().map(|line| line.split(' ').collect()).collect();
    let addresses: Vec<&str> = servers.iter().map(|server| server[1]).collect();
    assert_eq!(addresses, NODES.map(|name| format!("{name}:{}", port("listen"))), "each node takes requests");
    assert_eq!(said(&lines, "option httpchk"), ["GET /readyz"]);
    let [check] = said(&lines, "default-server")[..] else { panic!("all servers are checked in one way: {text}") };
    assert!(check.starts_with(&format!("check port {} ", port("admin"))), "/readyz is on the admin address: {check}");
    assert_eq!(said(&lines, "use_backend"), [""; 0]);
    assert_eq!(said(&lines, "default_backend"), said(&lines, "backend "), "all requests go there");
    let [bind] = said(&lines, "bind :")[..] else { panic!("one port: {text}") };
    let published = words(&balancer["ports"]);
    assert!(published.iter().any(|port| port.ends_with(&format!(":{bind}"))), "{published:?}");
    for name in NODES {
        assert_eq!(balancer["depends_on"][name]["condition"], "service_healthy", "{name}");
    }
}
