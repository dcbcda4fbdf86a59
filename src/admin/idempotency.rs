//! `Idempotency-Key`: a POST that is repeated with the same key is carried out once.
//!
//! The key is claimed by inserting its row as the first statement of the write's own transaction, so a second request
//! with the same key waits in the database until the first has committed (and then gets its answer) or has been
//! rolled back (and then does the work itself), on whichever node it arrives. Refusals are not remembered.

use axum::Json;
use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use entity::idempotency_keys::{ActiveModel, Column, Entity};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::auth::Actor;
use super::problem::{Code, Problem};

/// For how long an answer is remembered.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;
const MAX_KEY: usize = 255;
/// Set on an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The request header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The key of this request, if it has one.
#[derive(Debug)]
pub struct IdempotencyKey {
    key: Option<String>,
    /// Method and path.
    target: String,
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = || {
            let message = format!("must be given once, with 1 to {MAX_KEY} visible ASCII characters");
            Problem::invalid("Idempotency-Key", "invalid", message)
        };
        let mut values = parts.headers.get_all(HEADER).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => {
                let key = value.to_str().map_err(|_| wrong())?;
                if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|c| c.is_ascii_graphic()) {
                    return Err(wrong());
                }
                Some(key.to_owned())
            }
            _ => return Err(wrong()),
        };
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
        Ok(Self { key, target: format!("{} {}", parts.method, uri.path()) })
    }
}

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// Do the work. A key, if there is one, is ours until the transaction ends: remember the answer under this id.
    Ours(Option<String>),
    /// The work was done before; this is the answer.
    Replay(Response),
}

impl IdempotencyKey {
    /// Claims the key as the first statement of the write's transaction.
    ///
    /// # Errors
    /// The key was used with another body, or the database refused.
    pub async fn claim(
        &self,
        txn: &DatabaseTransaction,
        actor: &Actor,
        body: &[u8],
        now: i64,
    ) -> Result<Claim, Problem> {
        let Some(key) = &self.key else { return Ok(Claim::Ours(None)) };
        // The name of a token that was revoked may be another's now; its id never is.
        let who = actor.id.map_or_else(|| actor.name.to_string(), |id| id.to_string());
        let id = hash(&[who.as_bytes(), self.target.as_bytes(), key.as_bytes()]);
        let body_hash = hash(&[body]);
        // An answer that is too old does not count, whether or not it has been swept away yet.
        Entity::delete_many()
            .filter(Column::Id.eq(&id))
            .filter(Column::CreatedAt.lte(now - REMEMBERED_MS))
            .exec(txn)
            .await?;
        let row = ActiveModel {
            id: Set(id.clone()),
            body_hash: Set(body_hash.clone()),
            status: Set(0),
            answer: Set(String::new()),
            created_at: Set(now),
        };
        let on_conflict = OnConflict::column(Column::Id).do_nothing().to_owned();
        if Entity::insert(row).on_conflict(on_conflict).exec_without_returning(txn).await? > 0 {
            return Ok(Claim::Ours(Some(id)));
        }
        let Some(row) = Entity::find_by_id(id).one(txn).await? else {
            return Err(Problem::internal(&"an idempotency key vanished while it was used"));
        };
        if row.body_hash != body_hash {
            return Err(Problem::new(
                Code::IdempotencyKeyReused,
                "This Idempotency-Key was used with another body; take a new key for a new request.",
            ));
        }
        let answer: Answer = serde_json::from_str(&row.answer).map_err(|error| Problem::internal(&error))?;
        let mut response = answer.into_response();
        *response.status_mut() = u16::try_from(row.status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::OK);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(Claim::Replay(response))
    }
}

/// The answer to a POST.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    #[serde(skip)]
    status: StatusCode,
    location: Option<String>,
    version: Option<i64>,
    body: Box<RawValue>,
}

impl Answer {
    /// 201: an object was created.
    ///
    /// # Errors
    /// The object cannot be written as JSON.
    pub fn created<T: Serialize>(location: String, version: i64, body: &T) -> Result<Self, Problem> {
        Ok(Self { status: StatusCode::CREATED, location: Some(location), version: Some(version), body: raw(body)? })
    }

    /// 200: something was done.
    ///
    /// # Errors
    /// The result cannot be written as JSON.
    pub fn done<T: Serialize>(version: Option<i64>, body: &T) -> Result<Self, Problem> {
        Ok(Self { status: StatusCode::OK, location: None, version, body: raw(body)? })
    }

    /// The same answer about a body without its secret, to be remembered.
    ///
    /// # Errors
    /// The object cannot be written as JSON.
    pub fn with_body<T: Serialize>(&self, body: &T) -> Result<Self, Problem> {
        Ok(Self { status: self.status, location: self.location.clone(), version: self.version, body: raw(body)? })
    }

    /// Keeps the answer for later claims of the key with this id. It must not have secrets in it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn remember(&self, txn: &DatabaseTransaction, id: String) -> Result<(), Problem> {
        let answer = serde_json::to_string(self).map_err(|error| Problem::internal(&error))?;
        let row = ActiveModel {
            id: Set(id),
            status: Set(i32::from(self.status.as_u16())),
            answer: Set(answer),
            ..Default::default()
        };
        Entity::update(row).exec(txn).await?;
        Ok(())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let body = self.body.get().to_owned();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        let location = self.location.and_then(|location| HeaderValue::from_str(&location).ok());
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if let Some(version) = self.version {
            response.headers_mut().insert(header::ETAG, etag(version));
        }
        response
    }
}

/// The `ETag` of an object at a version.
fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// An object with its version as `ETag`.
pub fn with_etag<T: Serialize>(version: i64, body: &T) -> Response {
    ([(header::ETAG, etag(version))], Json(body)).into_response()
}

/// SHA-256 in hex; where one part ends and the next begins counts.
fn hash(parts: &[&[u8]]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    format!("{:x}", sha.finalize())
}

fn raw<T: Serialize>(body: &T) -> Result<Box<RawValue>, Problem> {
    serde_json::value::to_raw_value(body).map_err(|error| Problem::internal(&error))
}
