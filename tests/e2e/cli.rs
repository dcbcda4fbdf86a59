//! The command line.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::gateway::{MODEL, Setup, run};
use crate::support::provider::entry;
use crate::support::{Admin, Api, Provider, Tokens, eventually};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A configuration in a folder, on SQLite in the same folder.
fn write(folder: &Path, config: Value) -> String {
    let mut config = config;
    if config.get("providers").is_none() {
        config["providers"] = json!([entry("upstream", &["openai_chat"], "http://127.0.0.1:9")]);
    }
    config["database"] = json!({"url": format!("sqlite://{}", folder.join("db/tollgate.db").display())});
    config["node"] = json!({"data_dir": folder.join("data")});
    let file = folder.join("tollgate.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn check_names_every_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), json!({}));
    let output = run(&["check", "-c", &good], &[], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));

    let mut first = entry("one", &["openai_chat"], "not a url");
    first["timeouts"]["connect"] = json!("soon");
    let second = entry("one", &["klingon"], "http://127.0.0.1:9");
    let bad = write(
        folder.path(),
        json!({
            "providers": [first, second], "server": {"listen": "nowhere", "max_request_body": "-1"}, "tpyo": 1,
            "prices": {"unpriced": "perhaps"}, "budgets": {"reservation": "some"},
        }),
    );
    let output = run(&["check", "-c", &bad], &[], folder.path());
    assert_eq!(output.status.code(), Some(1));
    for path in [
        "providers[0].base_url",
        "providers[0].timeouts.connect",
        "providers[1].dialects",
        "server.listen",
        "server.max_request_body",
        "tpyo",
        "prices.unpriced",
        "budgets.reservation",
    ] {
        assert!(text(&output).contains(path), "{path} in\n{}", text(&output));
    }
}

#[test]
fn variables_are_replaced_and_missing_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut provider = entry("upstream", &["openai_chat"], "${UPSTREAM_URL:-http://127.0.0.1:9}");
    provider["api_key"] = json!("${UPSTREAM_KEY}");
    let file = write(folder.path(), json!({"providers": [provider]}));
    let check = |environment: &[(&str, &str)]| run(&["check", "-c", &file], environment, folder.path());
    let missing = check(&[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("UPSTREAM_KEY"), "{}", text(&missing));
    assert_eq!(check(&[("UPSTREAM_KEY", "sk-secret")]).status.code(), Some(0));
    let bad = check(&[("UPSTREAM_KEY", "sk-secret"), ("UPSTREAM_URL", "nonsense")]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(!text(&bad).contains("sk-secret"), "a secret is not repeated: {}", text(&bad));
}

#[test]
fn the_schema_accepts_the_examples_and_refuses_what_check_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["schema"], &[], folder.path());
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).expect("the schema is JSON");
    let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut seen = 0;
    for file in std::fs::read_dir(examples).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("tollgate") || !name.ends_with(".yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let value: Value = serde_yaml::from_str(&text).unwrap();
        let errors: Vec<_> = schema.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        seen += 1;
    }
    assert!(seen >= 2, "examples were seen");
    assert!(!schema.is_valid(&json!({"tpyo": 1})));
    assert!(!schema.is_valid(&json!({"providers": [{"name": "x"}]})));
}

#[test]
fn migrate_may_be_repeated_and_tells_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), json!({}));
    let migrate = |more: &[&str]| {
        let output = run(&[&["migrate", "-c", &file], more].concat(), &[], folder.path());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let before = migrate(&["--status"]);
    migrate(&[]);
    let after = migrate(&["--status"]);
    assert_ne!(before, after, "the state tells what is applied");
    migrate(&[]);
    assert_eq!(migrate(&["--status"]), after);
    assert!(folder.path().join("db/tollgate.db").exists(), "the file and its folder are made");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_is_printed_once_and_works() {
    let provider = Provider::start().await;
    let gateway = Setup::new([provider.entry("upstream", &["openai_chat"])]).start().await;
    let file = gateway.folder().join("tollgate.yaml");
    let file = file.to_str().unwrap();
    for (role, may_write) in [("admin", true), ("viewer", false)] {
        let arguments = ["admin-token", "create", "--name", role, "--role", role, "-c", file];
        let output = run(&arguments, &[], gateway.folder());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let admin = Admin::new(gateway.admin().base(), &token);
        // Another process made it: the gateway finds it within a second.
        eventually("the token is known", async || {
            (admin.call(reqwest::Method::GET, "/users", None).await.0 == 200).then_some(())
        })
        .await;
        let (status, _) = admin.call(reqwest::Method::POST, "/users", Some(&json!({"name": "x"}))).await;
        assert_eq!(status, if may_write { 201 } else { 403 }, "{role}");
    }
    assert_eq!(
        run(&["admin-token", "create", "--name", "x", "--role", "king", "-c", file], &[], gateway.folder())
            .status
            .code(),
        Some(2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_of_the_public_list_can_be_imported() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]);
    let list = json!({
        "sample_spec": {"litellm_provider": "one of https://docs.litellm.ai/docs/providers", "mode": "one of: chat"},
        "imported-model": {
            "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000, "max_output_tokens": 100,
            "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07,
            "output_cost_per_reasoning_token": 1.7e-05,
        },
    });
    let (file, config) = (setup.folder().join("list.json"), setup.folder().join("tollgate.yaml"));
    std::fs::write(&file, list.to_string()).unwrap();
    let folder = setup.folder().to_owned();
    setup.write();
    let arguments = ["prices", "import", file.to_str().unwrap(), "-c", config.to_str().unwrap()];
    let output = run(&arguments, &[], &folder);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let gateway = setup.start().await;
    let reply = gateway.ask_with(gateway.key(), Api::Chat, "imported-model", false).await;
    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    assert_eq!(crate::support::dialects::cost_of_row(&row), Api::Chat.tokens().cost());
    assert_eq!(Tokens::of_row(&row), Api::Chat.tokens());
    assert_ne!(row["servedModel"], MODEL);
    let broken = gateway.folder().join("broken.json");
    std::fs::write(&broken, "{").unwrap();
    let arguments = ["prices", "import", broken.to_str().unwrap(), "-c", config.to_str().unwrap()];
    let output = run(&arguments, &[], gateway.folder());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_price_is_charged_for_the_past_when_that_is_wanted() {
    let provider = Provider::start().await;
    provider.always(Api::Chat.answer());
    let setup = Setup::new([provider.entry("upstream", &["openai_chat"])]);
    let (file, config) = (setup.folder().join("list.json"), setup.folder().join("tollgate.yaml"));
    let folder = setup.folder().to_owned();
    setup.write();
    let import = |per_token: f64| {
        let price = json!({
            "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000, "max_output_tokens": 100,
            "input_cost_per_token": per_token, "output_cost_per_token": per_token,
        });
        std::fs::write(&file, json!({"imported-model": price}).to_string()).unwrap();
        let arguments = ["prices", "import", file.to_str().unwrap(), "-c", config.to_str().unwrap()];
        assert_eq!(run(&arguments, &[], &folder).status.code(), Some(0));
    };
    let rerate = |dry: bool| {
        let (from, to) = ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
        let mut arguments = vec!["prices", "rerate", "-c", config.to_str().unwrap(), "--from", from, "--to", to];
        arguments.extend(dry.then_some("--dry-run"));
        let output = run(&arguments, &[], &folder);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    import(1e-6);
    let gateway = setup.start().await;
    let reply = gateway.ask_with(gateway.key(), Api::Chat, "imported-model", false).await;
    assert_eq!(reply.head.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let row = gateway.admin().row_of(reply.head.request_id()).await;
    let charged = async || gateway.admin().get("/usage/summary").await["totalUsd"].as_f64().unwrap();
    let before = charged().await;
    assert!((before - row["costUsd"].as_f64().unwrap()).abs() < 1e-12 && before > 0.0);

    import(3e-6);
    let told = rerate(true);
    assert!(told.contains("1 of 1 requests would be corrected"), "{told}");
    assert!((charged().await - before).abs() < 1e-12, "a dry run changes nothing");
    let told = rerate(false);
    assert!(told.contains("imported-model: 1 requests") && told.contains("1 of 1 requests corrected"), "{told}");
    assert!((charged().await - before * 3.0).abs() < 1e-12);
    let told = rerate(false);
    assert!(told.contains("0 of 1 requests corrected"), "{told}");
    let rows = gateway.admin().get("/usage?outcome=corrected").await;
    assert_eq!((rows["items"].as_array().unwrap().len(), &rows["items"][0]["attempt"]), (1, &json!(1_001)));
    assert_eq!(rows["items"][0]["requestId"], row["requestId"]);
}
