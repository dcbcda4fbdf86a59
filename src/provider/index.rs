//! Which providers may serve what, worked out once per configuration, so that a request finds them in one look.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::bits::Bits;
use super::catalogue::Provider;
use crate::config::ModelGlob;
use crate::dialect::Dialect;
use crate::directory::ProviderGroups;

/// Why nobody may serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCandidate {
    /// No provider takes this model in this dialect.
    NoneFits,
    /// Providers would, but none is in a group that the key may use.
    OutOfReach,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    length: usize,
    dialects: Vec<(Dialect, Bits)>,
    /// Providers that take any model.
    any: Option<Bits>,
    /// Those that take a model of exactly this name, or redirect it.
    names: HashMap<Box<str>, Bits>,
    /// Those that take models by their beginnings, or by other globs; each is looked at once, however many have it.
    globs: Vec<(Pattern, Bits)>,
    groups: HashMap<Box<str>, Bits>,
}

#[derive(Debug)]
enum Pattern {
    Prefix(Box<str>),
    Glob(ModelGlob),
}

impl Pattern {
    fn is_match(&self, model: &str) -> bool {
        match self {
            Self::Prefix(prefix) => model.starts_with(&**prefix),
            Self::Glob(glob) => glob.is_match(model),
        }
    }
}

impl Index {
    /// The index of these providers.
    #[must_use]
    pub fn new(providers: &[Arc<Provider>]) -> Self {
        let none = || Bits::none(providers.len());
        let mut index = Self { length: providers.len(), any: Some(none()), ..Self::default() };
        let mut globs: BTreeMap<&str, (Pattern, Bits)> = BTreeMap::new();
        for (place, provider) in providers.iter().enumerate().filter(|(_, provider)| provider.settings.enabled) {
            let settings = &provider.settings;
            for dialect in &settings.dialects {
                match index.dialects.iter_mut().find(|(known, _)| known == dialect) {
                    Some((_, bits)) => bits.add(place),
                    None => {
                        let mut bits = none();
                        bits.add(place);
                        index.dialects.push((*dialect, bits));
                    }
                }
            }
            for group in &settings.groups {
                index.groups.entry(group.as_str().into()).or_insert_with(none).add(place);
            }
            for name in settings.redirects.keys() {
                index.names.entry(name.as_str().into()).or_insert_with(none).add(place);
            }
            for glob in settings.models.iter().flatten() {
                match read(glob) {
                    Read::Any => index.any.get_or_insert_with(none).add(place),
                    Read::Name(name) => index.names.entry(name.into()).or_insert_with(none).add(place),
                    Read::Pattern(pattern) => {
                        globs.entry(glob.as_str()).or_insert_with(|| (pattern, none())).1.add(place);
                    }
                }
            }
            if settings.models.is_none() {
                index.any.get_or_insert_with(none).add(place);
            }
        }
        index.globs = globs.into_values().collect();
        index
    }

    /// Those that may serve this model in this dialect to a key that is confined to these groups.
    ///
    /// # Errors
    /// There is none.
    pub fn eligible(&self, dialect: Dialect, model: &str, groups: &ProviderGroups) -> Result<Bits, NoCandidate> {
        let none = || Bits::none(self.length);
        let mut found = self.any.clone().unwrap_or_else(none);
        if let Some(bits) = self.names.get(model) {
            found.join(bits);
        }
        for (_, bits) in self.globs.iter().filter(|(pattern, _)| pattern.is_match(model)) {
            found.join(bits);
        }
        match self.dialects.iter().find(|(known, _)| *known == dialect) {
            Some((_, bits)) => found.meet(bits),
            None => return Err(NoCandidate::NoneFits),
        }
        if found.is_empty() {
            return Err(NoCandidate::NoneFits);
        }
        if let ProviderGroups::Only(allowed) = groups {
            let mut reach = none();
            allowed.iter().filter_map(|group| self.groups.get(group.as_str())).for_each(|bits| reach.join(bits));
            found.meet(&reach);
        }
        if found.is_empty() { Err(NoCandidate::OutOfReach) } else { Ok(found) }
    }
}

enum Read<'a> {
    Any,
    Name(&'a str),
    Pattern(Pattern),
}

/// What a glob comes to.
fn read(glob: &ModelGlob) -> Read<'_> {
    let text = glob.as_str();
    let is_plain = |text: &str| !text.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
    match text.strip_suffix('*') {
        _ if is_plain(text) => Read::Name(text),
        Some("") => Read::Any,
        Some(prefix) if is_plain(prefix) => Read::Pattern(Pattern::Prefix(prefix.into())),
        _ => Read::Pattern(Pattern::Glob(glob.clone())),
    }
}
