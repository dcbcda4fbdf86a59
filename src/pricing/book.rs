//! The price book: which price a model has.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::import::import;
use super::price::Price;

/// The prices that ship with Tollgate.
const BUILTIN: &str = include_str!("../../conf/prices.yaml");

/// Prefixes of the public list whose names are known without them too. Where two have the same bare name, the
/// earlier one gives the price: who makes a model comes before who hosts it.
const PREFIXES: [&str; 30] = [
    "anthropic",
    "openai",
    "gemini",
    "xai",
    "mistral",
    "deepseek",
    "moonshot",
    "zai",
    "minimax",
    "cohere",
    "cohere_chat",
    "voyage",
    "ai21",
    "perplexity",
    "dashscope",
    "volcengine",
    "vertex_ai",
    "groq",
    "cerebras",
    "fireworks_ai",
    "together_ai",
    "sambanova",
    "deepinfra",
    "novita",
    "nebius",
    "hyperbolic",
    "openrouter",
    "azure_ai",
    "azure",
    "bedrock",
];

/// Prices by the name of their model.
pub type Prices = BTreeMap<String, Arc<Price>>;

/// Where the price of a model comes from, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriceSource {
    /// Set over REST, kept in the database.
    Rest,
    /// The file of the configuration.
    File,
    /// What ships with Tollgate.
    Builtin,
}

/// Every price that is known: REST over file over built-in, per model, whole entry. Built anew when a layer changes.
#[derive(Debug)]
pub struct PriceBook {
    entries: BTreeMap<Arc<str>, (PriceSource, Arc<Price>)>,
    /// The entries, and the names that they are known by without their provider's prefix.
    by_name: HashMap<Arc<str>, Arc<Price>>,
}

impl PriceBook {
    /// The built-in prices under those of the configuration's file and those of the database.
    #[must_use]
    pub fn new(file: &Prices, rest: &Prices) -> Self {
        Self::layered(builtin_prices(), file, rest)
    }

    fn layered(builtin: &Prices, file: &Prices, rest: &Prices) -> Self {
        let layers = [(PriceSource::Builtin, builtin), (PriceSource::File, file), (PriceSource::Rest, rest)];
        let entries: BTreeMap<Arc<str>, _> = layers
            .into_iter()
            .flat_map(|(source, prices)| prices.iter().map(move |(model, price)| (model, source, price)))
            .map(|(model, source, price)| (Arc::from(model.trim()), (source, Arc::clone(price))))
            .collect();
        let by_name = by_name(&entries);
        Self { entries, by_name }
    }

    /// The price of a model by its name as sent upstream. Allocates nothing.
    #[must_use]
    pub fn get(&self, model: &str) -> Option<&Arc<Price>> {
        self.by_name.get(model)
    }

    /// The price of a request: that of the model that is sent upstream, else of the one that was asked for.
    #[must_use]
    pub fn of_request(&self, served: &str, requested: &str) -> Option<&Arc<Price>> {
        self.get(served).or_else(|| self.get(requested))
    }

    /// The entry of exactly this name: for administration, where a name without its prefix is another name.
    #[must_use]
    pub fn entry(&self, model: &str) -> Option<(PriceSource, &Arc<Price>)> {
        self.entries.get(model.trim()).map(|(source, price)| (*source, price))
    }

    /// Every entry that is in force, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PriceSource, &Arc<Price>)> {
        self.entries.iter().map(|(model, (source, price))| (&**model, *source, price))
    }

    /// Every name that [`get`](Self::get) knows with its price, those without their provider's prefix included, in no
    /// order: what a client may ask for.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Arc<Price>)> {
        self.by_name.iter().map(|(name, price)| (&**name, price))
    }
}

/// The prices that ship with Tollgate.
fn builtin_prices() -> &'static Prices {
    static PRICES: LazyLock<Prices> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "a test reads the very same text")]
        let imported = import(BUILTIN).expect("conf/prices.yaml is valid");
        imported.prices
    });
    &PRICES
}

fn by_name(entries: &BTreeMap<Arc<str>, (PriceSource, Arc<Price>)>) -> HashMap<Arc<str>, Arc<Price>> {
    // Of those that claim a bare name: the stronger layer, then the rank of the prefix. Prefixes differ, so that
    // there is always exactly one winner.
    let mut claims: BTreeMap<&str, ((PriceSource, usize), &Arc<Price>)> = BTreeMap::new();
    for (model, (source, price)) in entries {
        let Some((bare, rank)) = without_prefix(model) else { continue };
        let claim = ((*source, rank), price);
        let best = claims.entry(bare).or_insert(claim);
        if claim.0 < best.0 {
            *best = claim;
        }
    }
    let mut by_name: HashMap<Arc<str>, Arc<Price>> =
        claims.into_iter().map(|(bare, (_, price))| (Arc::from(bare), Arc::clone(price))).collect();
    // An entry of its own wins over any claim.
    by_name.extend(entries.iter().map(|(model, (_, price))| (Arc::clone(model), Arc::clone(price))));
    by_name
}

/// A name without its provider's prefix, and the rank of that prefix.
fn without_prefix(model: &str) -> Option<(&str, usize)> {
    let (prefix, bare) = model.split_once('/')?;
    let rank = PREFIXES.iter().position(|known| *known == prefix)?;
    (!bare.is_empty()).then_some((bare, rank))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn prices(inputs: &[(&str, u32)]) -> Prices {
        inputs.iter().map(|(model, input)| ((*model).to_owned(), Arc::new(price(*input)))).collect()
    }

    fn price(input: u32) -> Price {
        Price::from_value(&serde_json::json!({ "inputUsdPerMillion": input })).unwrap()
    }

    fn none() -> Prices {
        Prices::new()
    }

    #[test]
    fn rest_wins_over_file_over_builtin_per_model() {
        let builtin = prices(&[("a", 1), ("b", 1), ("c", 1)]);
        let book = PriceBook::layered(&builtin, &prices(&[("b", 2), ("c", 2)]), &prices(&[("c", 3)]));
        let seen: Vec<_> = book.iter().map(|(model, source, found)| (model, source, (**found).clone())).collect();
        assert_eq!(
            seen,
            [
                ("a", PriceSource::Builtin, price(1)),
                ("b", PriceSource::File, price(2)),
                ("c", PriceSource::Rest, price(3)),
            ]
        );
        assert_eq!(**book.get("c").unwrap(), price(3));
        assert_eq!(book.entry("b").unwrap().0, PriceSource::File);
    }

    #[test]
    fn an_entry_is_replaced_whole() {
        let whole =
            Price::from_value(&serde_json::json!({ "inputUsdPerMillion": 1, "outputUsdPerMillion": 9 })).unwrap();
        let builtin = Prices::from([("a".to_owned(), Arc::new(whole))]);
        assert_eq!(**PriceBook::layered(&builtin, &none(), &prices(&[("a", 2)])).get("a").unwrap(), price(2));
    }

    #[test]
    fn a_name_is_trimmed_in_the_book_and_exact_in_a_request() {
        let book = PriceBook::layered(&none(), &prices(&[(" a ", 1)]), &none());
        assert!(book.get("a").is_some());
        // Else a client could make up names that are priced, and each would be a label of the metrics.
        assert!(["A", "", " a ", "\ta\n"].into_iter().all(|name| book.get(name).is_none()));
    }

    #[test]
    fn a_prefixed_name_is_known_without_its_prefix() {
        let book = PriceBook::layered(&prices(&[("xai/grok", 1), ("acme/own", 2), ("xai/", 3)]), &none(), &none());
        assert_eq!(**book.get("grok").unwrap(), price(1));
        assert_eq!(**book.get("xai/grok").unwrap(), price(1));
        assert!(book.entry("grok").is_none());
        assert!(book.names().any(|(name, _)| name == "grok") && book.iter().all(|(name, _, _)| name != "grok"));
        assert!(book.get("own").is_none(), "`acme` is no provider of the public list");
        assert!(book.get("").is_none());
    }

    #[test]
    fn an_entry_of_its_own_wins_over_a_prefixed_one_of_any_layer() {
        let book = PriceBook::layered(&prices(&[("grok", 1)]), &none(), &prices(&[("xai/grok", 2)]));
        assert_eq!(**book.get("grok").unwrap(), price(1));
    }

    #[test]
    fn of_two_prefixes_the_stronger_layer_then_the_maker_gives_the_price() {
        let builtin = prices(&[("dashscope/glm", 1), ("zai/glm", 2)]);
        assert_eq!(**PriceBook::layered(&builtin, &none(), &none()).get("glm").unwrap(), price(2));
        let rest = prices(&[("dashscope/glm", 3)]);
        assert_eq!(**PriceBook::layered(&builtin, &none(), &rest).get("glm").unwrap(), price(3));
    }
}
