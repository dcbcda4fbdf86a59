//! From method, path and query to the endpoint that a request is for, and back to the path that goes upstream.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Dialect, ErrorCode, GatewayError, Shape};

/// The longest model name that is accepted, in bytes.
pub(super) const MAX_MODEL_BYTES: usize = 256;

/// What stays readable in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Query parameters that carry a credential, in lower case. `key` is the documented one; the others are Google's
/// and would let a client replace the provider's credential by its own.
const CREDENTIAL_PARAMETERS: [&str; 5] = ["key", "$key", "access_token", "oauth_token", "api_key"];

/// What a request asks us to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`.
    MessagesCountTokens,
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1beta/models/{model}:generateContent`.
    GenerateContent,
    /// `POST /v1beta/models/{model}:streamGenerateContent`.
    StreamGenerateContent,
    /// `POST /v1beta/models/{model}:countTokens`.
    GeminiCountTokens,
    /// `POST /v1beta/models/{model}:embedContent`.
    EmbedContent,
    /// `POST /v1beta/models/{model}:batchEmbedContents`.
    BatchEmbedContents,
    /// `GET /v1/models` and `GET /v1beta/models`.
    ListModels,
    /// `GET /v1/models/{id}` and `GET /v1beta/models/{id}`.
    GetModel,
}

impl Endpoint {
    /// The wire format of its bodies; none for the model lists, which we answer ourselves.
    #[must_use]
    pub const fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Messages | Self::MessagesCountTokens => Some(Dialect::Anthropic),
            Self::ChatCompletions => Some(Dialect::OpenaiChat),
            Self::Responses => Some(Dialect::OpenaiResponses),
            Self::Embeddings => Some(Dialect::OpenaiEmbeddings),
            Self::GenerateContent
            | Self::StreamGenerateContent
            | Self::GeminiCountTokens
            | Self::EmbedContent
            | Self::BatchEmbedContents => Some(Dialect::Gemini),
            Self::ListModels | Self::GetModel => None,
        }
    }

    /// Whether it only counts tokens, which is free.
    #[must_use]
    pub const fn is_counting(self) -> bool {
        matches!(self, Self::MessagesCountTokens | Self::GeminiCountTokens)
    }

    /// Whether it produces an answer that costs money.
    #[must_use]
    pub const fn is_generation(self) -> bool {
        !matches!(self, Self::MessagesCountTokens | Self::GeminiCountTokens | Self::ListModels | Self::GetModel)
    }

    /// Whether it turns text into vectors.
    #[must_use]
    pub const fn is_embedding(self) -> bool {
        matches!(self, Self::Embeddings | Self::EmbedContent | Self::BatchEmbedContents)
    }

    /// The verb after the colon of a Gemini path.
    const fn gemini_verb(self) -> Option<&'static str> {
        match self {
            Self::GenerateContent => Some("generateContent"),
            Self::StreamGenerateContent => Some("streamGenerateContent"),
            Self::GeminiCountTokens => Some("countTokens"),
            Self::EmbedContent => Some("embedContent"),
            Self::BatchEmbedContents => Some("batchEmbedContents"),
            _ => None,
        }
    }

    fn from_gemini_verb(verb: &str) -> Option<Self> {
        [
            Self::GenerateContent,
            Self::StreamGenerateContent,
            Self::GeminiCountTokens,
            Self::EmbedContent,
            Self::BatchEmbedContents,
        ]
        .into_iter()
        .find(|endpoint| endpoint.gemini_verb() == Some(verb))
    }
}

/// What the headers tell about the client's SDK; used where the path alone does not say what it expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHints {
    /// `x-goog-api-key` or `x-goog-api-client` is present.
    pub google: bool,
    /// `anthropic-version` or `x-api-key` is present.
    pub anthropic: bool,
}

impl ClientHints {
    /// Asks for the header names that tell.
    pub fn from_headers(has: impl Fn(&str) -> bool) -> Self {
        Self {
            google: has("x-goog-api-key") || has("x-goog-api-client"),
            anthropic: has("anthropic-version") || has("x-api-key"),
        }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it asks for.
    pub endpoint: Endpoint,
    /// The model that the path names, decoded (Gemini, and `GetModel`).
    pub path_model: Option<String>,
    /// How errors and lists must look.
    pub shape: Shape,
    /// What of the query may go upstream, without the question mark; never a credential.
    pub forward_query: Option<String>,
}

impl Route {
    /// The path to ask the provider for. `served_model` is the model after redirects.
    #[must_use]
    pub fn upstream_path(&self, served_model: &str) -> String {
        let fixed = match self.endpoint {
            Endpoint::Messages => "/v1/messages",
            Endpoint::MessagesCountTokens => "/v1/messages/count_tokens",
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Responses => "/v1/responses",
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::ListModels => "/v1/models",
            Endpoint::GetModel => return format!("/v1/models/{}", utf8_percent_encode(served_model, SEGMENT)),
            gemini => {
                let verb = gemini.gemini_verb().unwrap_or_default();
                return format!("/v1beta/models/{}:{verb}", utf8_percent_encode(served_model, SEGMENT));
            }
        };
        fixed.to_owned()
    }

    /// [`Self::upstream_path`] with the query that may be forwarded.
    #[must_use]
    pub fn upstream_path_and_query(&self, served_model: &str) -> String {
        let mut path = self.upstream_path(served_model);
        if let Some(query) = &self.forward_query {
            path.push('?');
            path.push_str(query);
        }
        path
    }
}

/// Why a request goes nowhere, and in which shape the client should hear it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct RouteError {
    /// How the error must look.
    pub shape: Shape,
    /// Whose path it is, where there is one.
    pub dialect: Option<Dialect>,
    /// What is wrong.
    pub problem: RouteProblem,
}

/// What is wrong with a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteProblem {
    /// No such path.
    #[error("there is nothing at this path; see the gateway's documentation for the paths it serves")]
    NotFound,
    /// The path exists, the method does not.
    #[error("this path answers only {allow}")]
    MethodNotAllowed {
        /// The value of the `allow` header.
        allow: &'static str,
    },
    /// The model in the path cannot be a model's name.
    #[error(
        "the model in the path is not a valid name: at most 256 bytes of UTF-8, without `/`, `\\`, `:`, `..` or control characters"
    )]
    InvalidModel,
}

impl RouteError {
    /// As the client is told.
    #[must_use]
    pub fn to_gateway_error(&self) -> GatewayError {
        let code = match self.problem {
            RouteProblem::NotFound => ErrorCode::NotFound,
            RouteProblem::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
            RouteProblem::InvalidModel => ErrorCode::InvalidRequest,
        };
        GatewayError::new(code, self.problem.to_string())
    }
}

/// Finds the endpoint of a request. One trailing slash is tolerated: we build the upstream path ourselves, so it
/// cannot mean anything else there.
pub fn route(method: &str, path: &str, query: Option<&str>, hints: ClientHints) -> Result<Route, RouteError> {
    let guess = guess_shape(path, hints);
    let found = find(path.strip_suffix('/').unwrap_or(path));
    let (endpoint, raw_model) = found.map_err(|problem| RouteError { shape: guess, dialect: None, problem })?;
    let dialect = endpoint.dialect();
    let shape = dialect.map_or(guess, Dialect::shape);
    let fail = |problem| RouteError { shape, dialect, problem };
    let allow = if dialect.is_some() { "POST" } else { "GET" };
    if method != allow {
        return Err(fail(RouteProblem::MethodNotAllowed { allow }));
    }
    let path_model = raw_model.map(|raw| valid_model(raw, endpoint)).transpose().map_err(fail)?;
    let forward_query = query.and_then(|query| forwardable(query, endpoint));
    Ok(Route { endpoint, path_model, shape, forward_query })
}

/// The credentials in a query string: every value of `key`, decoded. It knows the same spellings as the filter that
/// keeps them from going upstream.
pub fn query_credentials(query: &str) -> impl Iterator<Item = String> {
    query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        decode_parameter(name).eq_ignore_ascii_case("key").then(|| decode_parameter(value).into_owned())
    })
}

fn guess_shape(path: &str, hints: ClientHints) -> Shape {
    if path == "/v1beta" || path.starts_with("/v1beta/") {
        Shape::Gemini
    } else if path == "/v1/messages" || path.starts_with("/v1/messages/") {
        Shape::Anthropic
    } else if ["/v1/chat", "/v1/responses", "/v1/embeddings"].iter().any(|prefix| path.starts_with(prefix)) {
        Shape::Openai
    } else if hints.google {
        Shape::Gemini
    } else if hints.anthropic {
        Shape::Anthropic
    } else {
        Shape::Openai
    }
}

/// A model as the path spells it.
enum RawModel<'a> {
    Whole(&'a str),
    BeforeColon(Cow<'a, str>),
}

fn find(path: &str) -> Result<(Endpoint, Option<RawModel<'_>>), RouteProblem> {
    let endpoint = match path {
        "/v1/messages" => Endpoint::Messages,
        "/v1/messages/count_tokens" => Endpoint::MessagesCountTokens,
        "/v1/chat/completions" => Endpoint::ChatCompletions,
        "/v1/responses" => Endpoint::Responses,
        "/v1/embeddings" => Endpoint::Embeddings,
        "/v1/models" | "/v1beta/models" => Endpoint::ListModels,
        _ => return find_by_model(path),
    };
    Ok((endpoint, None))
}

fn find_by_model(path: &str) -> Result<(Endpoint, Option<RawModel<'_>>), RouteProblem> {
    // Google's SDK calls its stable API `v1`, where OpenAI and Anthropic have models too; the verb tells them apart.
    if let Some(id) = path.strip_prefix("/v1/models/") {
        return match gemini_call(id) {
            Ok(Some(call)) => Ok(call),
            Ok(None) | Err(_) => get_model(id),
        };
    }
    let segment = path.strip_prefix("/v1beta/models/").ok_or(RouteProblem::NotFound)?;
    if segment.contains('/') {
        return Err(RouteProblem::NotFound);
    }
    gemini_call(segment)?.map_or_else(|| get_model(segment), Ok)
}

/// `MODEL:VERB` of a path; none when there is no verb.
fn gemini_call(segment: &str) -> Result<Option<(Endpoint, Option<RawModel<'_>>)>, RouteProblem> {
    // Some clients encode the colon too.
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| RouteProblem::InvalidModel)?;
    let Some((model, verb)) = decoded.rsplit_once(':') else { return Ok(None) };
    let endpoint = Endpoint::from_gemini_verb(verb).ok_or(RouteProblem::NotFound)?;
    Ok(Some((endpoint, Some(RawModel::BeforeColon(Cow::Owned(model.to_owned()))))))
}

fn get_model(id: &str) -> Result<(Endpoint, Option<RawModel<'_>>), RouteProblem> {
    if id.is_empty() || id.contains('/') {
        return Err(RouteProblem::NotFound);
    }
    Ok((Endpoint::GetModel, Some(RawModel::Whole(id))))
}

fn valid_model(raw: RawModel<'_>, endpoint: Endpoint) -> Result<String, RouteProblem> {
    let model = match raw {
        RawModel::Whole(id) => percent_decode_str(id).decode_utf8().map_err(|_| RouteProblem::InvalidModel)?,
        RawModel::BeforeColon(model) => model,
    };
    // A name that goes into an upstream path must not be able to leave its segment; a name that is only looked up
    // here may have the slashes and colons that some providers use.
    let escapes_segment = model.contains(['/', '\\', ':']) || model.contains("..") || model == ".";
    let bad = model.is_empty()
        || model.len() > MAX_MODEL_BYTES
        || model.chars().any(char::is_control)
        || (endpoint != Endpoint::GetModel && escapes_segment);
    if bad { Err(RouteProblem::InvalidModel) } else { Ok(model.into_owned()) }
}

/// What of a query may go upstream.
fn forwardable(query: &str, endpoint: Endpoint) -> Option<String> {
    endpoint.dialect()?;
    let gemini = endpoint.gemini_verb().is_some();
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !carries_credential(pair) && (!gemini || is_harmless_for_gemini(pair)))
        .collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

fn carries_credential(pair: &str) -> bool {
    // Old servers take `;` for a separator as well.
    pair.split(';').any(|part| {
        let name = decode_parameter(part.split('=').next().unwrap_or_default());
        CREDENTIAL_PARAMETERS.iter().any(|credential| name.trim().eq_ignore_ascii_case(credential))
    })
}

/// Google's system parameters can leave the usage out of an answer (`fields`), wrap it (`callback`) or override
/// headers and method; only what the SDKs really send passes.
fn is_harmless_for_gemini(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    match decode_parameter(name).trim_start_matches('$') {
        "alt" => {
            let value = decode_parameter(value);
            value == "sse" || value == "json" || value.starts_with("json;")
        }
        "prettyPrint" => true,
        _ => false,
    }
}

fn decode_parameter(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
    } else {
        percent_decode_str(text).decode_utf8_lossy()
    }
}

#[cfg(test)]
mod tests;
