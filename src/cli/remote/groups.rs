//! `tollgate user-group` and `tollgate model-group`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::output::Failure;
use super::client::{Client, Query};
use super::table::{listed, or_none, short, time, yes_no};
use super::{NameFilter, Resource};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserGroup {
    id: i64,
    name: String,
    description: Option<String>,
    member_count: i64,
    version: i64,
    created_at: String,
    updated_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelGroup {
    id: i64,
    name: String,
    description: Option<String>,
    models: Vec<String>,
    singleton: bool,
    version: i64,
    created_at: String,
    updated_at: String,
}

#[derive(Args)]
pub struct NewUserGroup {
    /// Unique.
    #[arg(long)]
    name: String,
    /// Free text for the administrator.
    #[arg(long)]
    description: Option<String>,
}

#[derive(Args)]
pub struct NewModelGroup {
    /// Unique; of a singleton it may be left out: then it is the model's.
    #[arg(long, required_unless_present = "singleton")]
    name: Option<String>,
    /// Free text for the administrator.
    #[arg(long)]
    description: Option<String>,
    /// The exact name of a model, as it is sent upstream; may be repeated.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// It is for one model and takes no second.
    #[arg(long)]
    singleton: bool,
}

impl Resource for UserGroup {
    type Filter = NameFilter;
    type New = NewUserGroup;

    const WHAT: &'static str = "user group";
    const PATH: &'static str = "/user-groups";
    const HEAD: &'static [&'static str] = &["ID", "NAME", "MEMBERS", "DESCRIPTION"];

    fn id(&self) -> i64 {
        self.id
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn row(&self) -> Vec<String> {
        let description = or_none(self.description.as_deref().map(short).as_deref());
        vec![self.id.to_string(), self.name.clone(), self.member_count.to_string(), description]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.to_string()),
            ("name", self.name.clone()),
            ("description", or_none(self.description.as_deref())),
            ("members", self.member_count.to_string()),
            ("version", self.version.to_string()),
            ("created", time(&self.created_at)),
            ("updated", time(&self.updated_at)),
        ]
    }

    fn query(filter: &NameFilter, _: &Client) -> Result<Query, Failure> {
        Ok(filter.query())
    }

    fn create(new: NewUserGroup, node: &Client) -> Result<Box<RawValue>, Failure> {
        node.send_json("POST", Self::PATH, &json!({"name": new.name, "description": new.description}))
    }
}

impl Resource for ModelGroup {
    type Filter = NameFilter;
    type New = NewModelGroup;

    const WHAT: &'static str = "model group";
    const PATH: &'static str = "/model-groups";
    const HEAD: &'static [&'static str] = &["ID", "NAME", "MODELS", "DESCRIPTION"];

    fn id(&self) -> i64 {
        self.id
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn row(&self) -> Vec<String> {
        let description = or_none(self.description.as_deref().map(short).as_deref());
        vec![self.id.to_string(), self.name.clone(), short(&listed(&self.models, "-")), description]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.to_string()),
            ("name", self.name.clone()),
            ("description", or_none(self.description.as_deref())),
            ("models", listed(&self.models, "-")),
            ("singleton", yes_no(self.singleton)),
            ("version", self.version.to_string()),
            ("created", time(&self.created_at)),
            ("updated", time(&self.updated_at)),
        ]
    }

    fn query(filter: &NameFilter, _: &Client) -> Result<Query, Failure> {
        Ok(filter.query())
    }

    fn create(new: NewModelGroup, node: &Client) -> Result<Box<RawValue>, Failure> {
        let NewModelGroup { name, description, models, singleton } = new;
        let body = json!({"name": name, "description": description, "models": models, "singleton": singleton});
        node.send_json("POST", Self::PATH, &body)
    }
}
