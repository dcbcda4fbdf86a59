//! Names as long as they may be.

use serde_json::{Value, json};

use crate::app::App;

/// The widest characters of UTF-8, and one that JSON writes as two.
const WIDE: [&str; 2] = ["\u{10ffff}", "\""];

pub async fn lists_of_the_longest_names_go_on_from_their_own_cursors(app: App) {
    let owner = app.user("owner").await;
    for wide in WIDE {
        for last in ["a", "b", "c"] {
            let name = wide.repeat(127) + last;
            for path in ["/users", "/user-groups", "/model-groups", &format!("/users/{owner}/keys")] {
                app.post(path, json!({"name": name})).await.ok(201);
                app.post(path, json!({"name": format!("{name}x")})).await.invalid(&["name"]);
            }
            let longest = wide.repeat(255 / wide.len()) + last;
            for (name, status) in
                [(format!("{longest}{}", "x".repeat(256 - longest.len())), 201), (longest.clone() + "1234", 400)]
            {
                let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
                let answer = app.json("PUT", &format!("/prices/{encoded}"), &[], &json!({"requestUsd": 1})).await;
                assert_eq!((name.len() > 256, answer.status.as_u16()), (status == 400, status), "{answer:?}");
            }
        }
    }
    let keys = format!("/users/{owner}/keys?");
    for list in ["/users?", "/user-groups?", "/model-groups?", &keys] {
        for sort in ["name", "-name"] {
            let found = all(&app, &format!("{list}sort={sort}&limit=1")).await;
            let names = found.iter().filter(|item| item["name"].as_str().unwrap().chars().count() == 128);
            assert_eq!(names.count(), 6, "{list}{sort}");
        }
    }
    // Behind the built-in ones.
    let found = all(&app, "/prices?limit=1").await;
    assert_eq!(found.iter().filter(|item| item["source"] == "rest").count(), 6);
}

async fn all(app: &App, list: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{list}{cursor}")).await.ok(200);
        found.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["pageInfo"]["nextCursor"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}
