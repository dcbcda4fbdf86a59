//! `tollgate user`.

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::output::Failure;
use super::client::{Client, Query};
use super::money::{Limits, NewLimits};
use super::table::{listed, number_or_none, or_none, time, time_or_none, yes_no};
use super::which::Which;
use super::{NameFilter, Resource, UserGroup};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    id: i64,
    name: String,
    note: Option<String>,
    enabled: bool,
    expires_at: Option<String>,
    rpm: Option<i64>,
    max_concurrent_requests: Option<i64>,
    limits: Limits,
    allowed_models: Vec<String>,
    provider_groups: Vec<String>,
    user_group_ids: Vec<i64>,
    version: i64,
    created_at: String,
    updated_at: String,
}

#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    name: NameFilter,
    /// Only the members of this user group.
    #[arg(long, value_name = "ID|NAME")]
    user_group: Option<Which>,
}

#[derive(Args)]
pub struct New {
    /// Unique.
    #[arg(long)]
    name: String,
    /// Free text for the administrator.
    #[arg(long)]
    note: Option<String>,
    /// Add it to this user group; may be repeated.
    #[arg(long = "group", value_name = "ID|NAME")]
    groups: Vec<Which>,
    #[command(flatten)]
    access: Access,
}

/// What users and keys may do.
#[derive(Args)]
pub struct Access {
    /// Accept no requests for now.
    #[arg(long)]
    disabled: bool,
    /// From when on requests are refused (RFC 3339).
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// Requests per minute.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    rpm: Option<i64>,
    /// Requests in flight at once.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    max_concurrent_requests: Option<i64>,
    /// A glob on models that may be asked for; may be repeated; none: all.
    #[arg(long = "allow-model", value_name = "GLOB")]
    allowed_models: Vec<String>,
    /// A group of providers that may be asked; may be repeated; none: all.
    #[arg(long = "provider-group", value_name = "NAME")]
    provider_groups: Vec<String>,
    #[command(flatten)]
    limits: NewLimits,
}

impl Access {
    /// As the API reads it.
    pub fn json(self) -> serde_json::Value {
        json!({
            "enabled": !self.disabled, "expiresAt": self.expires_at, "rpm": self.rpm,
            "maxConcurrentRequests": self.max_concurrent_requests, "allowedModels": self.allowed_models,
            "providerGroups": self.provider_groups, "limits": self.limits.json(),
        })
    }
}

impl Resource for User {
    type Filter = Filter;
    type New = New;

    const WHAT: &'static str = "user";
    const PATH: &'static str = "/users";
    const HEAD: &'static [&'static str] = &["ID", "NAME", "ENABLED", "EXPIRES", "RPM", "GROUPS", "LIMITS (USD)"];

    fn id(&self) -> i64 {
        self.id
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.clone(),
            yes_no(self.enabled),
            time_or_none(self.expires_at.as_deref()),
            number_or_none(self.rpm),
            self.groups(),
            self.limits.shown(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.to_string()),
            ("name", self.name.clone()),
            ("note", or_none(self.note.as_deref())),
            ("enabled", yes_no(self.enabled)),
            ("expires", time_or_none(self.expires_at.as_deref())),
            ("requests per minute", number_or_none(self.rpm)),
            ("requests at once", number_or_none(self.max_concurrent_requests)),
            ("limits (USD)", self.limits.shown()),
            ("models", listed(&self.allowed_models, "all")),
            ("provider groups", listed(&self.provider_groups, "all")),
            ("user groups", self.groups()),
            ("version", self.version.to_string()),
            ("created", time(&self.created_at)),
            ("updated", time(&self.updated_at)),
        ]
    }

    fn query(filter: &Filter, node: &Client) -> Result<Query, Failure> {
        let mut query = filter.name.query();
        if let Some(group) = &filter.user_group {
            query.push(("userGroupId", group.id::<UserGroup>(node)?.to_string()));
        }
        Ok(query)
    }

    fn create(new: New, node: &Client) -> Result<Box<RawValue>, Failure> {
        let groups = new.groups.iter().map(|group| group.id::<UserGroup>(node)).collect::<Result<Vec<_>, _>>()?;
        let mut body = new.access.json();
        body["name"] = json!(new.name);
        body["note"] = json!(new.note);
        body["userGroupIds"] = json!(groups);
        node.send_json("POST", Self::PATH, &body)
    }
}

impl User {
    fn groups(&self) -> String {
        listed(&self.user_group_ids.iter().map(ToString::to_string).collect::<Vec<_>>(), "-")
    }
}
