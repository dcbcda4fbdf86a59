//! What a running node cannot take over from a changed file.

use super::Config;

/// The top-level keys whose change needs a restart. Everything else is replaced while the node runs.
#[must_use]
pub fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let compared = [
        ("server", old.server == new.server),
        ("database", old.database == new.database),
        ("redis", old.redis == new.redis),
        ("node", old.node == new.node),
    ];
    compared.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Redis, Secret};

    #[test]
    fn a_change_of_the_nodes_own_places_needs_a_restart() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(restart_needed(&old, &new), [""; 0]);
        new.server.threads = 3;
        new.database.max_connections = 3;
        new.redis = Some(Redis::default());
        new.node.name = "other".to_owned();
        assert_eq!(restart_needed(&old, &new), ["server", "database", "redis", "node"]);
    }

    #[test]
    fn a_change_of_anything_else_does_not() {
        let old = crate::config::parse(
            "providers: [{name: a, dialects: [gemini], base_url: 'https://a.example', api_key: one}]",
            std::path::Path::new(""),
            &|_| None,
        );
        let Ok(old) = old else { panic!("{old:?}") };
        let mut new = old.clone();
        new.providers[0].api_key = Secret::new("two");
        assert_ne!(old, new, "a changed secret is a change");
        new.log.level = crate::config::LogLevel::Debug;
        new.budgets.model_group_limits = false;
        new.routing.racing.after = std::time::Duration::from_secs(1);
        assert_eq!(restart_needed(&old, &new), [""; 0]);
    }
}
