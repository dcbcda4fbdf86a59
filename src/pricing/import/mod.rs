//! Imports prices: LiteLLM's public list, or our own YAML or JSON; which of them it is shows in the content.

mod document;
mod field;
mod public;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::book::Prices;
use super::price::Price;
use super::read::{joined, shown};

/// The largest list that is read. The public one has less than 2 MiB.
pub const MAX_IMPORT_BYTES: usize = 8 * 1024 * 1024;

/// The longest name of a model that has a price, in bytes.
pub const MAX_MODEL_NAME: usize = 256;

/// The longest reason that is reported, in characters.
const MAX_REASON: usize = 300;

/// Why nothing at all could be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// More than [`MAX_IMPORT_BYTES`].
    #[error("the price list has {0} bytes; at most {MAX_IMPORT_BYTES} are read")]
    TooLarge(usize),
    /// Neither JSON nor YAML.
    #[error("the price list cannot be read: {0}")]
    Malformed(String),
    /// Something else than a mapping of models.
    #[error("a price list is a mapping from model names to prices, and this one has none")]
    NoModels,
}

/// What an import found.
#[derive(Debug)]
pub struct Imported {
    /// The prices that are good.
    pub prices: Prices,
    /// What became of the rest.
    pub report: ImportReport,
}

/// What became of the entries of a price list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// Models that have a price now.
    pub imported: usize,
    /// Models that were left out.
    pub skipped: Vec<Skipped>,
    /// Prices of imported models that are not charged for, with the number of models that have them.
    pub ignored_fields: BTreeMap<String, usize>,
}

/// A model that was left out of an import.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, utoipa::ToSchema)]
#[error("{model}: {reason}")]
pub struct Skipped {
    /// Its name.
    pub model: String,
    /// Why.
    pub reason: String,
}

/// Reads a price list. One bad entry does not stop the others.
///
/// # Errors
/// When the list as a whole cannot be read.
pub fn import(text: &str) -> Result<Imported, ImportError> {
    if text.len() > MAX_IMPORT_BYTES {
        return Err(ImportError::TooLarge(text.len()));
    }
    let entries = document::entries(text)?;
    let is_public = entries.iter().any(|(_, entry)| public::looks_public(entry));
    let (mut prices, mut report) = (Prices::new(), ImportReport::default());
    for (name, entry) in entries {
        let read = model_name(&name, &prices).and_then(|model| {
            let price = if is_public { public::read(&entry, &mut report.ignored_fields) } else { own(&entry) };
            Ok((model, price?))
        });
        match read {
            Ok((model, price)) => drop(prices.insert(model, Arc::new(price))),
            Err(reason) => report.skipped.push(Skipped {
                model: name.chars().take(MAX_MODEL_NAME).collect(),
                reason: reason.chars().take(MAX_REASON).collect(),
            }),
        }
    }
    report.imported = prices.len();
    Ok(Imported { prices, report })
}

fn own(entry: &Value) -> Result<Price, String> {
    Price::from_value(entry).map_err(|errors| joined(&errors))
}

fn model_name(name: &str, taken: &Prices) -> Result<String, String> {
    let model = name.trim();
    if model.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if model.len() > MAX_MODEL_NAME || model.chars().any(char::is_control) {
        return Err(format!("a name has at most {MAX_MODEL_NAME} bytes and no control characters"));
    }
    if taken.contains_key(model) {
        return Err(format!("`{}` is listed twice; the first one is used", shown(model)));
    }
    Ok(model.to_owned())
}

#[cfg(test)]
mod tests;
