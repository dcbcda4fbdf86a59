//! What can be configured but has no effect in this version, so that nobody relies on it.

use super::{Config, Ledger};

impl Config {
    /// One sentence for each setting that differs from its default and that this version does not act on.
    #[must_use]
    pub fn not_enforced(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |differs: bool, path: &str, what: &str| {
            if differs {
                found.push(format!("{path}: this version does not {what} yet"));
            }
        };

        let (ledger, ledger_default) = (&self.ledger, Ledger::default());
        note(ledger.refusal_days != ledger_default.refusal_days, "ledger.refusal_days", "store refusals");
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_promise_nothing() {
        assert_eq!(Config::default().not_enforced(), [""; 0]);
    }

    #[test]
    fn a_setting_without_effect_is_named() {
        let text = "
ledger: {refusal_days: 8}
routing: {strategy: least_cost, deadline: 1s, racing: {after: 1s, loser: charge}}
providers:
- {name: a, dialects: [gemini], base_url: 'https://a.example'}
- {name: b, dialects: [gemini], base_url: 'https://b.example', limits: {daily: {usd: 1}}, circuit: {failures: 1}}
";
        let config = crate::config::parse(text, std::path::Path::new(""), &|_| None);
        let sentences = config.map(|config| config.not_enforced()).unwrap_or_default();
        let paths: Vec<_> = sentences.iter().filter_map(|sentence| sentence.split(": ").next()).collect();
        assert_eq!(paths, ["ledger.refusal_days"]);
    }
}
