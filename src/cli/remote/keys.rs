//! `tollgate key`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::output::Failure;
use super::client::{Client, Query};
use super::money::Limits;
use super::table::{listed, number_or_none, time, time_or_none, yes_no};
use super::users::Access;
use super::which::Which;
use super::{Resource, User};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    id: i64,
    user_id: i64,
    name: String,
    prefix: String,
    enabled: bool,
    expires_at: Option<String>,
    rpm: Option<i64>,
    max_concurrent_requests: Option<i64>,
    limits: Limits,
    allowed_models: Vec<String>,
    provider_groups: Vec<String>,
    version: i64,
    created_at: String,
    updated_at: String,
    /// Only of a new key.
    secret: Option<String>,
}

#[derive(Args)]
pub struct Filter {
    /// Only those of this user.
    #[arg(long, value_name = "ID|NAME")]
    user: Option<Which>,
    /// Only those of this name.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Args)]
pub struct New {
    /// Whose it is.
    #[arg(long, value_name = "ID|NAME")]
    user: Which,
    /// What to recognise it by.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    access: Access,
}

impl Resource for Key {
    type Filter = Filter;
    type New = New;

    const WHAT: &'static str = "key";
    const PATH: &'static str = "/keys";
    const HEAD: &'static [&'static str] =
        &["ID", "USER", "NAME", "PREFIX", "ENABLED", "EXPIRES", "RPM", "LIMITS (USD)"];

    fn id(&self) -> i64 {
        self.id
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.user_id.to_string(),
            self.name.clone(),
            self.prefix.clone(),
            yes_no(self.enabled),
            time_or_none(self.expires_at.as_deref()),
            number_or_none(self.rpm),
            self.limits.shown(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("id", self.id.to_string()),
            ("user", self.user_id.to_string()),
            ("name", self.name.clone()),
            ("prefix", self.prefix.clone()),
            ("enabled", yes_no(self.enabled)),
            ("expires", time_or_none(self.expires_at.as_deref())),
            ("requests per minute", number_or_none(self.rpm)),
            ("requests at once", number_or_none(self.max_concurrent_requests)),
            ("limits (USD)", self.limits.shown()),
            ("models", listed(&self.allowed_models, "all that the user may ask for")),
            ("provider groups", listed(&self.provider_groups, "all that the user may ask")),
            ("version", self.version.to_string()),
            ("created", time(&self.created_at)),
            ("updated", time(&self.updated_at)),
        ];
        fields.extend(self.secret.iter().map(|secret| ("secret", secret.clone())));
        fields
    }

    fn query(filter: &Filter, node: &Client) -> Result<Query, Failure> {
        let mut query = Query::new();
        if let Some(user) = &filter.user {
            query.push(("userId", user.id::<User>(node)?.to_string()));
        }
        query.extend(filter.name.iter().map(|name| ("name", name.clone())));
        Ok(query)
    }

    fn create(new: New, node: &Client) -> Result<Box<RawValue>, Failure> {
        let user = new.user.id::<User>(node)?;
        let mut body = new.access.json();
        body["name"] = json!(new.name);
        node.send_json("POST", &format!("{}/{user}/keys", User::PATH), &body)
    }

    fn remark() -> Option<&'static str> {
        Some("The secret is shown this once; the node keeps only its hash.")
    }
}
