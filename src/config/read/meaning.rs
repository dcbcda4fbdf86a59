//! What no schema can say: names that must differ, files that must exist, settings that contradict each other.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::time::Duration;

use jiff::civil::Time;

use crate::config::error::{Path, Problems, shortened};
use crate::config::types::{Config, Health, Lease, Limits, Provider, Reset};

const LONGEST_NAME: usize = 256;

/// Of probes.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Checks everything but the providers.
pub(super) fn of_node(config: &Config, base: &FilePath, problems: &mut Problems) {
    addresses(config, problems);
    positive_settings(config, problems);
    if let Some(tls) = &config.server.tls {
        file(&tls.cert, base, Path::from("server.tls.cert"), problems);
        file(&tls.key, base, Path::from("server.tls.key"), problems);
    }
    if let Some(prices) = &config.prices.file {
        file(prices, base, Path::from("prices.file"), problems);
    }
    if config.node.name.trim().is_empty() || config.node.name.chars().any(char::is_control) {
        problems.add(Path::from("node.name"), "is not a name: write visible characters only");
    }
    if config.node.data_dir.as_os_str().is_empty() {
        problems.add(Path::from("node.data_dir"), "is empty: name a folder, such as data");
    }
    let own = &config.budgets.model_group_lease;
    lease(&config.budgets.lease, "budgets.lease.dead_after", problems);
    if own.life.is_some() || own.dead_after.is_some() {
        lease(&config.budgets.effective_model_group_lease(), "budgets.model_group_lease.dead_after", problems);
    }
}

/// Checks the providers, each with its place in the list.
pub(super) fn of_providers(providers: &[(usize, Provider)], base: &FilePath, problems: &mut Problems) {
    let mut names = HashMap::new();
    for (index, provider) in providers {
        let path = Path::from("providers").index(*index);
        if let Some(first) = names.insert(&provider.name, *index) {
            names.insert(&provider.name, first);
            let message = format!("`{}` is the name of providers[{first}] too: give each its own", provider.name);
            problems.add(path.key("name"), message);
        }
        of_provider(provider, &path, base, problems);
    }
}

fn of_provider(provider: &Provider, path: &Path, base: &FilePath, problems: &mut Problems) {
    for (index, dialect) in provider.dialects.iter().enumerate() {
        if provider.dialects[..index].contains(dialect) {
            problems.add(path.key("dialects").index(index), "is in the list twice: keep one of them");
        }
    }
    for (index, hours) in provider.schedule.iter().enumerate() {
        for (at, day) in hours.days.iter().enumerate().filter(|(at, day)| hours.days[..*at].contains(day)) {
            let place = path.key("schedule").index(index).key("days").index(at);
            problems.add(place, format!("is in the list twice ({day:?}): keep one of them"));
        }
    }
    for (index, group) in provider.groups.iter().enumerate() {
        let place = path.key("groups").index(index);
        name(group, &place, problems);
        if provider.groups[..index].contains(group) {
            problems.add(place, "is in the list twice: keep one of them");
        }
    }
    for (requested, sent) in &provider.redirects {
        let place = path.key("redirects").key(requested);
        name(requested, &place, problems);
        name(sent, &place, problems);
    }
    let timeouts = &provider.timeouts;
    let timeouts = [("connect", timeouts.connect), ("first_byte", timeouts.first_byte), ("idle", timeouts.idle)];
    for (key, value) in timeouts {
        positive(value, path.key("timeouts").key(key), problems);
    }
    for (key, value) in [("window", provider.circuit.window), ("open", provider.circuit.open)] {
        positive(value, path.key("circuit").key(key), problems);
    }
    health(&provider.health, &path.key("health"), problems);
    limits(&provider.limits, &path.key("limits"), problems);
    if let Some(ca_file) = &provider.tls.ca_file {
        file(ca_file, base, path.key("tls").key("ca_file"), problems);
    }
}

fn health(health: &Health, path: &Path, problems: &mut Problems) {
    if !health.interval.is_zero() && health.interval < SHORTEST_INTERVAL {
        problems.add(path.key("interval"), "is too short: write 1s or more, or 0 for none");
    }
    positive(health.timeout, path.key("timeout"), problems);
    let is_path = |path: &String| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !health.path.as_ref().is_none_or(is_path) {
        problems.add(path.key("path"), "is not a path: write one that begins with /, such as /v1/models");
    }
}

fn addresses(config: &Config, problems: &mut Problems) {
    let server = &config.server;
    let addresses =
        [("server.listen", &server.listen), ("server.admin", &server.admin), ("server.metrics", &server.metrics)];
    for (index, (place, address)) in addresses.iter().enumerate() {
        let same = addresses[..index].iter().find(|(_, other)| address.port() != 0 && other == address);
        if let Some((other, _)) = same {
            problems.add(Path::from(*place), format!("`{address}` is {other} too: choose another port"));
        }
    }
}

fn positive_settings(config: &Config, problems: &mut Problems) {
    let lease = &config.budgets.lease;
    let own = &config.budgets.model_group_lease;
    let durations = [
        ("server.timeouts.header", Some(config.server.timeouts.header)),
        ("server.timeouts.body", Some(config.server.timeouts.body)),
        ("ledger.fsync", Some(config.ledger.fsync)),
        ("redis.timeout", config.redis.as_ref().map(|redis| redis.timeout)),
        ("routing.affinity.ttl", config.routing.affinity.enabled.then_some(config.routing.affinity.ttl)),
        ("routing.gate.max_time", config.routing.gate.enabled.then_some(config.routing.gate.max_time)),
        ("budgets.lease.life", Some(lease.life)),
        ("budgets.lease.dead_after", Some(lease.dead_after)),
        ("budgets.lease.write_off", Some(lease.write_off)),
        ("budgets.model_group_lease.life", own.life),
        ("budgets.model_group_lease.dead_after", own.dead_after),
        ("budgets.model_group_lease.write_off", own.write_off),
    ];
    for (place, value) in durations {
        positive(value.unwrap_or(Duration::MAX), Path::from(place), problems);
    }
    let sizes = [
        ("server.max_request_body", Some(config.server.max_request_body)),
        ("ledger.journal_max", Some(config.ledger.journal_max)),
        ("routing.gate.max_bytes", config.routing.gate.enabled.then_some(config.routing.gate.max_bytes)),
    ];
    for (place, value) in sizes {
        if value == Some(0) {
            problems.add(Path::from(place), "is 0, with which nothing would pass: write a size above 0");
        }
    }
}

fn positive(value: Duration, path: Path, problems: &mut Problems) {
    if value.is_zero() {
        problems.add(path, "is 0, with which nothing would succeed: write a duration above 0");
    }
}

fn lease(lease: &Lease, place: &str, problems: &mut Problems) {
    if lease.dead_after <= lease.life.saturating_add(Lease::MARGIN) {
        let message = "is not more than 2s above `life`: a node would stop spending between two exchanges";
        problems.add(Path::from(place), message);
    }
}

fn limits(limits: &Limits, path: &Path, problems: &mut Problems) {
    if let Some(daily) = &limits.daily
        && daily.reset == Reset::Rolling
        && daily.at != Time::midnight()
    {
        problems.add(path.key("daily").key("at"), "is for `reset: fixed` only: a rolling day has no beginning");
    }
}

fn name(text: &str, path: &Path, problems: &mut Problems) {
    if text.trim() != text || text.is_empty() || text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
        let message = format!("is not a name: write 1 to {LONGEST_NAME} bytes without spaces around them");
        problems.add(path.clone(), message);
    }
}

fn file(file: &FilePath, base: &FilePath, path: Path, problems: &mut Problems) {
    let file = base.join(file);
    let Some(shown) = file.to_str() else {
        return problems.add(path, "is in a folder whose name is not UTF-8: move the configuration");
    };
    if !file.is_file() {
        let shown = shortened(shown, LONGEST_NAME);
        problems.add(path, format!("names `{shown}`, which is not a file (names are relative to the configuration)"));
    }
}
