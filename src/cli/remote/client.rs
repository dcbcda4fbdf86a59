//! A client of the REST API of one node.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tollgate::server::environment;
use ureq::Agent;
use ureq::http::{Request, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::Url;

use super::super::output::Failure;
use super::{problem, table};

const DEFAULT_URL: &str = "http://127.0.0.1:8081";
/// Where the API begins on the admin address.
const BASE: &str = "/api/v1";
const CONNECT: Duration = Duration::from_secs(10);
/// For a whole answer: a node that is busy answers late, one that hangs never.
const ANSWER: Duration = Duration::from_secs(60);
/// Of a page of a list there are at most so many.
const PAGE: &str = "100";
/// Of a list there are at most so many: ten million objects.
const MOST_PAGES: usize = 100_000;
/// Far more than a page of the largest objects.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;

/// Parameters of a request.
pub type Query = Vec<(&'static str, String)>;

/// A node, and a token for it.
pub struct Client {
    agent: Agent,
    base: Url,
    token: String,
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Box<RawValue>>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    next_cursor: Option<String>,
}

/// The cursors of a list so far. One that goes round in circles has no end, and neither has one that is made up.
#[derive(Default)]
struct Seen(HashSet<String>);

impl Seen {
    /// Notes that the node has named this as the cursor of the next page; what it did if that leads nowhere.
    fn note(&mut self, next: &str) -> Result<(), String> {
        if self.0.len() >= MOST_PAGES {
            return Err(format!("names a next page after {MOST_PAGES} pages of one list"));
        }
        if self.0.insert(next.to_owned()) {
            Ok(())
        } else {
            Err("has named the same next page of a list twice".to_owned())
        }
    }
}

impl Client {
    /// The node that `TOLLGATE_URL` names.
    pub fn from_environment() -> Result<Self, Failure> {
        let set = |name| environment(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let base = base(&set("TOLLGATE_URL").unwrap_or_else(|| DEFAULT_URL.to_owned()))?;
        let token = set("TOLLGATE_ADMIN_TOKEN").ok_or_else(|| {
            Failure::new(
                "TOLLGATE_ADMIN_TOKEN is not set: put an admin token of the node there; its first start printed one, \
                 and `tollgate admin-token create` on the node makes another",
            )
        })?;
        // A token travels to the node and nowhere else: no redirect is followed, and no proxy is asked.
        let config = Agent::config_builder()
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
        let config = if base.scheme() == "https" { config.tls_config(tls()) } else { config };
        Ok(Self { agent: Agent::new_with_config(config.build()), base, token })
    }

    /// Asks for a thing.
    pub fn get(&self, path: &str) -> Result<Box<RawValue>, Failure> {
        self.raw(&self.send("GET", path, &Query::default(), None)?)
    }

    /// Asks for all pages of a list.
    pub fn list(&self, path: &str, query: &[(&'static str, String)]) -> Result<Vec<Box<RawValue>>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        let mut seen = Seen::default();
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE.to_owned()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page =
                serde_json::from_str(&self.send("GET", path, &query, None)?).map_err(|_| self.stranger())?;
            items.extend(page.items);
            let Some(next) = page.page_info.next_cursor else { return Ok(items) };
            seen.note(&next).map_err(|did| Failure::new(format!("{} {did}, so this is not followed", self.base)))?;
            cursor = Some(next);
        }
    }

    /// Sends a thing.
    pub fn send_json(&self, method: &str, path: &str, body: &Value) -> Result<Box<RawValue>, Failure> {
        self.raw(&self.send(method, path, &Query::default(), Some(body))?)
    }

    /// Deletes a thing.
    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send("DELETE", path, &Query::default(), None).map(drop)
    }

    fn send(&self, method: &str, path: &str, query: &Query, body: Option<&Value>) -> Result<String, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{BASE}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::ACCEPT, "application/json");
        let answer = match body {
            None => request.body(()).map(|request| self.agent.run(request)),
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                request.body(body.to_string()).map(|request| self.agent.run(request))
            }
        };
        // The token is the only part of a request that can have a character which has no place in one.
        let answer = answer.map_err(|_| Failure::new("TOLLGATE_ADMIN_TOKEN has a character that no token has"))?;
        let (head, body) = answer.map_err(|error| self.unreachable(&error))?.into_parts();
        let status = head.status;
        let location = head.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        if status.is_redirection() {
            return Err(self.moved(location));
        }
        let body = body.into_with_config().limit(MAX_ANSWER).read_to_string();
        let body = body.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return Ok(body);
        }
        Err(problem::failure(&body).unwrap_or_else(|| self.stranger()))
    }

    fn raw(&self, body: &str) -> Result<Box<RawValue>, Failure> {
        serde_json::from_str(body).map_err(|_| self.stranger())
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        if matches!(error, ureq::Error::RedirectFailed) {
            return self.moved(None);
        }
        Failure::unreachable(format!(
            "{} cannot be reached: {error}; start the node, or set TOLLGATE_URL to its admin address (server.admin)",
            self.base
        ))
    }

    fn moved(&self, location: Option<&str>) -> Failure {
        let to = location.map(|location| format!(" to {}", table::clean(location))).unwrap_or_default();
        Failure::new(format!(
            "{} sends elsewhere{to}, where the token would go too, so this is not followed; set TOLLGATE_URL to where \
             the node itself answers",
            self.base
        ))
    }

    fn stranger(&self) -> Failure {
        Failure::new(format!(
            "what answers at {} is not the REST API of a node; set TOLLGATE_URL to its admin address (server.admin)",
            self.base
        ))
    }
}

/// Reads the address; what people copy from elsewhere may have the API's path already.
fn base(text: &str) -> Result<Url, Failure> {
    let wrong = || {
        // Before an @ there may be a password, also where this is no URL at all.
        let said = if text.contains('@') { "what it is".to_owned() } else { format!("{text:?}") };
        Failure::new(format!("TOLLGATE_URL is {said}, not a URL such as {DEFAULT_URL} or https://gate.example"))
    };
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not said again: it may be a password.
        return Err(Failure::new(
            "TOLLGATE_URL names a user or a password: a node takes a token, TOLLGATE_ADMIN_TOKEN",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong());
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix(BASE).unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The roots that this machine trusts (`SSL_CERT_FILE` names others), else those of browsers.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = found.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let roots = if roots.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&roots) };
    TlsConfig::builder().root_certs(roots).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{MOST_PAGES, Seen, base};

    #[test]
    fn what_may_be_a_password_is_not_said_again() {
        for text in [
            "http://u:p4ssw0rd@host:99999",
            "http://u:p4ssw0rd@",
            "u:p4ssw0rd@host",
            "http://u:p4ssw0rd@host:8081",
            "mailto:u:p4ssw0rd@host",
        ] {
            let said = base(text).unwrap_err().message;
            assert!(said.contains("TOLLGATE_URL") && !said.contains("p4ssw0rd"), "{said}");
        }
        assert!(base("http://host:99999").unwrap_err().message.contains("host:99999"));
    }

    #[test]
    fn a_list_without_end_is_followed_so_far_and_no_further() {
        let mut seen = Seen::default();
        for page in 0..MOST_PAGES {
            seen.note(&page.to_string()).unwrap();
        }
        assert!(seen.note("another").is_err());
    }

    #[test]
    fn an_address_may_be_written_as_people_copy_it() {
        for (text, url) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/"),
            ("http://127.0.0.1:8081/api/v1/", "http://127.0.0.1:8081/"),
            ("https://gate.example/tollgate/?x#y", "https://gate.example/tollgate"),
        ] {
            assert_eq!(base(text).unwrap().as_str(), url);
        }
        for text in ["127.0.0.1:8081", "ftp://gate.example", "http://user@gate.example", "gate", ""] {
            assert_eq!(base(text).unwrap_err().code, 1, "{text}");
        }
    }
}
