//! The command line as a client of a running node.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::certs::Authority;
use crate::support::gateway::{ADMIN_TOKEN, BINARY};
use crate::support::ports::Port;
use crate::support::{Answer, Gateway, Provider};

/// The command line of somebody who has set these variables.
struct Shell(Vec<(&'static str, String)>);

impl Shell {
    /// At home on a node.
    fn of(gateway: &Gateway) -> Self {
        Self::at(gateway.admin().base())
    }

    fn at(url: &str) -> Self {
        Self(vec![("TOLLGATE_URL", url.to_owned()), ("TOLLGATE_ADMIN_TOKEN", ADMIN_TOKEN.to_owned())])
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.0.retain(|(set, _)| *set != name);
        self.0.push((name, value.to_owned()));
        self
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for name in ["TOLLGATE_URL", "TOLLGATE_ADMIN_TOKEN", "SSL_CERT_FILE", "http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.args(arguments).envs(self.0.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    /// What became of a command.
    async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(BINARY, arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Ran { arguments: format!("tollgate {}", arguments.join(" ")), output }
    }

    /// What a command that goes well prints.
    async fn says(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.fine()
    }

    /// The same as JSON.
    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.says(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }
}

struct Ran {
    arguments: String,
    output: Output,
}

impl Ran {
    fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    #[track_caller]
    fn fine(self) -> String {
        assert_eq!(self.output.status.code(), Some(0), "{}: {}", self.arguments, self.stderr());
        self.stdout()
    }

    /// It failed with this code, printed nothing, and said all of this.
    #[track_caller]
    fn failed(&self, code: i32, says: &[&str]) {
        assert_eq!(self.output.status.code(), Some(code), "{}: {}{}", self.arguments, self.stdout(), self.stderr());
        assert_eq!(self.stdout(), "", "{}", self.arguments);
        for words in says {
            assert!(self.stderr().contains(words), "{words:?} is not said by {}: {}", self.arguments, self.stderr());
        }
        assert!(!self.stderr().contains(ADMIN_TOKEN), "the token is not repeated: {}", self.stderr());
    }
}

/// The words of the line that begins with these.
#[track_caller]
fn line<'a>(table: &'a str, begins: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.starts_with(begins));
    line.unwrap_or_else(|| panic!("no line begins with {begins:?}:\n{table}")).split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_thing_is_made_listed_shown_and_deleted() {
    let gateway = Gateway::start([]).await;
    let shell = Shell::of(&gateway);

    let group = shell.json(&["group", "create", "--name", "team", "--description", "All of us."]).await;
    let made = shell.says(&[
        "user",
        "create",
        "--name",
        "alice",
        "--note",
        "ill",
        "--5h",
        "1.5",
        "--daily",
        "5",
        "--daily-at",
        "06:00",
        "--monthly",
        "50",
        "--rpm",
        "60",
        "--max-concurrent-requests",
        "4",
        "--expires-at",
        "2090-01-01T00:00:00+01:00",
        "--allow-model",
        "gpt-*",
        "--provider-group",
        "default",
        "--group",
        "team",
    ]);
    let made = made.await;
    assert_eq!(line(&made, "limits"), ["limits", "(USD)", "5h", "1.5,", "daily", "5", "at", "06:00,", "monthly", "50"]);
    assert_eq!(line(&made, "expires"), ["expires", "2089-12-31", "23:00:00Z"]);
    let alice = shell.json(&["user", "show", "alice"]).await;
    assert_eq!(alice["userGroupIds"], json!([group["id"]]));
    assert_eq!(
        (&alice["rpm"], &alice["maxConcurrentRequests"], &alice["note"]),
        (&json!(60), &json!(4), &json!("ill"))
    );
    assert_eq!((&alice["allowedModels"], &alice["providerGroups"]), (&json!(["gpt-*"]), &json!(["default"])));
    let id = alice["id"].to_string();
    assert_eq!(line(&shell.says(&["user", "list"]).await, &id)[1..3], ["alice", "yes"]);
    assert_eq!(line(&shell.says(&["user-group", "show", "team"]).await, "members"), ["members", "1"]);
    shell.says(&["user", "create", "--name", "bob"]).await;
    for group in ["team", &group["id"].to_string()] {
        let members = shell.json(&["user", "list", "--user-group", group]).await;
        assert_eq!(members.as_array().unwrap().len(), 1);
        assert_eq!(members[0]["name"], "alice");
    }
    shell.run(&["user", "list", "--user-group", "nobodies"]).await.failed(1, &["no user group named \"nobodies\""]);
    shell.says(&["user", "delete", "bob"]).await;

    let key = shell.run(&["key", "create", "--user", "alice", "--name", "tablet", "--disabled"]).await;
    assert!(key.stderr().contains("shown this once"), "{}", key.stderr());
    let key = key.fine();
    assert!(line(&key, "secret")[1].starts_with("tg-"), "{key}");
    assert_eq!(key.matches("tg-").count(), 2, "the secret once, and its prefix: {key}");
    assert!(!shell.says(&["key", "show", "tablet"]).await.contains("secret"));
    let other = shell.json(&["key", "create", "--user", &id, "--name", "server"]).await;
    assert_eq!(other["secret"].as_str().unwrap().len(), 46);
    let keys = shell.says(&["key", "list", "--user", "alice"]).await;
    assert_eq!(keys.lines().count(), 3, "{keys}");
    let all = shell.json(&["key", "list"]).await;
    assert_eq!(all.as_array().unwrap().len(), 3, "alice's, and the one of the test's own user");

    let models = shell.json(&["model-group", "create", "--name", "large", "--model", "b", "--model", "a"]).await;
    assert_eq!(models["models"], json!(["a", "b"]));
    let single = shell.json(&["model-group", "create", "--singleton", "--model", "c"]).await;
    assert_eq!((&single["name"], &single["singleton"]), (&json!("c"), &json!(true)));
    assert_eq!(
        line(&shell.says(&["model-group", "list"]).await, &models["id"].to_string())[1..],
        ["large", "a,", "b", "-"]
    );

    for subject in [["--user", "alice"], ["--group", "team"], ["--key", "tablet"]] {
        shell.says(&[&["limit", "create", "--model-group", "large", "--5h", "3"], &subject[..]].concat()).await;
        let own = shell.json(&[&["limit", "list"], &subject[..]].concat()).await;
        assert_eq!(own.as_array().unwrap().len(), 1, "{own}");
        assert_eq!(own[0]["limits"], json!({"5h": {"usd": 3, "reset": "rolling"}}));
    }
    let of_key = shell.json(&["limit", "create", "--key", "tablet", "--model-group", "large", "--total", "7"]).await;
    let shown = shell.says(&["limit", "show", &of_key["id"].to_string()]).await;
    assert_eq!(line(&shown, "limits"), ["limits", "(USD)", "total", "7"], "it was replaced");
    assert_eq!(shell.says(&["limit", "list"]).await.lines().count(), 4);

    let boost =
        ["boost", "create", "--user", "alice", "--model-group", "large", "--window", "5h", "--usd", "0.000000001"];
    let boost = shell.json(&[&boost[..], &["--for", "4h", "--from", "2090-01-01T00:00:00Z"]].concat()).await;
    assert_eq!(boost["expiresAt"], "2090-01-01T04:00:00.000Z");
    assert_eq!(shell.json(&["boost", "list", "--active"]).await, json!([]));
    let shown = shell.says(&["boost", "show", &boost["id"].to_string()]).await;
    assert_eq!(line(&shown, "USD"), ["USD", "0.000000001"]);
    let until = ["--window", "daily", "--usd", "5", "--until", "2090-01-01T00:00:00Z", "--reason", "A holiday."];
    shell.says(&[&["boost", "create", "--user", "alice", "--model-group", "large"], &until[..]].concat()).await;
    assert!(shell.says(&["boost", "list", "--active", "--user", "alice"]).await.contains("A holiday."));

    assert_eq!(
        shell.says(&["boost", "delete", &boost["id"].to_string()]).await,
        format!("boost {} deleted\n", boost["id"])
    );
    assert_eq!(
        shell.json(&["limit", "rm", &of_key["id"].to_string()]).await,
        json!([{"id": of_key["id"], "deleted": true}])
    );
    let gone = shell.says(&["key", "delete", "tablet", &other["id"].to_string()]).await;
    assert!(gone.contains("(tablet) deleted") && gone.contains("(server) deleted"), "{gone}");
    shell.says(&["model-group", "delete", "large", "c"]).await;
    shell.says(&["user-group", "delete", "team"]).await;
    assert_eq!(shell.says(&["user", "delete", "alice"]).await, format!("user {id} (alice) deleted\n"));
    for kind in ["boost", "limit", "model-group", "user-group"] {
        let none = shell.run(&[kind, "list"]).await;
        assert!(none.stderr().contains("none"), "{}", none.stderr());
        assert_eq!(none.fine(), "", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_whole_whatever_pages_it_came_in() {
    let gateway = Gateway::start([]).await;
    let mut ids = vec![gateway.caller().user_id];
    for number in 0..250 {
        ids.push(gateway.admin().user(json!({"name": format!("user {number}")})).await);
    }
    let shell = Shell::of(&gateway);
    let listed = shell.json(&["user", "list"]).await;
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|user| user["id"].as_i64().unwrap()).collect();
    assert_eq!(listed, ids, "each once, in order");
    let table = shell.says(&["user", "list"]).await;
    assert_eq!(table.lines().count(), 252, "a head, and a line for each");

    // A reader that has seen enough is no failure: neither a code nor a word.
    let script = "set -o pipefail; \"$0\" user list | head -n 1; \"$0\" user list --json | head -c 1";
    let mut piped = shell.command("bash", &["-c", script, BINARY]);
    let piped = tokio::task::spawn_blocking(move || piped.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&piped.stderr);
    assert_eq!((piped.status.code(), &*said), (Some(0), ""), "{}", String::from_utf8_lossy(&piped.stdout));
    let text = String::from_utf8(piped.stdout).unwrap();
    assert!(text.starts_with("ID") && text.ends_with("\n["), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_stand_for_ids_where_they_are_clear() {
    let gateway = Gateway::start([]).await;
    let shell = Shell::of(&gateway);
    let alice = shell.json(&["user", "create", "--name", "alice & co, 100%"]).await;
    let id = alice["id"].to_string();
    assert_eq!(shell.json(&["user", "show", "alice & co, 100%"]).await, alice);
    shell.run(&["user", "show", "alice"]).await.failed(1, &["there is no user named \"alice\""]);
    for _ in 0..2 {
        shell.says(&["key", "create", "--user", "alice & co, 100%", "--name", "tablet"]).await;
    }
    let keys = shell.json(&["key", "list", "--user", &id, "--name", "tablet"]).await;
    let several = format!("{}, {}", keys[0]["id"], keys[1]["id"]);
    shell.run(&["key", "show", "tablet"]).await.failed(1, &["several are named \"tablet\"", &several]);
    shell.run(&["key", "create", "--user", "nobody", "--name", "x"]).await.failed(1, &["no user named \"nobody\""]);
    shell.run(&["boost", "show", "alice"]).await.failed(2, &["a boost has no name"]);

    // One that is not there saves the others.
    shell.run(&["key", "delete", &keys[0]["id"].to_string(), "99999"]).await.failed(1, &["/keys/99999"]);
    shell.run(&["key", "delete", &keys[0]["id"].to_string(), "nothing"]).await.failed(1, &["\"nothing\""]);
    assert_eq!(shell.json(&["key", "list", "--user", &id]).await.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_told_by_the_exit_code() {
    let gateway = Gateway::start([]).await;
    let shell = Shell::of(&gateway);
    shell.run(&["user", "create", "--name", " ", "--rpm", "0", "--daily", "0", "--daily-at", "25:00"]).await.failed(
        1,
        &["Validation failed", "\n  name: ", "\n  rpm: must be", "\n  limits.daily.usd: ", "\n  limits.daily.at: "],
    );
    shell.says(&["user", "create", "--name", "alice"]).await;
    shell.run(&["user", "create", "--name", "alice"]).await.failed(1, &["Conflict: "]);
    shell.run(&["user", "show", "99999"]).await.failed(1, &["Not found: ", "/users/99999"]);
    shell.run(&["limit", "create", "--user", "alice", "--model-group", "99"]).await.failed(1, &["\n  limits: "]);

    let with_token = |token| Shell::of(&gateway).set("TOLLGATE_ADMIN_TOKEN", token);
    let wrong = with_token("tgadm-wrong").run(&["user", "list"]).await;
    wrong.failed(1, &["Unauthorized", "TOLLGATE_ADMIN_TOKEN"]);
    assert!(!wrong.stderr().contains("tgadm-wrong"), "a token is not repeated: {}", wrong.stderr());
    for none in ["", "  "] {
        with_token(none).run(&["user", "list"]).await.failed(1, &["TOLLGATE_ADMIN_TOKEN is not set"]);
    }
    with_token("a\u{7}b").run(&["user", "list"]).await.failed(1, &["TOLLGATE_ADMIN_TOKEN has a character"]);
    let viewer = gateway.admin().post("/admin-tokens", &json!({"name": "v", "role": "viewer"})).await;
    let viewer = with_token(viewer["secret"].as_str().unwrap());
    viewer.says(&["user", "list"]).await;
    viewer.run(&["user", "delete", "alice"]).await.failed(1, &["Forbidden", "viewer"]);

    for usage in [
        &["user", "create"][..],
        &["user", "create", "--name", "x", "--daily", "much"],
        &["user", "create", "--name", "x", "--daily-at", "06:00"],
        &["user", "create", "--name", "x", "--expires-at", "tomorrow"],
        &["user", "delete"],
        &["user", "list", "--token", ADMIN_TOKEN],
        &["limit", "create", "--model-group", "1", "--daily", "1"],
        &["limit", "list", "--user", "1", "--key", "1"],
        &["boost", "create", "--user", "1", "--model-group", "1", "--window", "daily", "--usd", "1"],
        &["boost", "create", "--user", "1", "--model-group", "1", "--window", "hourly", "--usd", "1", "--for", "1h"],
        &["model-group", "create"],
    ] {
        assert_eq!(shell.run(usage).await.output.status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(shell.run(&["user", "--help"]).await.fine().matches("TOLLGATE_ADMIN_TOKEN").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_another_exit_code_than_an_address_of_something_else() {
    let port = Port::take();
    let away = format!("http://{}", port.address());
    Shell::at(&away).run(&["user", "list"]).await.failed(3, &[&away, "cannot be reached", "TOLLGATE_URL"]);
    Shell::at("http://no-such-host.invalid").run(&["user", "list"]).await.failed(3, &["no-such-host.invalid"]);
    for wrong in ["127.0.0.1:8081", "ftp://127.0.0.1", "nonsense"] {
        Shell::at(wrong).run(&["user", "list"]).await.failed(1, &["TOLLGATE_URL is", wrong]);
    }
    let gateway = Gateway::start([]).await;
    // Its other address.
    Shell::at(&gateway.url())
        .run(&["user", "list"])
        .await
        .failed(1, &["is not the REST API of a node", "TOLLGATE_URL"]);
    let copied = format!("{}/api/v1/", gateway.admin().base());
    Shell::at(&copied).says(&["user", "list"]).await;

    let other = Provider::start().await;
    for answer in [
        Answer::bytes(200, "text/html", "<html>"),
        Answer::json(200, &json!({"items": []})),
        Answer::json(500, &json!({})),
    ] {
        other.then(answer);
        Shell::at(&other.url()).run(&["user", "list"]).await.failed(1, &["is not the REST API of a node"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_follows_no_redirect() {
    let (thief, node) = (Provider::start().await, Provider::start().await);
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Answer::json(status, &json!({})).header("location", &format!("{}/api/v1/users", thief.url()));
        node.always(elsewhere);
        for arguments in [&["user", "list"][..], &["user", "create", "--name", "x"]] {
            let ran = Shell::at(&node.url()).run(arguments).await;
            ran.failed(1, &["sends elsewhere", "TOLLGATE_URL"]);
        }
    }
    assert_eq!(thief.connections(), 0, "nobody was sent there");
    assert!(node.requests().iter().all(|request| request.header("authorization").is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_goes_round_in_circles_is_left() {
    let node = Provider::start().await;
    node.decide(|request| {
        let after = |cursor: &str| request.target.contains(&format!("cursor={cursor}"));
        let next = if after("c1") || after("c3") {
            "c2"
        } else if after("c2") {
            "c3"
        } else {
            "c1"
        };
        Answer::json(200, &json!({"items": [], "pageInfo": {"nextCursor": next}}))
    });
    let ran = Shell::at(&node.url()).run(&["user", "list"]).await;
    ran.failed(1, &["has named the same next page of a list twice", &node.url()]);
    assert_eq!(node.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_tls_is_asked_when_its_certificate_is_trusted() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = authority.write(folder.path());
    let node = Provider::start_tls(&authority, &["http/1.1"]).await;
    node.always(Answer::json(
        200,
        &json!({"items": [], "pageInfo": {"nextCursor": null, "limit": 100, "hasMore": false}}),
    ));
    let trusting = Shell::at(&node.url()).set("SSL_CERT_FILE", file.to_str().unwrap());
    assert_eq!(trusting.json(&["user", "list"]).await, json!([]));
    assert_eq!(node.requests().len(), 1);
    Shell::at(&node.url()).run(&["user", "list"]).await.failed(3, &["cannot be reached", "ertificate"]);
    assert_eq!(node.requests().len(), 1, "whom nobody vouches for gets no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_does_not_reach_the_terminal_raw() {
    let node = Provider::start().await;
    let evil = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}b";
    let group = json!({
        "id": 1, "name": evil, "description": format!("{evil}\nnext"), "memberCount": 0, "version": 1,
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
    });
    let answer = group.clone();
    node.decide(move |request| {
        if request.target.starts_with("/api/v1/user-groups?") {
            return Answer::json(200, &json!({"items": [answer], "pageInfo": {"nextCursor": null}}));
        }
        let message = format!("no {evil}");
        match &*request.method {
            "GET" => Answer::json(200, &answer),
            "DELETE" => Answer::bytes(204, "text/plain", ""),
            _ => Answer::json(
                400,
                &json!({"title": message, "detail": message, "instance": "/", "code": "validation_failed",
                    "invalidParams": [{"path": message, "code": "invalid", "message": message}]}),
            ),
        }
    });
    let shell = Shell::at(&node.url());
    let mut said = String::new();
    for arguments in [&["list"][..], &["show", "1"], &["delete", "1"], &["create", "--name", "x"], &["show", evil]] {
        let ran = shell.run(&[&["group"], arguments].concat()).await;
        said += &(ran.stdout() + &ran.stderr());
    }
    assert!(said.matches("owned").count() >= 5, "{said:?}");
    let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!said.contains(raw), "{said:?}");
    assert_eq!(said.lines().filter(|line| line.starts_with("next")).count(), 0, "a line of theirs is no line of ours");
    assert_eq!(shell.json(&["group", "list"]).await, json!([group]), "as JSON it is what it is, escaped");
    assert!(!shell.says(&["group", "list", "--json"]).await.contains(raw));
}
