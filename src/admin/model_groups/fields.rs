//! A model group as the API shows it, and what may be written of it.

use std::collections::HashMap;

use entity::{model_group_members as members, model_groups};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::problem::{Code, Other, Problem};
use super::super::time::Instant;
use super::super::validate::{self, Check};

/// A model group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelGroup {
    /// Never reused.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// Free text for the administrator.
    #[schema(required)]
    pub description: Option<String>,
    /// Exact names, as they are sent upstream, in order.
    pub models: Vec<String>,
    /// Whether it is for one model and takes no second.
    pub singleton: bool,
    /// Counts the writes.
    pub version: i64,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last written.
    pub updated_at: Instant,
}

/// What may be written of a model group.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelGroupFields {
    /// Of a singleton it may be left out: then it is the model's.
    #[serde(default)]
    #[schema(schema_with = validate::optional_name_schema)]
    name: Option<String>,
    #[serde(default)]
    #[schema(schema_with = validate::note_schema)]
    description: Option<String>,
    #[serde(default)]
    #[schema(schema_with = validate::models_schema)]
    models: Option<Vec<String>>,
    /// Whether it is for one model and takes no second.
    #[serde(default)]
    #[schema(default = false)]
    singleton: bool,
}

impl ModelGroupFields {
    /// What a patch of this group starts from.
    pub fn of(group: &ModelGroup) -> Self {
        Self {
            name: Some(group.name.clone()),
            description: group.description.clone(),
            models: Some(group.models.clone()),
            singleton: group.singleton,
        }
    }

    /// Checks the fields and writes them into a row; returns the models that shall be in the group, in order.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn apply(self, row: &mut model_groups::ActiveModel) -> Result<Vec<String>, Problem> {
        let mut check = Check::default();
        let mut models = check.models("models", &self.models.unwrap_or_default());
        models.sort();
        let is_new = row.id.is_not_set();
        if self.singleton && is_new && models.is_empty() {
            check.wrong("models", "missing", "a singleton has a model".to_owned());
        }
        let name = self.name.or_else(|| models.first().filter(|_| self.singleton && is_new).cloned());
        match name {
            Some(name) => row.name = Set(check.name("name", &name)),
            None => check.wrong("name", "missing", "must be given".to_owned()),
        }
        row.description = Set(check.note("description", self.description));
        row.singleton = Set(self.singleton);
        check.finish()?;
        Ok(models)
    }
}

impl ModelGroup {
    /// A row as the API shows it.
    pub fn show(row: model_groups::Model, models: Vec<String>) -> Self {
        Self {
            id: row.id,
            name: row.name,
            description: row.description,
            models,
            singleton: row.singleton,
            version: row.version,
            created_at: Instant(row.created_at),
            updated_at: Instant(row.updated_at),
        }
    }
}

/// A singleton has one model.
///
/// # Errors
/// It is one, and these are more: the one that it has, or else the first of them, stands in the way.
pub fn takes(singleton: bool, has: &[String], wanted: &[String]) -> Result<(), Problem> {
    if wanted.len() < 2 || !singleton {
        return Ok(());
    }
    let one = wanted.iter().find(|model| has.contains(model)).or(wanted.first()).cloned().unwrap_or_default();
    let detail = format!("This model group is a singleton: beside the model {one:?} it takes no second one.");
    Err(Problem::new(Code::Conflict, detail).conflicts_with(Other { kind: "model", id: None, name: one }))
}

/// The models of each of these groups, in order; in one query.
///
/// # Errors
/// What the database says.
pub async fn of_groups(
    db: &impl ConnectionTrait,
    groups: impl IntoIterator<Item = i64>,
) -> Result<HashMap<i64, Vec<String>>, Problem> {
    let rows = members::Entity::find().filter(members::Column::ModelGroupId.is_in(groups));
    let mut models: HashMap<i64, Vec<String>> = HashMap::new();
    for row in rows.order_by_asc(members::Column::Model).all(db).await? {
        models.entry(row.model_group_id).or_default().push(row.model);
    }
    // The two kinds of database do not agree about the order of texts.
    models.values_mut().for_each(|models| models.sort());
    Ok(models)
}

/// The models of a group, in order.
///
/// # Errors
/// What the database says.
pub async fn of_group(db: &impl ConnectionTrait, group: i64) -> Result<Vec<String>, Problem> {
    Ok(of_groups(db, [group]).await?.remove(&group).unwrap_or_default())
}
