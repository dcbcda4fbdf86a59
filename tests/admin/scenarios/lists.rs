//! Lists that are sorted and searched, and how the database reads them when they are long.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, Statement};
use serde_json::{Value, json};

use crate::app::App;
use crate::support::crowd;
use crate::support::refusals::bare;

/// Every object of a list, page by page.
pub async fn all(app: &App, path: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = app.get(&format!("{path}{separator}limit={limit}{cursor}")).await.ok(200);
        found.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["pageInfo"]["nextCursor"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

fn field(items: &[Value], name: &str) -> Vec<Value> {
    items.iter().map(|item| item[name].clone()).collect()
}

/// Names whose order two databases, and two languages, do not agree about.
const NAMES: [&str; 9] = ["b", "B", "a b", "a", "a_b", "a%b", "ä", "z", "\u{10ffff}x"];

pub async fn lists_of_names_are_sorted_by_every_order_up_and_down(app: App) {
    let owner = app.user("y").await;
    for (n, name) in NAMES.iter().enumerate() {
        app.clock.fetch_add(i64::try_from(n % 2).unwrap(), std::sync::atomic::Ordering::SeqCst);
        app.user(name).await;
        app.post(&format!("/users/{owner}/keys"), json!({"name": name})).await.ok(201);
        app.user_group(name, &[]).await;
        app.model_group(name, &[]).await;
    }
    for path in ["/users".to_owned(), format!("/users/{owner}/keys"), "/user-groups".into(), "/model-groups".into()] {
        let rows = all(&app, &path, 100).await;
        for (word, sorted) in [
            ("id", {
                let mut ids = rows.clone();
                ids.sort_by_key(|row| row["id"].as_i64());
                ids
            }),
            ("name", {
                let mut names = rows.clone();
                names.sort_by_key(|row| (row["name"].as_str().unwrap().to_owned(), row["id"].as_i64()));
                names
            }),
            ("createdAt", {
                let mut times = rows.clone();
                times.sort_by_key(|row| (row["createdAt"].as_str().unwrap().to_owned(), row["id"].as_i64()));
                times
            }),
        ] {
            let reversed: Vec<Value> = sorted.iter().rev().cloned().collect();
            for limit in [1, 4, 100] {
                let up = all(&app, &format!("{path}?sort={word}"), limit).await;
                assert_eq!(field(&up, "name"), field(&sorted, "name"), "{path} by {word}, {limit} at a time");
                let down = all(&app, &format!("{path}?sort=-{word}"), limit).await;
                assert_eq!(field(&down, "name"), field(&reversed, "name"), "{path} by -{word}, {limit} at a time");
            }
        }
        assert_eq!(rows, all(&app, &format!("{path}?sort=id"), 3).await, "the order of ids is the usual one");
    }
}

pub async fn names_are_found_by_how_they_begin(app: App) {
    for name in NAMES {
        app.user(name).await;
    }
    let found = async |query: &str| field(&all(&app, &format!("/users?{query}"), 2).await, "name");
    assert_eq!(found("q=a").await, ["a", "a b", "a%b", "a_b"]);
    assert_eq!(found("q=a&sort=-name").await, ["a_b", "a%b", "a b", "a"]);
    assert_eq!(found("q=a%25").await, ["a%b"], "no wildcard");
    assert_eq!(found("q=a_").await, ["a_b"], "no wildcard");
    assert_eq!(found("q=B").await, ["B"]);
    assert_eq!(found("q=%C3%A4").await, ["ä"]);
    assert_eq!(found("q=%F4%8F%BF%BF").await, ["\u{10ffff}x"], "nothing is behind it");
    assert_eq!(found("q=c").await, [Value::Null; 0]);
    assert_eq!(found("name=a").await, ["a"]);
    assert_eq!(found("name=b&q=b").await, ["b"]);
    assert_eq!(found("name=b&q=c").await, [Value::Null; 0]);
    for wrong in ["q=a&sort=id", "name=a&sort=-createdAt", "sort=rpm", "sort=", "sort=+id", "sort=id,name"] {
        app.get(&format!("/users?{wrong}")).await.invalid(&["sort"]);
    }
    app.get("/users?q=").await.invalid(&["q"]);
    app.get("/users?q=a%00").await.invalid(&["q"]);
    app.get(&format!("/users?name={}", "n".repeat(129))).await.invalid(&["name"]);
    app.get("/model-limits?sort=name").await.invalid(&["sort"]);
    app.get("/model-limits?name=x").await.invalid(&["name"]);
    app.get("/quota-boosts?sort=createdAt").await.invalid(&["sort"]);
}

pub async fn a_cursor_goes_on_in_its_own_order_only(app: App) {
    for name in NAMES {
        app.user(name).await;
    }
    let cursor = async |sort: &str| {
        let page = app.get(&format!("/users?limit=2&sort={sort}")).await.ok(200);
        page["pageInfo"]["nextCursor"].as_str().unwrap().to_owned()
    };
    let sorts = ["id", "-id", "name", "-name", "createdAt", "-createdAt"];
    for made in sorts {
        let cursor = cursor(made).await;
        for used in sorts {
            let answer = app.get(&format!("/users?sort={used}&cursor={cursor}")).await;
            if used == made { drop(answer.ok(200)) } else { answer.invalid(&["cursor"]) }
        }
    }
    // Nor does one lead out of what is searched for.
    let named = cursor("name").await;
    for search in ["name=zz", "q=zz"] {
        app.get(&format!("/users?sort=name&{search}&cursor={named}")).await.invalid(&["cursor"]);
    }
    for forged in [
        json!(["user", ["name", 1, 1]]),
        json!(["user", ["name", "a\u{0}", 1]]),
        json!(["user", ["name", "a"]]),
        json!(["user", ["name; DROP TABLE users", "a", 1]]),
        json!(["user", ["name", null, 1]]),
        json!(["user_group", ["name", "a", 1]]),
        json!(["user", ["rpm", 1, 1]]),
    ] {
        let cursor = URL_SAFE_NO_PAD.encode(forged.to_string());
        app.get(&format!("/users?sort=name&cursor={cursor}")).await.invalid(&["cursor"]);
    }
    let forged = URL_SAFE_NO_PAD.encode(json!(["user", ["createdAt", "a", 1]]).to_string());
    app.get(&format!("/users?sort=createdAt&cursor={forged}")).await.invalid(&["cursor"]);
}

pub async fn boosts_are_sorted_by_their_end_and_limits_by_their_ids(app: App) {
    let (user, group) = (app.user("ada").await, app.model_group("g", &[]).await);
    for (n, year) in [2031, 2029, 2031, 2030].iter().enumerate() {
        let boost = json!({"userId": user, "modelGroupId": group, "window": "daily", "usd": n + 1,
            "expiresAt": format!("{year}-01-01T00:00:00Z")});
        app.post("/quota-boosts", boost).await.ok(201);
        let other = app.user(&n.to_string()).await;
        app.model_limit("user", other, group, json!({"total": {"usd": 1}})).await;
    }
    let usd = async |query: &str| field(&all(&app, &format!("/quota-boosts?{query}"), 2).await, "usd");
    assert_eq!(usd("sort=expiresAt").await, [2, 4, 1, 3]);
    assert_eq!(usd("sort=-expiresAt&active=true").await, [3, 1, 4, 2]);
    assert_eq!(usd(&format!("sort=-id&userId={user}")).await, [4, 3, 2, 1]);
    let mut limits = all(&app, "/model-limits", 3).await;
    limits.reverse();
    assert_eq!(all(&app, &format!("/model-limits?sort=-id&modelGroupId={group}"), 3).await, limits);
}

const SORTS: [&str; 6] = ["id", "-id", "name", "-name", "createdAt", "-createdAt"];

pub async fn members_of_a_group_are_listed_in_every_order(app: App) {
    let mut members = Vec::new();
    for (n, name) in NAMES.iter().enumerate() {
        app.clock.fetch_add(i64::try_from(n % 2).unwrap(), std::sync::atomic::Ordering::SeqCst);
        let user = app.user(name).await;
        if n % 4 != 1 {
            members.push(user);
        }
    }
    let team = app.user_group("team", &members).await;
    app.user_group("others", &members[2..5]).await;
    for sort in SORTS {
        let mut expected = all(&app, &format!("/users?sort={sort}"), 100).await;
        expected.retain(|user| user["userGroupIds"].as_array().unwrap().contains(&json!(team)));
        assert_eq!(expected.len(), members.len());
        for limit in [1, 2, 100] {
            let found = all(&app, &format!("/users?userGroupId={team}&sort={sort}"), limit).await;
            assert_eq!(found, expected, "by {sort}, {limit} at a time");
        }
    }
    let found = async |query: &str| field(&all(&app, &format!("/users?userGroupId={team}&{query}"), 2).await, "name");
    assert_eq!(found("q=a").await, ["a", "a b", "a_b"]);
    assert_eq!(found("q=a&sort=-name").await, ["a_b", "a b", "a"]);
    assert_eq!(found("name=a_b").await, ["a_b"]);
    assert_eq!(found("name=B").await, [Value::Null; 0], "there is one, but no member");
    app.delete(&format!("/user-groups/{team}/members/{}", members[0])).await.ok(204);
    assert_eq!(found("sort=id").await.len(), members.len() - 1);
    let nobody = app.get("/users?userGroupId=999&sort=name").await.ok(200);
    assert_eq!(nobody["items"], json!([]), "as with every filter by an id that there is not");
    for wrong in ["0", "team", "9007199254740992"] {
        app.get(&format!("/users?userGroupId={wrong}")).await.invalid(&["userGroupId"]);
    }
    app.get(&format!("/users?userGroupId={team}&q=a&sort=id")).await.invalid(&["sort"]);
}

pub async fn members_of_a_large_group_are_listed_in_every_order(app: App) {
    crowd::members(&app.db, 18_000).await;
    let group = crowd::GROUPS + 1;
    for sort in SORTS {
        let list = async |filter: &str| {
            let (mut found, mut cursor) = (Vec::new(), String::new());
            for _ in 0..3 {
                let page = app.get(&format!("/users?{filter}sort={sort}&limit=90{cursor}")).await.ok(200);
                found.extend(page["items"].as_array().unwrap().iter().cloned());
                cursor = format!("&cursor={}", page["pageInfo"]["nextCursor"].as_str().unwrap());
            }
            found
        };
        let mut expected = list("").await;
        expected.retain(|user| user["userGroupIds"].as_array().unwrap().contains(&json!(group)));
        assert!((100..270).contains(&expected.len()), "some, and not all: {}", expected.len());
        let found = list(&format!("userGroupId={group}&")).await;
        assert_eq!(field(&found[..expected.len()], "id"), field(&expected, "id"), "by {sort}");
    }
}

pub async fn a_cursor_of_a_list_by_time_goes_on_in_its_own_order_only(app: App) {
    crowd::spend(&app.db, 5).await;
    for name in NAMES {
        app.user(name).await;
    }
    let refusals = (1..5).map(|id| bare(id, id.to_string()).into_active_model().reset_all());
    entity::refusals::Entity::insert_many(refusals).exec_without_returning(&app.db).await.unwrap();
    for (path, kind, word) in
        [("/usage", "usage", "settledAt"), ("/refusals", "refusals", "createdAt"), ("/audit-logs", "audit_log", "at")]
    {
        let cursor = async |sort: &str| {
            let page = app.get(&format!("{path}?limit=2{sort}")).await.ok(200);
            page["pageInfo"]["nextCursor"].as_str().unwrap().to_owned()
        };
        let (up, down) = (format!("&sort={word}"), format!("&sort=-{word}"));
        let (oldest, newest) = (cursor(&up).await, cursor("").await);
        assert_eq!(cursor(&down).await, newest, "newest first is the usual order");
        app.get(&format!("{path}?cursor={oldest}{up}")).await.ok(200);
        app.get(&format!("{path}?cursor={newest}{down}")).await.ok(200);
        for wrong in [format!("cursor={newest}{up}"), format!("cursor={oldest}"), format!("cursor={oldest}{down}")] {
            app.get(&format!("{path}?{wrong}")).await.invalid(&["cursor"]);
        }
        for forged in [json!([kind, ["id", 1, 1]]), json!([kind, [word, "1", 1]]), json!([kind, [word, 1]])] {
            let cursor = URL_SAFE_NO_PAD.encode(forged.to_string());
            app.get(&format!("{path}?cursor={cursor}{up}")).await.invalid(&["cursor"]);
        }
        for wrong in ["id", "", "settledat", "--at", "userId"] {
            app.get(&format!("{path}?sort={wrong}")).await.invalid(&["sort"]);
        }
    }
}

/// A list with filters, and whether these leave so few rows that it does not matter how they are found.
struct List {
    path: &'static str,
    table: &'static str,
    few: bool,
}

const fn list(path: &'static str, table: &'static str) -> List {
    List { path, table, few: false }
}

const LISTS: &[List] = &[
    list("/users?", "users"),
    list("/users?sort=-id", "users"),
    list("/users?sort=name", "users"),
    list("/users?sort=-name", "users"),
    list("/users?sort=createdAt", "users"),
    list("/users?sort=-createdAt", "users"),
    list("/users?q=user", "users"),
    list("/users?q=user&sort=-name", "users"),
    list("/users?name=user%201007919", "users"),
    List { path: "/users?userGroupId=3", table: "users", few: true },
    List { path: "/users?userGroupId=3&sort=-id", table: "users", few: true },
    List { path: "/users?userGroupId=3&sort=name", table: "users", few: true },
    List { path: "/users?userGroupId=3&sort=-createdAt", table: "users", few: true },
    List { path: "/users?userGroupId=3&q=user%201&sort=-name", table: "users", few: true },
    // Most users are in this one.
    list("/users?userGroupId=1001", "users"),
    list("/users?userGroupId=1001&sort=-id", "users"),
    list("/users?userGroupId=1001&sort=name", "users"),
    list("/users?userGroupId=1001&sort=-createdAt", "users"),
    list("/users?userGroupId=1001&q=user%201&sort=-name", "users"),
    list("/keys?", "keys"),
    list("/keys?sort=-id", "keys"),
    list("/keys?sort=name", "keys"),
    list("/keys?sort=-name", "keys"),
    list("/keys?sort=createdAt", "keys"),
    list("/keys?sort=-createdAt", "keys"),
    list("/keys?q=key", "keys"),
    list("/keys?name=key%20500", "keys"),
    list("/keys?userId=1", "keys"),
    list("/keys?userId=1&sort=name", "keys"),
    list("/keys?userId=1&sort=-createdAt", "keys"),
    list("/users/1/keys?", "keys"),
    list("/users/1/keys?sort=-id", "keys"),
    list("/users/1/keys?sort=name", "keys"),
    list("/users/1/keys?sort=-name", "keys"),
    list("/users/1/keys?sort=createdAt", "keys"),
    list("/users/1/keys?sort=-createdAt", "keys"),
    list("/users/1/keys?q=key", "keys"),
    list("/users/1/keys?name=key%20500", "keys"),
    list("/user-groups?", "user_groups"),
    list("/user-groups?sort=-name", "user_groups"),
    list("/user-groups?sort=createdAt", "user_groups"),
    list("/user-groups?q=group", "user_groups"),
    list("/model-groups?", "model_groups"),
    list("/model-groups?sort=-name", "model_groups"),
    list("/model-groups?sort=createdAt", "model_groups"),
    list("/model-groups?q=group", "model_groups"),
    list("/model-limits?", "model_group_limits"),
    list("/model-limits?sort=-id", "model_group_limits"),
    list("/model-limits?subjectType=user", "model_group_limits"),
    list("/model-limits?subjectType=user_group", "model_group_limits"),
    list("/model-limits?subjectType=key", "model_group_limits"),
    list("/model-limits?subjectType=key&sort=-id", "model_group_limits"),
    list("/model-limits?modelGroupId=3", "model_group_limits"),
    list("/model-limits?modelGroupId=3&subjectType=user", "model_group_limits"),
    list("/model-limits?modelGroupId=3&subjectType=user_group", "model_group_limits"),
    list("/model-limits?modelGroupId=3&subjectType=key", "model_group_limits"),
    List { path: "/model-limits?subjectId=5", table: "model_group_limits", few: true },
    List { path: "/model-limits?subjectId=5&subjectType=user", table: "model_group_limits", few: true },
    List { path: "/model-limits?subjectId=5&modelGroupId=5", table: "model_group_limits", few: true },
    list("/quota-boosts?", "quota_boost_grants"),
    list("/quota-boosts?sort=expiresAt", "quota_boost_grants"),
    list("/quota-boosts?sort=-expiresAt", "quota_boost_grants"),
    list("/quota-boosts?modelGroupId=3", "quota_boost_grants"),
    list("/quota-boosts?modelGroupId=3&sort=-expiresAt", "quota_boost_grants"),
    List { path: "/quota-boosts?userId=3", table: "quota_boost_grants", few: true },
    List { path: "/quota-boosts?userId=3&sort=expiresAt", table: "quota_boost_grants", few: true },
    List { path: "/quota-boosts?active=true&sort=expiresAt", table: "quota_boost_grants", few: true },
    list("/audit-logs?", "audit_log"),
    list("/audit-logs?from=1970-01-01T00:00:00Z&to=1970-01-01T00:00:01Z", "audit_log"),
    list("/audit-logs?sort=at", "audit_log"),
    list("/audit-logs?actor=token%203", "audit_log"),
    list("/audit-logs?actor=token%203&sort=at", "audit_log"),
    list("/audit-logs?action=delete", "audit_log"),
    list("/audit-logs?objectType=key", "audit_log"),
    list("/audit-logs?objectType=key&sort=at", "audit_log"),
    List { path: "/audit-logs?objectId=70", table: "audit_log", few: true },
    List { path: "/audit-logs?objectType=user&objectId=70", table: "audit_log", few: true },
    List { path: "/audit-logs?actor=token%203&from=1970-01-01T00:00:01Z", table: "audit_log", few: true },
    list("/refusals?", "refusals"),
    list("/refusals?sort=createdAt", "refusals"),
    list("/refusals?userId=1", "refusals"),
    list("/refusals?userId=1&sort=createdAt", "refusals"),
    list("/refusals?keyId=1", "refusals"),
    list("/refusals?from=1970-01-01T00:00:00Z&to=1970-01-01T00:01:00Z", "refusals"),
    list("/usage?", "usage_ledger"),
    list("/usage?sort=settledAt", "usage_ledger"),
    list("/usage?userId=1&from=1970-01-01T00:00:00Z", "usage_ledger"),
    list("/usage?userId=1&sort=settledAt", "usage_ledger"),
    list("/usage?keyId=1&sort=settledAt", "usage_ledger"),
];

pub async fn long_lists_are_read_off_indexes_page_by_page(app: App) {
    crowd::fill(&app.db, 20_000).await;
    let mut bad = Vec::new();
    for List { path, table, few } in LISTS {
        let mut cursor = String::new();
        // The first page and one behind it: every later one is asked for in the same words.
        for page in 0..2 {
            app.record();
            let answer = app.get(&format!("{path}&limit=20{cursor}").replace("?&", "?")).await.ok(200);
            for statement in app.recorded() {
                let filters = [
                    "subjectType=",
                    "modelGroupId=",
                    "userId=",
                    "keyId=",
                    "userGroupId=3",
                    "q=",
                    "name=",
                    "from=",
                    "actor=",
                    "action=",
                    "objectType=",
                    "objectId=",
                    "/users/1/keys",
                ];
                let filtered = page > 0 || filters.iter().any(|filter| path.contains(filter));
                let plan = plan(&app, &statement).await;
                let of_list = statement.sql.contains(&format!("FROM \"{table}\""));
                if let Some(why) = wrong(&app, &plan, table, of_list && !*few, filtered) {
                    bad.push(format!("{path} page {page}: {why}\n{}\n{}\n", statement.sql, plan.join("\n")));
                }
            }
            let Some(next) = answer["pageInfo"]["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// How the database says that it carries a statement out.
pub async fn plan(app: &App, statement: &Statement) -> Vec<String> {
    let mut statement = statement.clone();
    let (words, column) = match app.db.get_database_backend() {
        DbBackend::Postgres => ("EXPLAIN", "QUERY PLAN"),
        _ => ("EXPLAIN QUERY PLAN", "detail"),
    };
    statement.sql = format!("{words} {}", statement.sql);
    let rows = app.db.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get("", column).unwrap()).collect()
}

/// Indexes that have only the rows that are asked for.
const PARTIAL: &str = "USING INDEX model_group_limits_of_";

/// What is wrong with a plan: that it looks at rows that the page does not have.
fn wrong(app: &App, plan: &[String], table: &str, strict: bool, filtered: bool) -> Option<&'static str> {
    let any = |found: &dyn Fn(&str) -> bool| plan.iter().any(|line| found(line));
    if app.db.get_database_backend() == DbBackend::Postgres {
        return if any(&|line| line.contains(&format!("Seq Scan on {table} "))) {
            Some("it reads the whole table")
        } else if strict && any(&|line| line.contains("Sort")) {
            Some("it sorts")
        } else if strict && any(&|line| line.contains("Filter:")) {
            Some("it skips rows")
        } else {
            None
        };
    }
    if strict && any(&|line| line.contains("TEMP B-TREE")) {
        Some("it sorts")
    } else if filtered && any(&|line| line.starts_with(&format!("SCAN {table}")) && !line.contains(PARTIAL)) {
        // Whoever begins at the beginning of an index, and stops when the page is full, is said to scan it.
        Some("it reads the whole table")
    } else {
        None
    }
}

pub async fn f11_a_page_takes_a_fixed_number_of_queries_however_long_it_is(app: App) {
    crowd::fill(&app.db, 2_000).await;
    for List { path, .. } in LISTS {
        let mut counts = Vec::new();
        for limit in [1, 10, 100] {
            app.record();
            app.get(&format!("{path}&limit={limit}").replace("?&", "?")).await.ok(200);
            counts.push(app.recorded().len());
        }
        // SQLite has to be told first whether a group is large.
        let most = 2 + usize::from(path.contains("userGroupId="));
        assert!(counts.iter().all(|count| *count == counts[0] && *count <= most), "{path}: {counts:?}");
    }
}
