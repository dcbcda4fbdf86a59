//! Which providers may serve a request, in the order in which they are tried.

use std::sync::Arc;

use rand::Rng;

use super::catalogue::{Catalogue, Exclusion, Provider};
use crate::dialect::Dialect;
use crate::directory::ProviderGroups;

/// A provider that may serve a request, and the model that it would be sent.
#[derive(Clone)]
pub struct Candidate {
    /// Who.
    pub provider: Arc<Provider>,
    /// The requested model after the provider's redirect.
    pub served_model: Arc<str>,
}

/// Why there is no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCandidate {
    /// No provider takes this model in this dialect.
    NoneFits,
    /// Providers would, but none is in a group that the key may use.
    OutOfReach,
}

impl Catalogue {
    /// The candidates for a request: by priority, and among equals at random by weight.
    ///
    /// # Errors
    /// When there is none.
    pub fn candidates(
        &self,
        dialect: Dialect,
        model: &str,
        groups: &ProviderGroups,
        rng: &mut impl Rng,
    ) -> Result<Vec<Candidate>, NoCandidate> {
        let mut fits = false;
        let mut found: Vec<(i32, f64, Candidate)> = Vec::new();
        for provider in &self.providers {
            match provider.excluded(dialect, model, groups) {
                Some(Exclusion::Dialect | Exclusion::Model) => {}
                Some(Exclusion::OutOfReach) => fits = true,
                None => {
                    let served_model = provider.settings.redirect(model).into();
                    let candidate = Candidate { provider: Arc::clone(provider), served_model };
                    found.push((provider.settings.priority, turn(provider.settings.weight, rng), candidate));
                }
            }
        }
        if found.is_empty() {
            return Err(if fits { NoCandidate::OutOfReach } else { NoCandidate::NoneFits });
        }
        found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        Ok(found.into_iter().map(|(_, _, candidate)| candidate).collect())
    }
}

/// An exponential waiting time with rate `weight`: whoever waits least is first, with a chance in proportion to the
/// weight, and the rest follow as if drawn one after the other (Efraimidis and Spirakis, 2006).
fn turn(weight: u32, rng: &mut impl Rng) -> f64 {
    // The open interval: ln(0) would wait for ever.
    let uniform: f64 = 1.0 - rng.random::<f64>();
    -uniform.ln() / f64::from(weight.max(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn catalogue(yaml: &str) -> Catalogue {
        let parsed = crate::config::parse(yaml, std::path::Path::new("."), &|_| None).unwrap();
        Catalogue::new(&parsed.providers).ok().unwrap()
    }

    fn order(
        catalogue: &Catalogue,
        model: &str,
        groups: Option<&[&str]>,
        seed: u64,
    ) -> Result<Vec<String>, NoCandidate> {
        let groups =
            groups.map_or(ProviderGroups::All, |g| ProviderGroups::Only(g.iter().map(|s| (*s).to_owned()).collect()));
        let found = catalogue.candidates(Dialect::OpenaiChat, model, &groups, &mut StdRng::seed_from_u64(seed))?;
        Ok(found.iter().map(|c| format!("{}:{}", c.provider.name, c.served_model)).collect())
    }

    const THREE: &str = "
providers:
  - {name: late, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', priority: 5}
  - {name: first, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', models: ['gpt-*'], redirects: {small: gpt-4o-mini}}
  - {name: other, dialects: [anthropic], base_url: 'http://127.0.0.1:1'}
";

    #[test]
    fn priority_comes_first_and_redirects_are_applied() {
        let all = catalogue(THREE);
        assert_eq!(order(&all, "gpt-4o", None, 1).unwrap(), ["first:gpt-4o", "late:gpt-4o"]);
        assert_eq!(order(&all, "small", None, 1).unwrap(), ["first:gpt-4o-mini", "late:small"]);
        assert_eq!(order(&all, "llama", None, 1).unwrap(), ["late:llama"]);
    }

    #[test]
    fn a_key_confined_to_groups_reaches_only_their_providers() {
        let all = catalogue(
            "providers: [{name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', groups: [blue, red]}]",
        );
        assert_eq!(order(&all, "m", Some(&["red"]), 1).unwrap(), ["a:m"]);
        assert_eq!(order(&all, "m", Some(&["green"]), 1), Err(NoCandidate::OutOfReach));
        assert_eq!(order(&all, "m", Some(&[]), 1), Err(NoCandidate::OutOfReach));
    }

    #[test]
    fn a_dialect_that_nobody_speaks_has_no_candidate() {
        let all = catalogue(THREE);
        let found = all.candidates(Dialect::Gemini, "m", &ProviderGroups::All, &mut StdRng::seed_from_u64(1));
        assert_eq!(found.err(), Some(NoCandidate::NoneFits));
    }

    #[test]
    fn the_first_place_is_shared_by_weight() {
        let all = catalogue(
            "providers:
  - {name: a, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 3}
  - {name: b, dialects: [openai_chat], base_url: 'http://127.0.0.1:1', weight: 1}",
        );
        let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..4_000 {
            *firsts.entry(order(&all, "m", None, seed).unwrap().remove(0)).or_default() += 1;
        }
        // Binomial(4000, 3/4): mean 3000, standard deviation 27.
        assert!((2_850..3_150).contains(&firsts["a:m"]), "{firsts:?}");
    }
}
