//! Who is asking: administrators by their token, users by their key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use entity::{keys, users};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AdminState;
use super::guesses::Guesses;
use super::problem::{Code, Problem};
use super::tokens::TokenCache;
use crate::directory::{FailureGuard, SecretHash, Standing, is_key_shaped};

/// Longer than any token; what is longer is not even hashed.
const MAX_TOKEN: usize = 512;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Read.
    Viewer,
}

impl Role {
    /// The name in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

/// The administrator behind a request.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Id of the token; none: it is not a stored one.
    pub id: Option<i64>,
    /// Name of the token, for the audit log.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// The request in which it acts; none: not over REST.
    pub request: Option<Uuid>,
}

/// What the answer to a request calls it, `x-tollgate-request-id`.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

/// The credentials that are accepted, and the memory of those that were not.
#[derive(Debug)]
pub struct Auth {
    /// The hash in hex of the environment's token.
    environment: Option<(String, Actor)>,
    pub(super) tokens: TokenCache,
    guard: FailureGuard,
    guesses: Guesses,
}

/// Name in the audit log of the token that was given by the environment; no stored token may have it.
pub const ENVIRONMENT_ACTOR: &str = "TOLLGATE_ADMIN_TOKEN";

/// Name in the audit log of whoever acted on the command line.
pub const COMMAND_LINE: &str = "command line";

impl Actor {
    /// Whoever acts on the command line.
    pub fn command_line() -> Self {
        Self::unstored(COMMAND_LINE)
    }

    fn unstored(name: &str) -> Self {
        Self { id: None, name: name.into(), role: Role::Admin, request: None }
    }
}

impl Auth {
    /// `environment` is a token that is accepted without being stored.
    #[must_use]
    pub fn new(environment: Option<&str>) -> Self {
        let actor = Actor::unstored(ENVIRONMENT_ACTOR);
        Self {
            environment: environment.map(|token| (SecretHash::of(token).to_string(), actor)),
            tokens: TokenCache::default(),
            guard: FailureGuard::default(),
            guesses: Guesses::default(),
        }
    }
}

/// An administrator who may read.
#[derive(Debug)]
pub struct Viewer;

impl FromRequestParts<AdminState> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        authenticate(parts, state).await.map(|_| Self)
    }
}

/// An administrator who may write.
#[derive(Debug)]
pub struct Admin(pub Actor);

impl FromRequestParts<AdminState> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let actor = authenticate(parts, state).await?;
        match actor.role {
            Role::Admin => Ok(Self(actor)),
            Role::Viewer => Err(Problem::new(Code::Forbidden, "A viewer's token may only read.")),
        }
    }
}

/// The owner of a key that may be used now.
#[derive(Debug)]
pub struct KeyOwner {
    /// Who pays.
    pub user: users::Model,
    /// What was presented.
    pub key: keys::Model,
}

impl FromRequestParts<AdminState> for KeyOwner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        let now = state.now();
        let hash = SecretHash::of(&token);
        if !is_key_shaped(&token) {
            return Err(refuse(parts, state, &hash, now));
        }
        let standing = state.auth.guard.standing(address(parts), Some(&hash), now);
        if standing == Standing::Blocked && !state.auth.guesses.may_ask(&hash, now) {
            return Err(refuse(parts, state, &hash, now));
        }
        let key = keys::Entity::find().filter(keys::Column::SecretHash.eq(hash.to_string())).one(&state.db).await?;
        let Some(key) = key else {
            state.auth.guesses.was_wrong(&hash);
            return Err(refuse(parts, state, &hash, now));
        };
        state.auth.guesses.was_right(hash);
        // A key without its user is on its way out.
        let user = users::Entity::find_by_id(key.user_id).one(&state.db).await?;
        let user = user.ok_or_else(|| refuse(parts, state, &hash, now))?;
        let usable = |enabled: bool, expires_at: Option<i64>| enabled && expires_at.is_none_or(|at| now < at);
        if usable(key.enabled, key.expires_at) && usable(user.enabled, user.expires_at) {
            Ok(Self { user, key })
        } else {
            Err(Problem::new(Code::Unauthorized, "This key, or its user, is disabled or has expired."))
        }
    }
}

async fn authenticate(parts: &Parts, state: &AdminState) -> Result<Actor, Problem> {
    let actor = authenticated(parts, state).await?;
    Ok(Actor { request: parts.extensions.get::<RequestId>().map(|RequestId(id)| *id), ..actor })
}

async fn authenticated(parts: &Parts, state: &AdminState) -> Result<Actor, Problem> {
    let token = bearer(parts)?;
    let hash = SecretHash::of(&token);
    let hex = hash.to_string();
    if let Some((expected, actor)) = &state.auth.environment
        && bool::from(hex.as_bytes().ct_eq(expected.as_bytes()))
    {
        return Ok(actor.clone());
    }
    let now = state.now();
    match state.auth.tokens.find(&state.db, &hex, now).await? {
        Some(actor) => Ok(actor),
        None => Err(refuse(parts, state, &hash, now)),
    }
}

fn bearer(parts: &Parts) -> Result<String, Problem> {
    let missing = || Problem::new(Code::Unauthorized, "Send the token as Authorization: Bearer TOKEN.");
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > MAX_TOKEN {
        return Err(missing());
    }
    Ok(token.to_owned())
}

/// A wrong credential. Whoever has a right one is never stopped by the guard, so it cannot be used to lock out others
/// behind the same address.
fn refuse(parts: &Parts, state: &AdminState, hash: &SecretHash, now: i64) -> Problem {
    match state.auth.guard.failed(address(parts), Some(hash), now) {
        Ok(()) => Problem::new(Code::Unauthorized, "This credential is not known here."),
        Err(wait) => {
            let detail = "This address has presented too many wrong credentials, or this one too often.";
            Problem::new(Code::TooManyAuthFailures, detail).retry_after(wait.as_millis().div_ceil(1000))
        }
    }
}

fn address(parts: &Parts) -> IpAddr {
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}
