//! Applied prices as JSON, made once: the same few apply to most requests.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Applied;

/// Far more than a price book has in use; some come from prices that have been replaced.
const KEPT: usize = 4_096;

/// Remembers how applied prices look as JSON.
#[derive(Debug, Default)]
pub struct AppliedJson(ArcSwap<HashMap<Applied, Arc<str>>>);

impl AppliedJson {
    /// The JSON of an applied price.
    #[must_use]
    pub fn of(&self, applied: &Applied) -> Arc<str> {
        if let Some(json) = self.0.load().get(applied) {
            return Arc::clone(json);
        }
        // Names and numbers: this cannot fail.
        let json: Arc<str> = serde_json::to_string(applied).unwrap_or_default().into();
        self.0.rcu(|known| {
            let mut known = if known.len() < KEPT { HashMap::clone(known) } else { HashMap::new() };
            known.insert(*applied, Arc::clone(&json));
            known
        });
        json
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::dialect::Usage;
    use crate::pricing::Price;

    fn applied(usd: u32) -> Applied {
        let price: Price = serde_json::from_value(serde_json::json!({"inputUsdPerMillion": usd})).unwrap();
        price.applied(&Usage::default())
    }

    #[test]
    fn the_same_price_is_written_once_and_others_are_not_mixed_up() {
        let json = AppliedJson::default();
        let one = json.of(&applied(1));
        assert_eq!(&*one, serde_json::to_string(&applied(1)).unwrap());
        assert!(Arc::ptr_eq(&one, &json.of(&applied(1))));
        assert_eq!(&*json.of(&applied(2)), serde_json::to_string(&applied(2)).unwrap());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let json = AppliedJson(ArcSwap::from_pointee(
            (0..KEPT).map(|n| (applied(u32::try_from(n).unwrap()), "".into())).collect(),
        ));
        let new = applied(u32::try_from(KEPT).unwrap());
        assert_eq!(&*json.of(&new), serde_json::to_string(&new).unwrap());
        assert_eq!(json.0.load().len(), 1);
    }
}
