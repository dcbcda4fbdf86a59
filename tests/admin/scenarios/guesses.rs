//! Whoever guesses keys.

use std::sync::atomic::Ordering;

use axum::body::Body;

use crate::app::App;

pub async fn guesses_from_a_blocked_address_do_not_reach_the_database_and_right_keys_do(app: App) {
    let user = app.user("ada").await;
    let ((_, seen), (_, unseen), (gone_id, gone)) = (app.key(user).await, app.key(user).await, app.key(user).await);
    let me = async |key: &str| app.call("GET", "/me", key, &[], Body::empty()).await;
    me(&seen).await.ok(200);
    me(&gone).await.ok(200);
    for n in 0..20 {
        me(&format!("tg-{n:043}")).await.problem(401, "unauthorized");
    }
    // The address is blocked now: a few more are looked for, and then none.
    let mut asked = Vec::new();
    for n in 20..100 {
        let before = app.statements.load(Ordering::SeqCst);
        me(&format!("tg-{n:043}")).await.problem(429, "too_many_auth_failures");
        asked.push(app.statements.load(Ordering::SeqCst) - before);
    }
    assert_eq!((asked[..40].to_vec(), asked[40..].to_vec()), (vec![1; 40], vec![0; 40]));
    me(&seen).await.ok(200);
    app.delete(&format!("/keys/{gone_id}")).await.ok(204);
    me(&gone).await.problem(429, "too_many_auth_failures");
    // One that was never seen here gets its turn with the guesses, as it does at the gateway.
    app.clock.fetch_add(50, Ordering::SeqCst);
    me(&unseen).await.ok(200);
    me(&unseen).await.ok(200);
}
