//! The prices in force: what the API set, over the price file, over the built-in book.

use std::sync::Arc;

use arc_swap::ArcSwap;
use entity::model_prices;
use parking_lot::Mutex;
use sea_orm::{DatabaseConnection, DbErr, EntityTrait};

use super::StartError;
use crate::config::Config;
use crate::pricing::{Price, PriceBook, Prices};
use crate::store::StoreError;

/// Builds the price book anew whenever one of its layers changes.
pub struct PriceKeeper {
    db: DatabaseConnection,
    book: Arc<ArcSwap<PriceBook>>,
    layers: Mutex<Layers>,
    /// One reader of the database at a time: an older reading must not be stored after a newer one.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Layers {
    file: Prices,
    rest: Prices,
}

impl PriceKeeper {
    /// Reads the price file and the database.
    pub(super) async fn start(db: DatabaseConnection, config: &Config) -> Result<Arc<Self>, StartError> {
        let layers = Layers { file: read_file(config).map_err(StartError::Prices)?, rest: Prices::new() };
        let book = Arc::new(ArcSwap::from_pointee(PriceBook::new(&layers.file, &layers.rest)));
        let keeper = Arc::new(Self { db, book, layers: Mutex::new(layers), reading: tokio::sync::Mutex::default() });
        keeper.read_database().await.map_err(StoreError::from)?;
        Ok(keeper)
    }

    /// The book that requests look into.
    pub(super) fn handle(&self) -> Arc<ArcSwap<PriceBook>> {
        Arc::clone(&self.book)
    }

    /// Takes over what the API or an import wrote.
    ///
    /// # Errors
    /// When the database does not answer; the old prices stay.
    pub async fn read_database(&self) -> Result<(), DbErr> {
        let _alone = self.reading.lock().await;
        let mut rest = Prices::new();
        for row in model_prices::Entity::find().all(&self.db).await? {
            let price = serde_json::from_str(&row.price).map_err(|e| e.to_string());
            match price.and_then(|value| Price::from_value(&value).map_err(|e| format!("{e:?}"))) {
                Ok(price) => drop(rest.insert(row.model, Arc::new(price))),
                Err(error) => tracing::error!(model = row.model, error, "a stored price cannot be used; set it again"),
            }
        }
        self.change(|layers| layers.rest = rest);
        Ok(())
    }

    /// The book that a gateway with this configuration would use now, for work beside it.
    ///
    /// # Errors
    /// When the price file or the database cannot be read.
    pub async fn book(db: &DatabaseConnection, config: &Config) -> Result<Arc<PriceBook>, StartError> {
        Ok(Self::start(db.clone(), config).await?.book.load_full())
    }

    /// Takes over what was written elsewhere, sooner or later.
    pub(super) async fn refresh(&self) {
        if let Err(error) = self.read_database().await {
            tracing::warn!(%error, "prices were not refreshed; the old ones stay in force");
        }
    }

    /// Takes over the price file of a new configuration.
    pub(super) fn set_file(&self, file: Prices) {
        self.change(|layers| layers.file = file);
    }

    fn change(&self, change: impl FnOnce(&mut Layers)) {
        let mut layers = self.layers.lock();
        change(&mut layers);
        self.book.store(Arc::new(PriceBook::new(&layers.file, &layers.rest)));
    }
}

/// The prices of the configuration's price file.
pub(super) fn read_file(config: &Config) -> Result<Prices, String> {
    let Some(path) = &config.prices.file else { return Ok(Prices::new()) };
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))?;
    let imported = crate::pricing::import(&text).map_err(|e| format!("{shown}: {e}"))?;
    for skipped in &imported.report.skipped {
        tracing::warn!(file = %shown, model = skipped.model, reason = skipped.reason, "a price was left out");
    }
    Ok(imported.prices)
}
