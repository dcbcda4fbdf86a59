//! `tollgate limit`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::output::Failure;
use super::client::{Client, Query};
use super::money::{Limits, NewLimits};
use super::table::time;
use super::which::Which;
use super::{Key, ModelGroup, Resource, User, UserGroup};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    id: i64,
    subject_type: String,
    subject_id: i64,
    model_group_id: i64,
    limits: Limits,
    version: i64,
    created_at: String,
    updated_at: String,
}

/// Whose limit it is.
#[derive(Args)]
#[group(multiple = false)]
pub struct Subject {
    /// Of this user.
    #[arg(long, value_name = "ID|NAME")]
    user: Option<Which>,
    /// Of each member of this user group.
    #[arg(long, visible_alias = "group", value_name = "ID|NAME")]
    user_group: Option<Which>,
    /// Of this key.
    #[arg(long, value_name = "ID|NAME")]
    key: Option<Which>,
}

#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    subject: Subject,
    /// For this model group.
    #[arg(long, value_name = "ID|NAME")]
    model_group: Option<Which>,
}

#[derive(Args)]
pub struct New {
    #[command(flatten)]
    subject: Subject,
    /// For which models. A limit that is there already is replaced.
    #[arg(long, value_name = "ID|NAME")]
    model_group: Which,
    #[command(flatten)]
    limits: NewLimits,
}

impl Subject {
    /// Its type and id, as the API knows them; nothing when none is named.
    fn find(&self, node: &Client) -> Result<Option<(&'static str, i64)>, Failure> {
        Ok(match self {
            Self { user: Some(user), .. } => Some(("user", user.id::<User>(node)?)),
            Self { user_group: Some(group), .. } => Some(("user_group", group.id::<UserGroup>(node)?)),
            Self { key: Some(key), .. } => Some(("key", key.id::<Key>(node)?)),
            _ => None,
        })
    }
}

impl Resource for Limit {
    type Filter = Filter;
    type New = New;

    const WHAT: &'static str = "limit";
    const PATH: &'static str = "/model-limits";
    const NAMED: bool = false;
    const HEAD: &'static [&'static str] = &["ID", "OF", "MODEL GROUP", "LIMITS (USD)"];

    fn id(&self) -> i64 {
        self.id
    }

    fn row(&self) -> Vec<String> {
        vec![self.id.to_string(), self.subject(), self.model_group_id.to_string(), self.limits.shown()]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.to_string()),
            ("of", self.subject()),
            ("model group", self.model_group_id.to_string()),
            ("limits (USD)", self.limits.shown()),
            ("version", self.version.to_string()),
            ("created", time(&self.created_at)),
            ("updated", time(&self.updated_at)),
        ]
    }

    fn query(filter: &Filter, node: &Client) -> Result<Query, Failure> {
        let mut query = Query::new();
        if let Some((kind, id)) = filter.subject.find(node)? {
            query.extend([("subjectType", kind.to_owned()), ("subjectId", id.to_string())]);
        }
        if let Some(group) = &filter.model_group {
            query.push(("modelGroupId", group.id::<ModelGroup>(node)?.to_string()));
        }
        Ok(query)
    }

    fn create(new: New, node: &Client) -> Result<Box<RawValue>, Failure> {
        let subject = new.subject.find(node)?;
        let (kind, id) = subject.ok_or_else(|| Failure::usage("--user, --user-group or --key is needed"))?;
        let group = new.model_group.id::<ModelGroup>(node)?;
        let limits = new.limits.json();
        let body = json!({"subjectType": kind, "subjectId": id, "modelGroupId": group, "limits": limits});
        node.send_json("PUT", Self::PATH, &body)
    }
}

impl Limit {
    fn subject(&self) -> String {
        format!("{} {}", self.subject_type.replace('_', " "), self.subject_id)
    }
}
