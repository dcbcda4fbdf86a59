//! The way from a file's text to a checked [`Config`]: YAML, `${VAR}`, schema, types, meaning. Every stage reports all
//! it finds, and the later ones go on with what is sound.

mod check;
mod coerce;
mod expand;
mod meaning;
mod overrides;
mod sound;
mod yaml;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::error::{ConfigError, Path, Problems, Segment};
use super::schema::schema;
use super::types::Config;

/// A configuration is written by people; what is larger is something else.
const LARGEST_FILE: u64 = 1 << 20;

static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

/// What the environment says about a variable.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads and checks a configuration file.
///
/// # Errors
/// Every mistake in the file, each with its path.
pub fn load(path: &FilePath, env: &Environment<'_>) -> Result<Config, Vec<ConfigError>> {
    let text = text_of(path)
        .map_err(|message| vec![ConfigError { path: path.display().to_string(), message: message.to_string() }])?;
    parse(&text, path.parent().unwrap_or(FilePath::new("")), env)
}

/// Checks a configuration's text; the files that it names are relative to `base`.
///
/// # Errors
/// Every mistake in the text, each with its path.
pub fn parse(text: &str, base: &FilePath, env: &Environment<'_>) -> Result<Config, Vec<ConfigError>> {
    let mut problems = Problems::default();
    let mut value = yaml::read(text, &mut problems).map_err(|error| vec![error])?;
    let expanded = expand::expand(&mut value, env, &mut problems);
    overrides::apply(&mut value, env, &mut problems);

    coerce::coerce(&mut value, &expanded, &SCHEMA);
    problems.add_later(check::check(&value, &expanded));
    problems.add_later(sound::meaning_of_sound_parts(&value, &problems, base));
    if !problems.is_empty() {
        return Err(problems.into_errors());
    }

    // The check left nothing that the types could refuse. Were that wrong, the reason could show a secret.
    let mut config = Config::deserialize(value).map_err(|_| {
        let message = "fits the schema but not the types: this is a bug in Tollgate, please report it";
        vec![ConfigError { path: Path::default().to_string(), message: message.to_owned() }]
    })?;
    resolve_files(&mut config, base);
    Ok(config)
}

/// Makes the files that the configuration names relative to the working directory instead of to its own folder.
fn resolve_files(config: &mut Config, base: &FilePath) {
    let resolve = |file: &mut PathBuf| *file = base.join(&*file);
    if let Some(tls) = &mut config.server.tls {
        resolve(&mut tls.cert);
        resolve(&mut tls.key);
    }
    config.prices.file.as_mut().map(resolve);
    for provider in &mut config.providers {
        provider.tls.ca_file.as_mut().map(resolve);
    }
}

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("cannot be read: {0}; name another file with -c")]
    Io(#[from] std::io::Error),
    #[error("is larger than {} MiB: this is not a configuration", LARGEST_FILE >> 20)]
    TooLarge,
    #[error("is not UTF-8 text: save it as UTF-8")]
    NotText,
    #[error(
        "is empty, or holds comments alone: either it is being written, or another file was meant; `{{}}` asks for the \
         defaults alone"
    )]
    Empty,
}

fn text_of(path: &FilePath) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large, whatever its metadata say.
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Unreadable::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
    // A reload must not take a file that was truncated to be saved, or of which only the first lines are there, for a
    // wish to have no providers.
    if text.trim_start_matches('\u{feff}').lines().all(says_nothing) {
        return Err(Unreadable::Empty);
    }
    Ok(text)
}

/// Whether a line of YAML at the beginning of a file is blank, a comment, or the mark before the first setting.
fn says_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "---"
}

/// The value at a path.
fn find<'a>(root: &'a Value, path: &Path) -> Option<&'a Value> {
    path.segments().iter().try_fold(root, |value, segment| match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    })
}
