//! What the audit log says of every write.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::app::{App, TOKEN};
use crate::operations;

/// A row that a write leaves: action, kind and id of the object, before and after. `Null` stands for nothing.
type Row = (&'static str, &'static str, Value, Value, Value);

/// Writes, each of which leaves exactly the rows that are expected.
struct Table<'a> {
    app: &'a App,
    /// Who writes: the id and the secret of a token.
    actor: i64,
    token: String,
    seen: BTreeSet<&'static str>,
    secrets: Vec<String>,
}

impl Table<'_> {
    /// Carries out this operation of the document on these objects, and returns its answer without the secret.
    async fn write<const N: usize>(
        &mut self,
        operation: &str,
        objects: &[&Value],
        body: Value,
        rows: impl FnOnce(&Value) -> [Row; N],
    ) -> Value {
        let operation = operations::all().into_iter().find(|one| one.id() == operation).unwrap();
        let objects: Vec<String> = objects.iter().map(|object| named(object)).collect();
        let before = self.app.audit().await.len();
        let headers = [("content-type", "application/json"), ("if-match", "\"77\"")];
        let body = || if operation.has_body() { Body::from(body.to_string()) } else { Body::empty() };
        let path = operation.filled_with(&objects);
        let mut answer = self.app.call(&operation.method(), &path, &self.token, &headers, body()).await;
        // Who documents If-Match reads it, and nobody else does.
        if operation.parameters("header").contains(&"if-match".to_owned()) {
            answer.problem(412, "version_mismatch");
            answer = self.app.call(&operation.method(), &path, &self.token, &headers[..1], body()).await;
        }
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        let request = answer.header("x-tollgate-request-id").to_owned();
        let mut answer = if answer.body.is_empty() { Value::Null } else { answer.json() };
        if let Some(Value::String(secret)) = answer.as_object_mut().and_then(|fields| fields.remove("secret")) {
            self.secrets.push(secret);
        }
        let left: Vec<_> = self.app.audit().await.split_off(before);
        let expected = rows(&answer);
        assert_eq!(left.len(), expected.len(), "{path}: {left:#?}");
        for (left, (action, kind, id, before, after)) in left.into_iter().zip(expected) {
            let what = format!("{path}: {action} {kind}");
            assert_eq!((left.action.as_str(), left.object_type.as_str()), (action, kind), "{what}");
            assert_eq!(left.object_id, named(&id), "{what}");
            assert_eq!((left.actor.as_str(), left.actor_id), ("auditor", Some(self.actor)), "{what}");
            assert_eq!(left.request_id.as_ref(), Some(&request), "{what}");
            assert_eq!(read(left.before.as_deref()), before, "{what}: before");
            assert_eq!(read(left.after.as_deref()), after, "{what}: after");
        }
        self.seen.insert(operation.id());
        answer
    }

    async fn shown(&self, path: &str) -> Value {
        self.app.get(path).await.ok(200)
    }
}

fn named(object: &Value) -> String {
    object.as_str().map_or_else(|| object.to_string(), str::to_owned)
}

fn read(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// An object with more fields.
fn with(object: &Value, fields: &Value) -> Value {
    let all = [object, fields].into_iter().flat_map(|part| part.as_object().unwrap().clone());
    Value::Object(all.collect::<Map<_, _>>())
}

pub async fn every_write_of_the_document_leaves_what_was_and_what_is(app: App) {
    let auditor = app.post("/admin-tokens", json!({"name": "auditor", "role": "admin"})).await.ok(201);
    let token = auditor["secret"].as_str().unwrap().to_owned();
    let secrets = vec![TOKEN.to_owned(), token.clone()];
    let mut table = Table { app: &app, actor: auditor["id"].as_i64().unwrap(), token, seen: BTreeSet::new(), secrets };
    people(&mut table).await;
    groups(&mut table).await;
    limits(&mut table).await;
    everything_else(&mut table).await;

    let writes: BTreeSet<_> = operations::all().iter().filter(|one| !one.reads()).map(|one| one.id()).collect();
    assert_eq!(table.seen, writes, "each write has a row in this table");
    let log = format!("{:?}", app.audit().await);
    assert!(table.secrets.len() >= 5, "{}", table.secrets.len());
    for secret in &table.secrets {
        assert!(!log.contains(secret), "a secret");
        assert!(!log.contains(&format!("{:x}", Sha256::digest(secret))), "the hash of a secret");
    }
}

async fn people(table: &mut Table<'_>) {
    let create = |kind: &'static str| {
        move |new: &Value| [("create", kind, new["id"].clone(), Value::Null, new.clone())] as [Row; 1]
    };
    let user = table.write("createUser", &[], json!({"name": "ada"}), create("user")).await;
    let user_id = &user["id"];
    let patch = json!({"rpm": 5});
    let changed = |old: &Value, action: &'static str, kind: &'static str| {
        let old = old.clone();
        move |new: &Value| [(action, kind, old["id"].clone(), old.clone(), new.clone())] as [Row; 1]
    };
    let user = table.write("updateUser", &[user_id], patch, changed(&user, "update", "user")).await;
    let counted = |window: &str| {
        let eras = json!({"5h": 0, "daily": 0, "weekly": 0, "monthly": 0, "total": 0});
        let after = json!({"window": window, "era": 1, "sinceEras": with(&eras, &json!({window: 1}))});
        (json!({"era": 0, "sinceEras": null}), after)
    };
    let (before, after) = counted("daily");
    let rows = |id: &Value, kind: &'static str, version: i64, (before, after): (Value, Value)| {
        let before = with(&before, &json!({"version": version}));
        let after = with(&after, &json!({"version": version + 1}));
        [("reset_limits", kind, id.clone(), before, after)] as [Row; 1]
    };
    let reset = json!({"window": "daily"});
    table.write("resetUserLimits", &[user_id], reset, |_| rows(user_id, "user", 2, (before, after))).await;
    let key = table.write("createKey", &[user_id], json!({"name": "k"}), create("key")).await;
    let key_id = &key["id"];
    let key = table.write("updateKey", &[key_id], json!({"enabled": false}), changed(&key, "update", "key")).await;
    let reset = json!({"window": "total"});
    table.write("resetKeyLimits", &[key_id], reset, |_| rows(key_id, "key", 2, counted("total"))).await;
    let key = table.shown(&format!("/keys/{}", key["id"])).await;
    let key = table.write("rotateKey", &[key_id], json!({}), changed(&key, "rotate", "key")).await;
    let gone =
        |old: &Value, kind: &'static str| [("delete", kind, old["id"].clone(), old.clone(), Value::Null)] as [Row; 1];
    // What goes along comes first, each in a row of its own.
    let group = table.app.model_group("of ada", &["m1"]).await;
    let daily = json!({"daily": {"usd": 1}});
    let of_key = table.app.model_limit("key", key_id.as_i64().unwrap(), group, daily.clone()).await;
    let of_key = table.shown(&format!("/model-limits/{of_key}")).await;
    let rows = [gone(&of_key, "model_limit"), gone(&key, "key")];
    table.write("deleteKey", &[key_id], json!({}), |_| rows.map(|[row]| row)).await;
    let team = table.app.user_group("team of ada", &[user_id.as_i64().unwrap()]).await;
    let second = table.write("createKey", &[user_id], json!({"name": "second"}), create("key")).await;
    let of_key = table.app.model_limit("key", second["id"].as_i64().unwrap(), group, daily.clone()).await;
    let of_user = table.app.model_limit("user", user_id.as_i64().unwrap(), group, daily).await;
    let boost = table.app.boost(user_id.as_i64().unwrap(), group, 5).await;
    let (of_key, of_user, boost) = (
        table.shown(&format!("/model-limits/{of_key}")).await,
        table.shown(&format!("/model-limits/{of_user}")).await,
        table.shown(&format!("/quota-boosts/{boost}")).await,
    );
    let user = table.shown(&format!("/users/{user_id}", user_id = user["id"])).await;
    assert_eq!(user["userGroupIds"], json!([team]));
    let rows = [
        gone(&of_key, "model_limit"),
        gone(&of_user, "model_limit"),
        gone(&boost, "quota_boost"),
        gone(&second, "key"),
        gone(&user, "user"),
    ];
    table.write("deleteUser", &[user_id], json!({}), |_| rows.map(|[row]| row)).await;
}

async fn groups(table: &mut Table<'_>) {
    let grace = table.app.user("grace").await;
    let member = json!({"userId": grace});
    let group = table
        .write("createUserGroup", &[], json!({"name": "team"}), |new| {
            [("create", "user_group", new["id"].clone(), Value::Null, new.clone())]
        })
        .await;
    let id = &group["id"];
    let group = table
        .write("updateUserGroup", &[id], json!({"description": "d"}), |new| {
            [("update", "user_group", id.clone(), group.clone(), new.clone())]
        })
        .await;
    assert_eq!(group["version"], 2);
    let user = json!(grace);
    let row =
        |action, before: &Value, after: &Value| [(action, "user_group", id.clone(), before.clone(), after.clone())];
    table.write("addUserGroupMember", &[id, &user], json!({}), |_| row("add_member", &Value::Null, &member)).await;
    table
        .write("removeUserGroupMember", &[id, &user], json!({}), |_| row("remove_member", &member, &Value::Null))
        .await;
    table.write("addUserGroupMember", &[id, &user], json!({}), |_| row("add_member", &Value::Null, &member)).await;
    let models = table.app.model_group("of the team", &["m5"]).await;
    let limit = table.app.model_limit("user_group", id.as_i64().unwrap(), models, json!({"total": {"usd": 1}})).await;
    let limit = table.shown(&format!("/model-limits/{limit}")).await;
    let last = with(&table.shown(&format!("/user-groups/{id}")).await, &json!({"memberIds": [grace]}));
    let rows: [Row; 2] = [
        ("delete", "model_limit", limit["id"].clone(), limit.clone(), Value::Null),
        ("delete", "user_group", id.clone(), last, Value::Null),
    ];
    table.write("deleteUserGroup", &[id], json!({}), |_| rows).await;

    let group = table
        .write("createModelGroup", &[], json!({"name": "fast", "models": ["m2"]}), |new| {
            [("create", "model_group", new["id"].clone(), Value::Null, new.clone())]
        })
        .await;
    let id = &group["id"];
    let row =
        |action, before: &Value, after: &Value| [(action, "model_group", id.clone(), before.clone(), after.clone())];
    let group =
        table.write("updateModelGroup", &[id], json!({"name": "faster"}), |new| row("update", &group, new)).await;
    let more =
        table.write("addModelGroupModel", &[id, &json!("m3")], json!({}), |new| row("add_model", &group, new)).await;
    let fewer = with(&group, &json!({"version": 4}));
    table.write("removeModelGroupModel", &[id, &json!("m3")], json!({}), |_| row("remove_model", &more, &fewer)).await;
    let limit = table.app.model_limit("user", grace, id.as_i64().unwrap(), json!({"total": {"usd": 1}})).await;
    let boost = table.app.boost(grace, id.as_i64().unwrap(), 5).await;
    let limit = table.shown(&format!("/model-limits/{limit}")).await;
    let boost = table.shown(&format!("/quota-boosts/{boost}")).await;
    let rows: [Row; 3] = [
        ("delete", "model_limit", limit["id"].clone(), limit.clone(), Value::Null),
        ("delete", "quota_boost", boost["id"].clone(), boost.clone(), Value::Null),
        ("delete", "model_group", id.clone(), fewer.clone(), Value::Null),
    ];
    table.write("deleteModelGroup", &[id], json!({}), |_| rows).await;
}

async fn limits(table: &mut Table<'_>) {
    let user = table.app.user("eve").await;
    let group = table.app.model_group("limited", &["m4"]).await;
    let caps = |usd: i64| json!({"total": {"usd": usd}});
    let limit =
        |usd: i64| json!({"subjectType": "user", "subjectId": user, "modelGroupId": group, "limits": caps(usd)});
    let row = |action, kind, old: &Value, new: &Value| {
        let id = if old.is_null() { new["id"].clone() } else { old["id"].clone() };
        [(action, kind, id, old.clone(), new.clone())] as [Row; 1]
    };
    let kind = "model_limit";
    let one = table.write("putModelLimit", &[], limit(1), |new| row("create", kind, &Value::Null, new)).await;
    let two = table.write("putModelLimit", &[], limit(2), |new| row("update", kind, &one, new)).await;
    let id = &one["id"];
    let patch = json!({"limits": caps(3)});
    let three = table.write("updateModelLimit", &[id], patch, |new| row("update", kind, &two, new)).await;
    table.write("deleteModelLimit", &[id], json!({}), |_| row("delete", kind, &three, &Value::Null)).await;
    let boost = json!({"userId": user, "modelGroupId": group, "window": "daily", "usd": 1,
        "expiresAt": "2100-01-01T00:00:00Z"});
    let kind = "quota_boost";
    let boost = table.write("createQuotaBoost", &[], boost, |new| row("create", kind, &Value::Null, new)).await;
    table.write("deleteQuotaBoost", &[&boost["id"]], json!({}), |_| row("delete", kind, &boost, &Value::Null)).await;
}

async fn everything_else(table: &mut Table<'_>) {
    let row = |action, id: &Value, old: &Value, new: &Value| {
        [(action, "price", id.clone(), old.clone(), new.clone())] as [Row; 1]
    };
    let (ours, usd) = (json!("ours"), |usd: i64| json!({"requestUsd": usd}));
    let one = table.write("putPrice", &[&ours], usd(1), |new| row("create", &ours, &Value::Null, new)).await;
    let two = table.write("putPrice", &[&ours], usd(2), |new| row("update", &ours, &one, new)).await;
    let same = table
        .write("putPrice", &[&json!("same")], usd(7), |new| row("create", &json!("same"), &Value::Null, new))
        .await;
    let list = json!({"ours": usd(3), "theirs": usd(4), "same": usd(7), "bad": usd(-1)});
    let price = |model: &str, version: i64, price: i64| {
        with(&usd(price), &json!({"model": model, "source": "rest", "version": version}))
    };
    let theirs = price("theirs", 1, 4);
    table
        .write("importPrices", &[], list, |report| {
            [
                ("import", "price", ours.clone(), two.clone(), price("ours", 3, 3)),
                ("import", "price", json!("theirs"), Value::Null, theirs.clone()),
                ("import", "price", json!("*"), Value::Null, report.clone()),
            ]
        })
        .await;
    assert_eq!(table.shown("/prices/same").await, same, "what is the same already is not written");
    assert_eq!(table.shown("/prices/theirs").await, theirs);
    let gone = json!("theirs");
    table.write("deletePrice", &[&gone], json!({}), |_| row("delete", &gone, &theirs, &Value::Null)).await;

    let first = json!("first");
    let circuit = async |app: &App| app.get("/providers").await.ok(200)["items"][0]["circuit"].clone();
    for (operation, action) in [("openCircuit", "open_circuit"), ("resetCircuit", "reset_circuit")] {
        let before = circuit(table.app).await;
        let rows = |new: &Value| [(action, "provider", first.clone(), before, new["circuit"].clone())] as [Row; 1];
        table.write(operation, &[&first], json!({}), rows).await;
    }

    let fields = json!({"name": "new", "role": "viewer"});
    let token = table
        .write("createAdminToken", &[], fields, |new| {
            [("create", "admin_token", new["id"].clone(), Value::Null, new.clone())]
        })
        .await;
    let id = &token["id"];
    let rows: [Row; 1] = [("delete", "admin_token", id.clone(), token.clone(), Value::Null)];
    table.write("deleteAdminToken", &[id], json!({}), |_| rows).await;
}

pub async fn what_goes_along_with_a_deletion_is_recorded_however_much_it_is(app: App) {
    use entity::model_group_limits as limits;
    use sea_orm::{ActiveValue::Set, EntityTrait};
    const MANY: i64 = 2_500;
    let user = app.user("ada").await;
    let group = app.model_group("g", &["m1"]).await;
    let keys = (1..=MANY).map(|id| entity::keys::ActiveModel {
        id: Set(id + 100),
        user_id: Set(user),
        name: Set("k".to_owned()),
        secret_hash: Set(format!("{id:064x}")),
        prefix: Set("tg-abcdef".to_owned()),
        enabled: Set(true),
        era: Set(0),
        stamp: Set(0),
        version: Set(1),
        created_at: Set(0),
        updated_at: Set(0),
        ..Default::default()
    });
    let of_keys = (1..=MANY).map(|id| limits::ActiveModel {
        key_id: Set(Some(id + 100)),
        model_group_id: Set(group),
        total_nanos: Set(Some(5)),
        stamp: Set(0),
        version: Set(1),
        created_at: Set(0),
        updated_at: Set(0),
        ..Default::default()
    });
    for batch in keys.collect::<Vec<_>>().chunks(500) {
        entity::keys::Entity::insert_many(batch.to_vec()).exec_without_returning(&app.db).await.unwrap();
    }
    for batch in of_keys.collect::<Vec<_>>().chunks(500) {
        limits::Entity::insert_many(batch.to_vec()).exec_without_returning(&app.db).await.unwrap();
    }
    let before = app.audit().await.len();
    app.delete(&format!("/users/{user}")).await.ok(204);
    let left = app.audit().await.split_off(before);
    for kind in ["key", "model_limit"] {
        let ids: BTreeSet<_> = left.iter().filter(|row| row.object_type == kind).map(|row| &row.object_id).collect();
        assert_eq!(i64::try_from(ids.len()).unwrap(), MANY, "{kind}");
    }
    assert_eq!(i64::try_from(left.len()).unwrap(), 2 * MANY + 1);
    assert_eq!(left.last().unwrap().object_type, "user", "the newest row says what was asked for");
    assert!(
        left.iter().all(|row| row.before.is_some() && !row.before.as_ref().unwrap().contains("00000000000000000000"))
    );
}

pub async fn what_is_refused_or_repeated_or_changes_nothing_leaves_no_row(app: App) {
    let user = app.user("ada").await;
    let team = app.user_group("team", &[user]).await;
    let models = app.model_group("g", &["m1"]).await;
    let once = [("idempotency-key", "once")];
    app.json("POST", "/users", &once, &json!({"name": "grace"})).await.ok(201);
    let before = app.audit().await.len();
    app.json("POST", "/users", &once, &json!({"name": "grace"})).await.ok(201);
    app.put(&format!("/user-groups/{team}/members/{user}"), Value::Null).await.ok(200);
    app.put(&format!("/model-groups/{models}/models/m1"), Value::Null).await.ok(200);
    app.post("/users", json!({"name": "ada"})).await.problem(409, "conflict");
    app.json("DELETE", &format!("/users/{user}"), &[("if-match", "\"77\"")], &Value::Null)
        .await
        .problem(412, "version_mismatch");
    app.delete("/users/999").await.problem(404, "not_found");
    assert_eq!(app.audit().await.len(), before);
}

pub async fn a_name_that_is_taken_again_is_another_actor_with_keys_of_its_own(app: App) {
    let fields = json!({"name": "root", "role": "admin"});
    let headers = [("content-type", "application/json"), ("idempotency-key", "the-same")];
    let mut ids = Vec::new();
    for name in ["ada", "grace"] {
        let token = app.post("/admin-tokens", fields.clone()).await.ok(201);
        let body = || Body::from(json!({"name": name}).to_string());
        let secret = token["secret"].as_str().unwrap();
        let first = app.call("POST", "/users", secret, &headers, body()).await;
        assert_eq!(first.header("idempotency-replayed"), "", "the key is this token's alone");
        first.ok(201);
        let again = app.call("POST", "/users", secret, &headers, body()).await;
        assert_eq!(again.header("idempotency-replayed"), "true");
        app.delete(&format!("/admin-tokens/{}", token["id"])).await.ok(204);
        ids.push(token["id"].clone());
    }
    let log = app.get("/audit-logs").await.ok(200);
    let created = log["items"].as_array().unwrap().iter().rev().filter(|row| row["objectType"] == "user");
    let actors: Vec<_> = created.map(|row| (row["actor"].clone(), row["actorId"].clone())).collect();
    assert_eq!(actors, ids.into_iter().map(|id| (json!("root"), id)).collect::<Vec<_>>());
    app.user("eve").await;
    let latest = app.get("/audit-logs?limit=1").await.ok(200)["items"][0].clone();
    assert_eq!((&latest["actor"], &latest["actorId"]), (&json!("TOLLGATE_ADMIN_TOKEN"), &Value::Null));
}
