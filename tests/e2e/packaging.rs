//! What is shipped beside the binary: the examples, the image, the compose file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::gateway::run;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub fn compose() -> Value {
    serde_yaml::from_str(&read("compose.yaml")).expect("compose.yaml is YAML")
}

/// Replaces `${NAME:-default}` by its default, as compose does when nothing is set.
fn with_defaults(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once("${") {
        let (variable, after) = variable.split_once('}').expect("a closed variable");
        let (_, default) = variable.split_once(":-").unwrap_or_else(|| panic!("{variable} works without being set"));
        out += before;
        out += default;
        rest = after;
    }
    out + rest
}

#[test]
fn f03_compose_wires_gateway_postgres_and_redis() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    let gateway = &services["gateway"];
    for name in ["postgres", "redis"] {
        assert_eq!(gateway["depends_on"][name]["condition"], "service_healthy", "the gateway waits for {name}");
        let probe = services[name]["healthcheck"]["test"].as_array().expect("a health check that can turn healthy");
        assert!(probe.len() > 1, "{name}: {probe:?}");
        let volume = services[name]["volumes"][0].as_str().unwrap().split(':').next().unwrap();
        assert!(compose["volumes"].as_object().unwrap().contains_key(volume), "{name} keeps its data");
    }
    let environment = &gateway["environment"];
    let postgres = &services["postgres"]["environment"];
    let dsn = url::Url::parse(&with_defaults(environment["DATABASE_URL"].as_str().unwrap())).unwrap();
    assert_eq!((dsn.scheme(), dsn.host_str(), dsn.port()), ("postgres", Some("postgres"), Some(5432)));
    assert_eq!(dsn.username(), postgres["POSTGRES_USER"].as_str().unwrap());
    assert_eq!(dsn.password().unwrap(), with_defaults(postgres["POSTGRES_PASSWORD"].as_str().unwrap()));
    assert_eq!(dsn.path().trim_start_matches('/'), postgres["POSTGRES_DB"].as_str().unwrap());
    let redis = url::Url::parse(environment["REDIS_URL"].as_str().unwrap()).unwrap();
    assert_eq!((redis.scheme(), redis.host_str(), redis.port()), ("redis", Some("redis"), Some(6379)));
    let command: Vec<_> =
        services["redis"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(command.windows(2).any(|pair| pair == ["--maxmemory-policy", "noeviction"]), "{command:?}");
}

#[test]
fn f03_compose_publishes_the_ports_of_the_configuration_that_it_mounts() {
    let gateway = compose()["services"]["gateway"].clone();
    let mount = gateway["volumes"].as_array().unwrap().iter().find_map(|volume| {
        let mut parts = volume.as_str().unwrap().split(':');
        let (from, to) = (parts.next().unwrap(), parts.next().unwrap());
        from.ends_with(".yaml").then(|| (from.to_owned(), to.to_owned()))
    });
    let (file, inside) = mount.expect("a configuration is mounted");
    let command: Vec<_> = gateway["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command, ["serve", "-c", &*inside], "the command reads what is mounted");
    let config: Value = serde_yaml::from_str(&read(&file)).unwrap();
    assert_eq!(config["database"]["url"], "${DATABASE_URL}");
    assert_eq!(config["redis"]["url"], "${REDIS_URL}");
    let published: BTreeMap<String, String> = gateway["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| {
            let (host, container) = port.as_str().unwrap().rsplit_once(':').unwrap();
            (container.to_owned(), host.to_owned())
        })
        .collect();
    for (name, public) in [("listen", true), ("admin", false), ("metrics", false)] {
        let (address, port) = config["server"][name].as_str().unwrap().split_once(':').unwrap();
        assert_eq!(address, "0.0.0.0", "{name} can be reached from outside the container");
        let host = published.get(port).unwrap_or_else(|| panic!("{name}: port {port} is published"));
        assert_eq!(!host.starts_with("127.0.0.1:"), public, "{name} is open to others: {public}");
    }
    let volume = gateway["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .any(|volume| volume.as_str().unwrap().split(':').nth(1) == config["node"]["data_dir"].as_str());
    assert!(volume, "the data folder survives the container");
}

#[test]
fn f03_the_mounted_configuration_is_valid_with_what_compose_sets() {
    let environment = compose()["services"]["gateway"]["environment"].clone();
    let set: Vec<(String, String)> = environment
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), with_defaults(value.as_str()?))))
        .collect();
    let set: Vec<_> = set.iter().map(|(name, value)| (&**name, &**value)).collect();
    check("conf/tollgate.compose.yaml", &set);
}

#[test]
fn every_example_is_valid() {
    let environment = [
        ("DATABASE_URL", "postgres://u@localhost/x"),
        ("REDIS_URL", "redis://localhost"),
        ("ANTHROPIC_API_KEY", "a"),
        ("OPENAI_API_KEY", "b"),
        ("GEMINI_API_KEY", "c"),
    ];
    let mut seen = 0;
    for file in std::fs::read_dir(root().join("conf")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.starts_with("tollgate") && name.ends_with(".yaml") {
            check(&format!("conf/{name}"), &environment);
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

fn check(file: &str, environment: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let path = root().join(file);
    let output = run(&["check", "-c", path.to_str().unwrap()], environment, folder.path());
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_image_is_built_in_two_stages_and_does_not_run_as_root() {
    let dockerfile = read("Dockerfile");
    let lines: Vec<&str> = dockerfile.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let stages: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("FROM ")).collect();
    let [build, last] = stages[..] else { panic!("two stages, not {stages:?}") };
    assert!(lines[build].contains("rust:") && lines[build..last].iter().any(|line| line.contains("cmake")));
    let last = &lines[last..];
    let value = |instruction: &str| last.iter().rev().find_map(|line| line.strip_prefix(&format!("{instruction} ")));
    assert!(!last[0].contains("rust"), "the compiler stays behind");
    assert!(value("USER").is_some_and(|user| user != "root" && user != "0"));
    assert_eq!(value("ENTRYPOINT"), Some(r#"["tollgate"]"#));
    assert_eq!(value("VOLUME"), Some("/data"));
    assert!(value("HEALTHCHECK").is_some());
    assert!(last.iter().any(|line| line.contains("ca-certificates")), "the providers' certificates can be verified");
    // What is copied exists, and is not ignored.
    let ignored = read(".dockerignore");
    for folder in ["src", "entity", "migration", "benches", "conf", "Cargo.toml", "Cargo.lock"] {
        assert!(ignored.lines().any(|line| line == format!("!{folder}")), "{folder} is part of the build");
        assert!(root().join(folder).exists() || folder == "benches", "{folder}");
    }
    let ports = value("EXPOSE").unwrap();
    assert!(["8080", "8081", "9464"].iter().all(|port| ports.contains(port)), "{ports}");
}

#[test]
fn no_lock_file_names_a_registry_host() {
    let lock = read("tests/sdk/node/package-lock.json");
    assert!(!lock.contains("\"resolved\"") && !lock.contains("://"), "npm install --omit-lockfile-registry-resolved");
    assert!(Path::new(&root().join("tests/sdk/requirements.txt")).exists());
    for line in read("tests/sdk/requirements.txt").lines().filter(|line| !line.starts_with('#')) {
        assert!(line.contains("=="), "{line} is pinned");
    }
}

#[test]
fn h31_each_kind_of_group_has_a_name_of_its_own() {
    let limits = read("docs/limits.md");
    for kind in ["user", "model", "provider"] {
        let word = format!("| {kind} group | ");
        assert_eq!(limits.lines().filter(|line| line.starts_with(&word)).count(), 1, "what a {kind} group is");
    }
    for name in ["api /user-groups", "api /model-groups", "`providerGroups`"] {
        assert!(limits.contains(name), "{name}");
    }
    assert!(!limits.contains("api /groups") && !read("README.md").contains("api /groups"), "groups of what?");
}

#[test]
fn every_test_that_the_list_of_regressions_names_exists() {
    let mut sources = String::new();
    let mut folders = vec![root().join("tests"), root().join("src"), root().join("migration")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(&path).unwrap();
            }
        }
    }
    let list = read("docs/regressions.md");
    // In the last column: names of tests, some after their module, some with a star for what follows.
    let rows = list.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit(" | ").next());
    let names: Vec<&str> = rows.flat_map(|cell| cell.split('`')).filter(|name| name.contains('_')).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let function = name.rsplit("::").next().unwrap();
        let found = match function.strip_suffix('*') {
            Some(beginning) => sources.contains(&format!("fn {beginning}")),
            None => sources.contains(&format!("fn {function}(")),
        };
        assert!(found, "docs/regressions.md names {name}, which is no test");
    }
}
