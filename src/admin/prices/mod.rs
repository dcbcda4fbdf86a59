//! `/prices`: what models cost. REST wins over the file of the configuration, and that over the built-in list.

mod import;

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::model_prices::{ActiveModel, Column, Entity, Model};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Admin, Viewer};
use super::extract::{IfMatch, Name, Params, Payload};
use super::idempotency::{Answer, with_etag};
use super::page::{Page, PageParams, PageRequest};
use super::problem::{Code, InvalidParam, Problem};
use super::store::{BATCH, Write};
use crate::pricing::{MAX_MODEL_NAME, Price, PriceBook, PriceSource};

pub use import::import_prices;
pub(super) use import::*;

const KIND: &str = "price";
/// The version of a price that was not set over REST.
const NEVER_WRITTEN: i64 = 0;

/// The price of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ModelPrice)]
pub struct ModelPrice {
    /// Its name, as sent upstream.
    model: String,
    /// Where the price comes from.
    source: PriceSource,
    /// Counts the writes over REST; 0: it comes from elsewhere.
    version: i64,
    #[serde(flatten)]
    #[schema(inline)]
    price: Price,
}

impl ModelPrice {
    /// A price that was set over REST.
    fn kept(row: Model) -> Result<Self, Problem> {
        let price = serde_json::from_str(&row.price).map_err(|error| Problem::internal(&error))?;
        Ok(Self { model: row.model, source: PriceSource::Rest, version: row.version, price })
    }

    /// The price that is in force. The book does not know versions.
    fn in_force(book: &PriceBook, model: &str) -> Option<Self> {
        let (source, price) = book.entry(model)?;
        Some(Self { model: model.to_owned(), source, version: NEVER_WRITTEN, price: Price::clone(price) })
    }
}

/// Lists the prices that are in force, by name.
#[utoipa::path(get, path = "/prices", operation_id = "listPrices", tag = "prices", params(PageParams),
    responses((status = 200, description = "A page of prices.", body = Page<ModelPrice>)))]
pub(super) async fn list(
    _: Viewer,
    State(state): State<AdminState>,
    mut params: Params,
) -> Result<Json<Page<ModelPrice>>, Problem> {
    let page = PageRequest::<String>::read(&mut params, KIND);
    params.finish()?;
    let book = (state.prices)();
    let mut rows: Vec<ModelPrice> = book
        .iter()
        .filter(|(model, ..)| page.after.as_ref().is_none_or(|after| *model > after.as_str()))
        .take(usize::try_from(page.fetch()).unwrap_or(usize::MAX))
        .map(|(model, source, price)| ModelPrice {
            model: model.to_owned(),
            source,
            version: NEVER_WRITTEN,
            price: Price::clone(price),
        })
        .collect();
    let versions = versions(&state.db, rows.iter().map(|row| row.model.as_str())).await?;
    for row in &mut rows {
        row.version = versions.get(&row.model).copied().unwrap_or(NEVER_WRITTEN);
    }
    page.page(KIND, rows, |row| row.model.clone(), Ok).map(Json)
}

/// Shows the price of a model.
#[utoipa::path(get, path = "/prices/{model}", operation_id = "getPrice", tag = "prices",
    params(("model" = String, Path, description = "As sent upstream; at most 256 bytes in UTF-8.")),
    responses((status = 200, description = "The price.", body = ModelPrice)))]
pub(super) async fn get(_: Viewer, State(state): State<AdminState>, Name(model): Name) -> Result<Response, Problem> {
    let model = model_name(&model)?;
    let mut price = ModelPrice::in_force(&(state.prices)(), &model).ok_or_else(|| Problem::not_found(KIND))?;
    if let Some(version) = versions(&state.db, [model.as_str()]).await?.get(&model) {
        price.version = *version;
    }
    Ok(with_etag(price.version, &price))
}

/// Sets the price of a model, whole. `If-Match: *` sets it only where there is one, from whatever source.
#[utoipa::path(put, path = "/prices/{model}", operation_id = "putPrice", tag = "prices",
    params(("model" = String, Path, description = "As sent upstream; at most 256 bytes in UTF-8.")), request_body = Price,
    responses(
        (status = 200, description = "The price was replaced.", body = ModelPrice),
        (status = 201, description = "The price was set over REST for the first time.", body = ModelPrice)))]
pub(super) async fn put(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Name(model): Name,
    if_match: IfMatch,
    body: Payload,
) -> Result<Response, Problem> {
    let model = model_name(&model)?;
    let price = Price::from_value(&body.json(&["application/json"])?).map_err(|errors| {
        let wrong = errors.into_iter().map(|error| InvalidParam::new(error.path, "invalid", error.message));
        Problem::validation(wrong.collect())
    })?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let replaced =
        Entity::find_by_id(&model).lock_exclusive().one(&write.txn).await?.map(ModelPrice::kept).transpose()?;
    set(&write.txn, [(&model, &price)], write.now).await?;
    // The row is ours now, and its version counts this write: also when another one created it at the same time.
    let row =
        Entity::find_by_id(&model).one(&write.txn).await?.ok_or_else(|| Problem::internal(&"a price vanished"))?;
    let before = row.version - 1;
    let old = replaced.or_else(|| ModelPrice::in_force(&(state.prices)(), &model));
    // A price of the file or the built-in list can be read too, so there is one. One of REST that was deleted on
    // another node a moment ago may still be in the book here.
    let covers = old.as_ref().is_some_and(|old| !matches!(old.source, PriceSource::Rest));
    if_match.check_put(before, before != NEVER_WRITTEN || covers)?;
    let after = ModelPrice { model, source: PriceSource::Rest, version: row.version, price };
    let action = if before == NEVER_WRITTEN { "create" } else { "update" };
    write.record(action, KIND, &after.model, old.as_ref(), Some(&after)).await?;
    write.commit().await?;
    state.invalidate.prices().await;
    if before == NEVER_WRITTEN {
        return Ok(Answer::created(location(&after.model), after.version, &after)?.into_response());
    }
    Ok(with_etag(after.version, &after))
}

/// Takes away what was set over REST; the price of the file or the built-in list applies again, if there is one.
#[utoipa::path(delete, path = "/prices/{model}", operation_id = "deletePrice", tag = "prices",
    params(("model" = String, Path, description = "As sent upstream; at most 256 bytes in UTF-8.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 409, description = "The price does not come from REST.", body = super::problem::ProblemDocument)))]
pub(super) async fn delete(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    Name(model): Name,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let model = model_name(&model)?;
    let write = Write::begin(&state.db, actor, state.now()).await?;
    let Some(row) = Entity::find_by_id(&model).lock_exclusive().one(&write.txn).await? else {
        return Err(match (state.prices)().entry(&model) {
            Some(_) => Problem::new(Code::Conflict, "This price was not set over REST; set another one instead."),
            None => Problem::not_found(KIND),
        });
    };
    if_match.check(row.version)?;
    Entity::delete_by_id(&model).exec(&write.txn).await?;
    let before = ModelPrice::kept(row)?;
    write.record("delete", KIND, &before.model, Some(&before), None::<&ModelPrice>).await?;
    write.commit().await?;
    state.invalidate.prices().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets prices, each at its next version.
async fn set<'a>(
    txn: &DatabaseTransaction,
    prices: impl IntoIterator<Item = (&'a String, &'a Price)>,
    now: i64,
) -> Result<(), Problem> {
    let mut rows = Vec::new();
    for (model, price) in prices {
        rows.push(ActiveModel {
            model: Set(model.clone()),
            price: Set(serde_json::to_string(price).map_err(|error| Problem::internal(&error))?),
            version: Set(NEVER_WRITTEN + 1),
            updated_at: Set(now),
        });
    }
    // In one order everywhere, so that two imports cannot wait for each other.
    rows.sort_by(|a, b| a.model.as_ref().cmp(b.model.as_ref()));
    for batch in rows.chunks(BATCH) {
        let on_conflict = OnConflict::column(Column::Model)
            .update_columns([Column::Price, Column::UpdatedAt])
            .value(Column::Version, Expr::col((Entity, Column::Version)).add(1))
            .to_owned();
        Entity::insert_many(batch.iter().cloned()).on_conflict(on_conflict).exec_without_returning(txn).await?;
    }
    Ok(())
}

async fn versions(
    db: &impl ConnectionTrait,
    models: impl IntoIterator<Item = &str>,
) -> Result<HashMap<String, i64>, Problem> {
    let rows: Vec<(String, i64)> = Entity::find()
        .select_only()
        .column(Column::Model)
        .column(Column::Version)
        .filter(Column::Model.is_in(models))
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().collect())
}

fn model_name(name: &str) -> Result<String, Problem> {
    let trimmed = name.trim();
    if trimmed.is_empty() || trimmed.len() > MAX_MODEL_NAME || trimmed.chars().any(char::is_control) {
        let message = format!("must have 1 to {MAX_MODEL_NAME} bytes in UTF-8 and no control characters");
        return Err(Problem::invalid("model", "invalid", message));
    }
    Ok(trimmed.to_owned())
}

fn location(model: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(model, percent_encoding::NON_ALPHANUMERIC);
    format!("/api/v1/prices/{name}")
}
