//! `/prices:import`: the prices of a whole list at once.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use entity::model_prices::{Column, Entity, Model};
use sea_orm::{ColumnTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter};

use super::super::AdminState;
use super::super::auth::{Actor, Admin};
use super::super::extract::Payload;
use super::super::idempotency::{Answer, IdempotencyKey};
use super::super::problem::{Code, Problem};
use super::super::store::{BATCH, Once, Write};
use super::{KIND, ModelPrice, NEVER_WRITTEN, set};
use crate::pricing::{ImportReport, Imported, MAX_IMPORT_BYTES, Price, PriceBook, PriceSource, import};

const ACTION: &str = "import";

/// Imports the public price list (JSON), or our own format (YAML or JSON): each of its models is set, others stay.
///
/// A price that REST has set to the same before is not written again. The audit log has a row of each price that was
/// written, with what it was, and then one of the import (`objectId` `*`).
#[utoipa::path(post, path = "/prices:import", operation_id = "importPrices", tag = "prices",
    request_body(content((Object = "application/json"), (Object = "application/yaml"))),
    responses((status = 200, description = "What became of the list.", body = ImportReport)))]
pub(in super::super) async fn import_list(
    Admin(actor): Admin,
    State(state): State<AdminState>,
    key: IdempotencyKey,
    body: Payload<MAX_IMPORT_BYTES>,
) -> Result<Response, Problem> {
    body.require(&["application/json", "application/yaml", "application/x-yaml", "text/yaml"])?;
    let text = std::str::from_utf8(&body.bytes)
        .map_err(|_| Problem::new(Code::InvalidRequest, "The price list is not UTF-8."))?;
    // A list of megabytes takes long to read; requests on this thread should not wait for it.
    let text = text.to_owned();
    let imported = tokio::task::spawn_blocking(move || import(&text))
        .await
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    let write = match Write::once(&state.db, actor, state.now(), &key, &body.bytes).await? {
        Once::Replay(answer) => return Ok(state.replayed(answer).await),
        Once::Write(write) => write,
    };
    take(&write, &imported, Some(&(state.prices)())).await?;
    let answer = Answer::done(None, &imported.report)?;
    write.commit_with(&answer).await?;
    state.invalidate.prices().await;
    Ok(answer.into_response())
}

/// Sets the prices of a list that was read from a file, as `POST /prices:import` does. What the file of the
/// configuration and the built-in list say is not known here: the audit log shows what REST had set.
///
/// # Errors
/// The database does not take them; then none is set.
pub async fn import_prices(db: &DatabaseConnection, imported: &Imported, now: i64) -> Result<(), Problem> {
    let write = Write::begin(db, Actor::command_line(), now).await?;
    take(&write, imported, None).await?;
    write.commit().await
}

/// Sets the prices that are not set like this already, and records each of them, and the import.
async fn take(write: &Write, imported: &Imported, in_force: Option<&PriceBook>) -> Result<(), Problem> {
    write.alone(Entity).await?;
    let models: Vec<&str> = imported.prices.keys().map(String::as_str).collect();
    let mut kept = kept(&write.txn, &models).await?;
    let (mut changed, mut rows) = (Vec::<(&String, &Price)>::new(), Vec::new());
    for (model, price) in &imported.prices {
        let replaced = kept.remove(model).map(ModelPrice::kept).transpose()?;
        if replaced.as_ref().is_some_and(|replaced| replaced.price == **price) {
            continue;
        }
        let version = replaced.as_ref().map_or(NEVER_WRITTEN, |replaced| replaced.version) + 1;
        let before = replaced.or_else(|| ModelPrice::in_force(in_force?, model));
        let after = ModelPrice { model: model.clone(), source: PriceSource::Rest, version, price: Price::clone(price) };
        rows.push(write.row(ACTION, KIND, model, before.as_ref(), Some(&after))?);
        changed.push((model, price));
    }
    set(&write.txn, changed, write.now).await?;
    rows.push(write.row(ACTION, KIND, "*", None::<&()>, Some(&imported.report))?);
    write.record_all(rows).await
}

/// The rows of those of these models that have one.
async fn kept(txn: &DatabaseTransaction, models: &[&str]) -> Result<HashMap<String, Model>, Problem> {
    let mut found = HashMap::new();
    for batch in models.chunks(BATCH) {
        let rows = Entity::find().filter(Column::Model.is_in(batch.iter().copied())).all(txn).await?;
        found.extend(rows.into_iter().map(|row| (row.model.clone(), row)));
    }
    Ok(found)
}
