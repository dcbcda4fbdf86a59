//! Sums that are not those of the ledger's rows are found and put right, by whoever asks and by the gateway itself.

use std::process::Output;

use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::support::gateway::run;
use crate::support::racing::capped;
use crate::support::{Gateway, Provider, SOON, eventually, spending};
use crate::support::{books::database, gateway::Setup};

const MODEL: &str = "audited";

/// What somebody has put on top of every sum of a minute, in nano-dollars.
const TAMPERED: i64 = 1_000_000_000;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs `tollgate audit` beside the gateway; its exit code and what it says.
fn audit(gateway: &Gateway, more: &[&str]) -> (i32, String) {
    let file = gateway.folder().join("tollgate.yaml");
    let arguments = [&["audit", "-c", file.to_str().unwrap()], more].concat();
    let output = run(&arguments, &[], gateway.folder());
    (output.status.code().unwrap(), text(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_was_tampered_with_is_named_shown_while_running_and_put_right() {
    let provider = Provider::start().await;
    provider.decide(spending::answer);
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]);
    let gateway = setup.start_spending("expected", &[MODEL]).await;
    let caller = gateway.admin().caller(json!({"limits": capped(100.0)}), json!({"limits": capped(100.0)})).await;
    gateway.spends(&caller, MODEL, 50).await;
    gateway.admin().rows_of_user(caller.user_id).await;
    let (code, said) = audit(&gateway, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 rows: every sum is that of its rows"), "{said}");
    assert!(gateway.metric("budget_drift_usd").await.abs() < f64::EPSILON);

    let db = database(&gateway).await;
    let tamper = format!("UPDATE usage_rollup_minute SET cost_nanos = cost_nanos + {TAMPERED}");
    db.execute_unprepared(&tamper).await.unwrap();
    let (code, said) = audit(&gateway, &[]);
    assert_eq!(code, 1, "{said}");
    for whose in [format!("user {}", caller.user_id), format!("key {}", caller.key_id), "provider upstream".to_owned()]
    {
        let line = format!("{whose}: -1 USD more in the ledger than in the sums");
        assert!(said.contains(&line), "{line:?} in\n{said}");
    }
    assert!(said.contains("see --repair"), "{said}");
    eventually(&format!("the gateway finds it, too, within {SOON:?}"), async || {
        (gateway.metric("budget_drift_usd").await >= 1.0).then_some(())
    })
    .await;
    assert!(gateway.log().contains("a budget was not counted as the ledger says"), "{}", gateway.log());

    let (code, said) = audit(&gateway, &["--repair"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = audit(&gateway, &[]);
    assert_eq!(code, 0, "{said}");
    // And counts what the ledger says again.
    let of_user = async || {
        gateway.admin().window("user", caller.user_id, &json!("mainline"), "total").await["usedUsd"].as_f64().unwrap()
    };
    eventually("the budget is as it was", async || (of_user().await < 0.5).then_some(())).await;
    let reply = gateway.spend(&caller, MODEL, 50).await;
    assert_eq!(reply.head.status, 200);
}
