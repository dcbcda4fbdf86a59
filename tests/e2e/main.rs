//! The gateway as its users see it: the real binary between real clients and a pretend provider.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(missing_docs, reason = "nobody reads the documentation of tests")]

#[path = "../support/mod.rs"]
mod servers;
mod support;

mod aborts;
mod affinity;
mod api_docs;
mod audit;
mod auth;
mod authority_away;
mod bad_input;
mod bodies;
mod chaos;
mod circuits;
mod cli;
mod cli_node;
mod compose_nodes;
mod crash;
mod db_outage;
mod demo;
mod dialects;
mod disk_full;
mod door;
mod edits;
mod elsewhere;
mod estimates;
mod exports;
mod failover;
mod first_start;
mod flood;
mod gate;
mod guards;
mod heads_h2;
mod hours;
mod journals;
mod keepalive_race;
mod limits;
mod metrics;
mod models;
mod openapi;
mod overspend;
mod packaging;
mod postgres;
mod probes;
mod quarters;
mod races;
mod racing;
mod readers;
mod refusals;
mod reload;
mod restarts;
mod retries;
mod sdk;
mod secrets;
mod shutdown;
mod slow_admins;
mod stop;
mod streams;
mod switched_off;
mod tls;
mod upgrade;
mod while_open;
mod who_pays;
