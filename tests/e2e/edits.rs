//! Administrators change everything while crowds ask, fail over and leave: in the end each dollar is in one budget per
//! side, and every budget is the sum of its rows.

#![allow(clippy::print_stdout, reason = "how much was spent is part of the result")]

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::admin::Caller;
use crate::support::gateway::Setup;
use crate::support::racing::{Sold, Way, capped, crowd, failure};
use crate::support::{Admin, Books, Provider};

/// Who and what there is to be changed.
struct Estate {
    admin: Admin,
    caller: Caller,
    groups: [i64; 2],
    users: i64,
}

impl Estate {
    /// Changes something, at random. What is not there, or elsewhere, cannot be changed: that is an answer too.
    async fn change(&self) {
        let Self { caller, groups, users, .. } = self;
        let group = groups[rand::random_range(0..2)];
        let usd = f64::from(rand::random_range(1..=40_u8)) / 10.0;
        let member = format!("/user-groups/{users}/members/{}", caller.user_id);
        let model = format!("/model-groups/{group}/models/{}", ["red", "blue"][rand::random_range(0..2)]);
        let (kind, subject) =
            [("user", caller.user_id), ("user_group", *users), ("key", caller.key_id)][rand::random_range(0..3)];
        let limit = json!({"subjectType": kind, "subjectId": subject, "modelGroupId": group, "limits": capped(usd)});
        let window = ["total", "5h"][rand::random_range(0..2)];
        let boost = json!({"userId": caller.user_id, "modelGroupId": group, "usd": usd, "reason": "why not",
            "window": window, "startsAt": "2026-01-01T00:00:00Z",
            "expiresAt": (jiff::Timestamp::now() + jiff::Span::new().milliseconds(300)).to_string()});
        let mainline = if rand::random() { json!({"limits": capped(usd)}) } else { json!({"limits": null}) };
        let (method, path, body) = match rand::random_range(0..11) {
            0 => (Method::PUT, member, json!({})),
            1 => (Method::DELETE, member, Value::Null),
            2 | 3 => (Method::PUT, model, json!({})),
            4 | 5 => (Method::DELETE, model, Value::Null),
            6 => (Method::PUT, "/model-limits".to_owned(), limit),
            7 => {
                let limits = self.admin.get("/model-limits?limit=100").await["items"].as_array().unwrap().clone();
                let Some(limit) = limits.get(rand::random_range(0..6)) else { return };
                (Method::DELETE, format!("/model-limits/{}", limit["id"]), Value::Null)
            }
            8 => (Method::POST, "/quota-boosts".to_owned(), boost),
            9 => (Method::PATCH, format!("/users/{}", caller.user_id), mainline),
            _ => (Method::PATCH, format!("/keys/{}", caller.key_id), mainline),
        };
        let body = Some(&body).filter(|body| !body.is_null());
        let (status, answer) = self.admin.call(method.clone(), &path, body).await;
        assert!(matches!(status, 200..=204 | 404 | 409), "{method} {path} {body:?}: {status} {answer}");
    }

    /// Begins a new era of the user, or of the key.
    async fn reset(&self) {
        let (kind, id) = if rand::random() { ("users", self.caller.user_id) } else { ("keys", self.caller.key_id) };
        self.admin.post(&format!("/{kind}/{id}:resetLimits"), &json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance_whatever_administrators_change_meanwhile() {
    for (reservation, resets) in [("worst_case", false), ("expected", false), ("worst_case", true)] {
        let (moody, good, sold) = (Provider::start().await, Provider::start().await, Sold::default());
        let [there, here] = [sold.clone(), sold.clone()];
        let tokens = || rand::random_range(1..=1_000);
        moody.decide(move |request| if rand::random() { there.sell(request, tokens()) } else { failure() });
        good.decide(move |request| here.sell(request, tokens()));
        let mut other = good.entry("good", &["openai_chat"]);
        (other["priority"], other["redirects"]) = (json!(1), json!({"red": "blue", "green": "red"}));
        let setup = Setup::new([moody.entry("moody", &["openai_chat"]), other]);
        let mut gateway = setup.start_spending(reservation, &["red", "green", "blue"]).await;
        let admin = gateway.admin().clone();
        let groups = [admin.model_group("warm", &["red"]).await, admin.model_group("cold", &["blue"]).await];
        let caller = admin.caller(json!({"limits": capped(3.0)}), json!({})).await;
        let users = admin.user_group("painters", &[caller.user_id]).await;
        let estate = Estate { admin: admin.clone(), caller: caller.clone(), groups, users };
        let over = AtomicBool::new(false);
        let asks = (0..400).map(|n| {
            ([Way::Whole, Way::Stream, Way::Leave][n % 3], ["red", "green", "blue"][rand::random_range(0..3)])
        });
        let asking = async {
            let ended = crowd(gateway.address(), &caller, asks, 30).await;
            over.store(true, Ordering::Relaxed);
            ended
        };
        let changing = async {
            let mut changes = 0;
            while !over.load(Ordering::Relaxed) {
                estate.change().await;
                changes += 1;
                if resets && changes % 10 == 0 {
                    estate.reset().await;
                }
            }
            changes
        };
        let (ended, changes) = tokio::join!(asking, changing);
        // Budgets of which there is nothing to be seen show what they have used when they have a cap.
        for (kind, id) in [("user", caller.user_id), ("key", caller.key_id)] {
            for group in groups {
                admin.limit(kind, id, group, capped(1_000.0)).await;
            }
            admin.patch(&format!("/{kind}s/{id}"), &json!({"limits": capped(1_000.0)})).await;
        }
        let books = Books::of(&gateway).await;
        let sums = books.balance(&gateway, &caller).await;
        println!("{reservation}, resets {resets}: {sums:?}, {changes} changes, {ended:?}");
        assert!(changes > 20 && sums.nanos > 0, "{changes} changes, {sums:?}");
        assert_eq!(sums.nanos, sold.so_far().0, "all that was sold is charged once");
        gateway.signal("TERM");
        gateway.restart().await;
        assert_eq!(books.balance(&gateway, &caller).await, sums, "and another process reads the same");
    }
}
