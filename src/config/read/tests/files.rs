//! Files: the configuration itself, those that it names, and the examples.

use std::path::Path as FilePath;

use super::{MINIMAL, no_env};
use crate::config::load;
use crate::config::read::LARGEST_FILE;

#[test]
fn files_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem", "prices.yaml"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let text = "server: {tls: {cert: cert.pem, key: key.pem}}\nprices: {file: prices.yaml}\n".to_owned()
        + &MINIMAL.replace("name: a", "name: a, tls: {ca_file: ca.pem}");
    let file = folder.path().join("tollgate.yaml");
    std::fs::write(&file, &text).unwrap();
    let config = load(&file, &no_env).unwrap();
    assert_eq!(config.server.tls.unwrap().key, folder.path().join("key.pem"));
    assert_eq!(config.prices.file.unwrap(), folder.path().join("prices.yaml"));
    assert_eq!(config.providers[0].tls.ca_file.as_ref().unwrap(), &folder.path().join("ca.pem"));

    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    std::fs::create_dir(folder.path().join("ca.pem")).unwrap();
    let errors = load(&file, &no_env).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].path, "providers[0].tls.ca_file");
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.yaml");
    let message = |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        let errors = load(&file, &no_env).unwrap_err();
        assert_eq!((errors.len(), errors[0].path.as_str()), (1, file.to_str().unwrap()));
        errors[0].message.clone()
    };
    assert!(message(&vec![b'#'; (LARGEST_FILE + 1) as usize]).contains("larger than 1 MiB"));
    assert!(message(b"a: \xff\xfe").contains("not UTF-8"));
    let comments = "\u{feff}# yaml-language-server: $schema=x\r\n\n  # providers: []\n---\n# more";
    for nothing in [&b""[..], b" \n", b"# a comment", comments.as_bytes(), &vec![b'#'; LARGEST_FILE as usize]] {
        assert!(message(nothing).contains("is empty, or holds comments alone"));
    }
    let mut largest = vec![b'#'; LARGEST_FILE as usize];
    largest[..3].copy_from_slice(b"{}\n");
    for something in [&largest[..], b"# the defaults alone\n{}", b"---\nproviders: []\n"] {
        std::fs::write(&file, something).unwrap();
        assert!(load(&file, &no_env).is_ok());
    }

    let missing = load(&folder.path().join("missing.yaml"), &no_env).unwrap_err();
    assert!(missing[0].to_string().contains("missing.yaml: cannot be read"), "{missing:?}");
    assert!(load(folder.path(), &no_env).unwrap_err()[0].message.contains("cannot be read"));
}

#[test]
fn every_example_is_a_configuration_and_names_its_schema() {
    let folder = FilePath::new(concat!(env!("CARGO_MANIFEST_DIR"), "/conf"));
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_yaml = matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml"));
        // Price files have their own format and their own test.
        if !is_yaml || name.starts_with("prices") {
            continue;
        }
        examples += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=../docs/config.schema.json"), "{name}");
        // The plain example needs nothing; others may need to be told where their stores are.
        let stores = |variable: &str| match variable {
            "DATABASE_URL" => Some("postgres://db/tollgate".to_owned()),
            "REDIS_URL" => Some("redis://cache".to_owned()),
            _ => None,
        };
        let config = if name == "tollgate.yaml" { load(&path, &no_env) } else { load(&path, &stores) };
        let config = config.unwrap_or_else(|errors| panic!("{name}: {errors:#?}"));
        assert!(!config.providers.is_empty(), "{name} shows no provider");
    }
    assert!(examples > 0);
}
