//! Whether a conversation may stay where it is.

use crate::provider::selection::{LeftOut, Standing};
use crate::provider::{Bits, Catalogue};

impl Catalogue {
    /// Whether the provider at this place is among those that may be asked, can take the request now, and no provider of
    /// a better tier can: where a conversation was decides among equals only. Then those of better tiers are added to
    /// `left_out`.
    pub fn may_stay(&self, at: usize, among: &Bits, standing: &impl Standing, left_out: &mut Vec<LeftOut>) -> bool {
        let Some(provider) = self.at(at).filter(|_| among.has(at)) else { return false };
        if standing.kept_out(provider).is_some() {
            return false;
        }
        let before = left_out.len();
        for place in among.iter() {
            let Some(better) = self.at(place) else { continue };
            if better.settings.priority >= provider.settings.priority {
                break;
            }
            let Some(why) = standing.kept_out(better) else {
                left_out.truncate(before);
                return false;
            };
            left_out.push((place, why));
        }
        true
    }

    /// The place of the provider of this name.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.iter().position(|provider| &*provider.name == name)
    }
}
