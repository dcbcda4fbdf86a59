//! What is wrong with a configuration, and where.

use std::fmt;

/// More problems than this help nobody; the rest is counted.
const MOST_REPORTED: usize = 100;

/// A key from an unfriendly file is shown up to here.
const LONGEST_KEY: usize = 80;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ConfigError {
    /// Where it is: `providers[1].timeouts.connect`, or `line 3, column 5` in what is not YAML.
    pub path: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// One step of a path in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// A path in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Path(Vec<Segment>);

impl Path {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// The path of a setting in the group that this path names.
    pub(super) fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.push(Segment::Key(key.to_owned()));
        path
    }

    /// The path of an element in the list that this path names.
    pub(super) fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.push(Segment::Index(index));
        path
    }

    /// Whether this path names the same place as the other, or one around it.
    fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl From<&str> for Path {
    /// The path of plain keys with dots between them.
    fn from(keys: &str) -> Self {
        Self(keys.split('.').map(|key| Segment::Key(key.to_owned())).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(the whole file)");
        }
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{key}")?;
                }
                Segment::Key(key) => write!(f, "[\"{}\"]", shortened(key, LONGEST_KEY))?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    (1..=LONGEST_KEY).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The text without line breaks and control characters, cut when it is long.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    let cut: String = text.chars().take(longest).collect();
    let ellipsis = if cut.len() < text.len() { "..." } else { "" };
    format!("{}{ellipsis}", cut.escape_debug())
}

/// The mistakes that were found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Path, String)>);

impl Problems {
    pub(super) fn add(&mut self, path: Path, message: impl Into<String>) {
        self.0.push((path, message.into()));
    }

    /// Adds what was found later, without what only follows from a mistake at the same place or around it.
    pub(super) fn add_later(&mut self, later: Self) {
        let known = self.0.len();
        for (path, message) in later.0 {
            if !self.0[..known].iter().any(|(earlier, _)| earlier.contains(&path)) {
                self.0.push((path, message));
            }
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order of their places.
    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        self.0.sort();
        self.0.dedup();
        let more = self.0.len().saturating_sub(MOST_REPORTED);
        let mut errors: Vec<_> = self
            .0
            .into_iter()
            .take(MOST_REPORTED)
            .map(|(path, message)| ConfigError { path: path.to_string(), message })
            .collect();
        if more > 0 {
            errors.push(ConfigError {
                path: Path::default().to_string(),
                message: format!("has {more} more mistakes: correct the first {MOST_REPORTED} to see them"),
            });
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_code() {
        let path = Path::from("providers").index(1).key("timeouts").key("connect");
        assert_eq!(path.to_string(), "providers[1].timeouts.connect");
        assert_eq!(Path::from("limits.5h").to_string(), "limits.5h");
        assert_eq!(Path::from("redirects").key("a b\n\"").to_string(), "redirects[\"a b\\n\\\"\"]");
        assert_eq!(Path::default().key("x".repeat(500).as_str()).to_string().len(), "[\"\"]".len() + 80 + 3);
    }

    #[test]
    fn what_follows_from_a_mistake_is_not_reported_again() {
        let mut problems = Problems::default();
        problems.add(Path::from("server"), "first");
        let mut later = Problems::default();
        later.add(Path::from("server.listen"), "follows");
        later.add(Path::from("servers"), "second");
        problems.add_later(later);
        let messages: Vec<_> = problems.into_errors().into_iter().map(|error| error.message).collect();
        assert_eq!(messages, ["first", "second"]);
    }

    #[test]
    fn a_thousand_mistakes_are_not_a_thousand_lines() {
        let mut problems = Problems::default();
        for index in 0..1_000 {
            problems.add(Path::from("providers").index(index), "wrong");
        }
        let errors = problems.into_errors();
        assert_eq!(errors.len(), MOST_REPORTED + 1);
        assert_eq!(errors[2].path, "providers[2]", "in the order of the file, not of the letters");
        assert!(errors[MOST_REPORTED].message.contains("900 more"));
    }
}
