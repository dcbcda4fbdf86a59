//! The providers of one configuration, ready for the request path.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::Notify;

use super::bits::Bits;
use super::circuits::{Circuits, Shut};
use super::failure::Scope;
use super::fingerprint::Fingerprint;
use super::index::{Index, NoCandidate};
use super::load::Load;
use super::retry::RetryBudget;
use super::selection::Candidate;
use crate::budget::MaybeCapped;
use crate::config;
use crate::dialect::Dialect;
use crate::directory::ProviderGroups;
use crate::limit;
use crate::upstream::{Endpoint, EndpointError, Timeouts};

/// A provider that cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("providers[{index}] ({name}): {why}")]
pub struct CatalogueError {
    index: usize,
    name: String,
    why: String,
}

/// One provider: its settings, and what is made of them once.
pub struct Provider {
    /// As in the configuration.
    pub name: Arc<str>,
    /// Everything else that is configured.
    pub settings: config::Provider,
    /// Where it is and how to reach it.
    pub endpoint: Endpoint,
    /// How long each part of an attempt may take.
    pub timeouts: Timeouts,
    /// What may be spent at it.
    pub budget: MaybeCapped,
    /// Whether it is left alone for a while.
    pub circuits: Arc<Circuits>,
    /// What its circuits are called among nodes.
    pub fingerprint: Fingerprint,
    /// How busy it is.
    pub load: Arc<Load>,
    /// How often it may be asked again.
    pub retries: Arc<RetryBudget>,
    /// Where it sends models that it redirects.
    redirects: BTreeMap<String, Arc<str>>,
    bearer: Option<HeaderValue>,
    plain_key: Option<HeaderValue>,
}

impl Provider {
    fn new(settings: &config::Provider, before: Option<&Self>, news: &Arc<Notify>) -> Result<Self, String> {
        let endpoint = Endpoint::new(
            &settings.name,
            &settings.base_url,
            settings.tls.ca_file.as_deref(),
            settings.tls.verify,
            settings.timeouts.connect,
        )
        .map_err(|e: EndpointError| e.to_string())?;
        let key = settings.api_key.expose();
        let header = |text: &str| -> Result<HeaderValue, String> {
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| "api_key holds a character that a header cannot carry".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Self {
            name: settings.name.as_str().into(),
            bearer: (!key.is_empty()).then(|| header(&format!("Bearer {key}"))).transpose()?,
            plain_key: (!key.is_empty()).then(|| header(key)).transpose()?,
            endpoint,
            timeouts: Timeouts {
                first_byte: settings.timeouts.first_byte,
                idle: settings.timeouts.idle,
                total: settings.timeouts.total,
            },
            circuits: match before {
                Some(before) if before.settings.is_same_upstream(settings) => Arc::clone(&before.circuits),
                _ => Circuits::new(settings.circuit.clone(), news),
            },
            fingerprint: Fingerprint::of(settings),
            // Requests in flight go on, whatever is configured now.
            load: before.map_or_else(Arc::default, |before| Arc::clone(&before.load)),
            retries: before.map_or_else(Arc::default, |before| Arc::clone(&before.retries)),
            redirects: settings.redirects.iter().map(|(from, to)| (from.clone(), to.as_str().into())).collect(),
            budget: limit::provider_budget(&settings.name, &Vec::from(&settings.limits)),
            settings: settings.clone(),
        })
    }

    /// The header that carries this provider's key in a dialect; none when it has no key.
    #[must_use]
    pub fn credential(&self, dialect: Dialect) -> Option<(&'static str, &HeaderValue)> {
        match dialect {
            Dialect::Anthropic => Some(("x-api-key", self.plain_key.as_ref()?)),
            Dialect::Gemini => Some(("x-goog-api-key", self.plain_key.as_ref()?)),
            Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::OpenaiEmbeddings => {
                Some(("authorization", self.bearer.as_ref()?))
            }
        }
    }

    /// Whether it takes the requested model: by its globs, or because it redirects that name.
    #[must_use]
    pub fn takes(&self, model: &str) -> bool {
        self.settings.redirects.contains_key(model) || self.settings.accepts(model)
    }

    /// The model that it would be sent for this one.
    #[must_use]
    pub fn served(&self, model: &Arc<str>) -> Arc<str> {
        Arc::clone(self.redirects.get(&**model).unwrap_or(model))
    }

    /// Why it may not serve this model in this dialect to a key that is confined to these groups; none: it may.
    #[must_use]
    pub fn excluded(&self, dialect: Dialect, model: &str, groups: &ProviderGroups) -> Option<Exclusion> {
        if !self.settings.enabled {
            Some(Exclusion::Disabled)
        } else if !self.settings.dialects.contains(&dialect) {
            Some(Exclusion::Dialect)
        } else if !self.takes(model) {
            Some(Exclusion::Model)
        } else if !self.is_in_reach(groups) {
            Some(Exclusion::OutOfReach)
        } else {
            None
        }
    }

    /// Whether one of its groups is among those that a key may use.
    #[must_use]
    pub fn is_in_reach(&self, groups: &ProviderGroups) -> bool {
        groups.reach(&self.settings.groups)
    }
}

/// Why a provider does not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// It is switched off in the configuration.
    Disabled,
    /// It does not speak the dialect.
    Dialect,
    /// It does not take the model.
    Model,
    /// It is in no group that the key may use.
    OutOfReach,
    /// It may be asked at other times.
    OffSchedule {
        /// Until when.
        until: Option<i64>,
    },
    /// It has as many requests as it may have at once.
    Busy,
    /// It is left alone after failures, or by hand.
    CircuitOpen {
        /// Until when; none: until a trial has ended, or somebody closes it.
        until: Option<i64>,
    },
    /// It is left alone with this model.
    ModelCircuitOpen {
        /// As above.
        until: Option<i64>,
    },
}

impl Exclusion {
    /// The name in answers, and in the attempts of a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Dialect => "dialect",
            Self::Model => "model",
            Self::OutOfReach => "provider_group",
            Self::OffSchedule { .. } => "off_schedule",
            Self::Busy => "busy",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::ModelCircuitOpen { .. } => "model_circuit_open",
        }
    }

    /// When it may be over; none: nobody knows.
    #[must_use]
    pub const fn until(self) -> Option<i64> {
        match self {
            Self::OffSchedule { until } | Self::CircuitOpen { until } | Self::ModelCircuitOpen { until } => until,
            Self::Disabled | Self::Dialect | Self::Model | Self::OutOfReach | Self::Busy => None,
        }
    }
}

impl From<Shut> for Exclusion {
    fn from(Shut { scope, until }: Shut) -> Self {
        match scope {
            Scope::Provider => Self::CircuitOpen { until },
            Scope::Model => Self::ModelCircuitOpen { until },
        }
    }
}

/// The providers of one configuration, by priority.
#[derive(Default)]
pub struct Catalogue {
    pub(super) providers: Vec<Arc<Provider>>,
    index: Index,
    /// Told when a circuit has something to tell to other nodes; the same in all that follow.
    news: Arc<Notify>,
}

impl Catalogue {
    /// The catalogue of a configuration.
    ///
    /// # Errors
    /// Every provider that cannot be used.
    pub fn new(providers: &[config::Provider]) -> Result<Self, Vec<CatalogueError>> {
        Self::default().succeeded_by(providers)
    }

    /// The catalogue of a configuration that takes the place of this one: a provider keeps its circuits as long as it is
    /// the same upstream.
    ///
    /// # Errors
    /// Every provider that cannot be used.
    pub fn succeeded_by(&self, providers: &[config::Provider]) -> Result<Self, Vec<CatalogueError>> {
        let mut usable = Vec::with_capacity(providers.len());
        let mut errors = Vec::new();
        for (index, settings) in providers.iter().enumerate() {
            match Provider::new(settings, self.find(&settings.name).map(|before| &**before), &self.news) {
                Ok(provider) => usable.push(Arc::new(provider)),
                Err(why) => errors.push(CatalogueError { index, name: settings.name.clone(), why }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        usable.sort_by_key(|p| p.settings.priority);
        Ok(Self { index: Index::new(&usable), providers: usable, news: Arc::clone(&self.news) })
    }

    /// All providers, by priority.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.iter()
    }

    /// It is the one in force from now on, after that one: circuits that were kept go by its settings, and those of
    /// another upstream of the same name go by nothing that was before.
    pub fn comes_into_force(&self, after: &Self, now: i64) {
        for provider in &self.providers {
            provider.circuits.configure(&provider.settings.circuit);
            if after.find(&provider.name).is_some_and(|before| !Arc::ptr_eq(&before.circuits, &provider.circuits)) {
                provider.circuits.begin_anew(now);
            }
        }
    }

    /// Told when a circuit has something to tell to other nodes.
    #[must_use]
    pub const fn news(&self) -> &Arc<Notify> {
        &self.news
    }

    /// The provider at this place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&Arc<Provider>> {
        self.providers.get(place)
    }

    /// The provider of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// The places of those that may serve this model in this dialect to a key that is confined to these groups.
    ///
    /// # Errors
    /// There is none.
    pub fn eligible(&self, dialect: Dialect, model: &str, groups: &ProviderGroups) -> Result<Bits, NoCandidate> {
        self.index.eligible(dialect, model, groups)
    }

    /// The provider at this place, for this model.
    #[must_use]
    pub fn candidate(&self, place: usize, model: &Arc<str>) -> Option<Candidate> {
        let provider = Arc::clone(self.providers.get(place)?);
        Some(Candidate { served_model: provider.served(model), provider })
    }
}
