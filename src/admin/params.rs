//! Query parameters, read one by one so that an answer can name everything that is wrong with them at once.

use std::collections::BTreeMap;

use super::problem::{InvalidParam, Problem};
use super::time::Instant;
use super::validate::MAX_NAME;

/// The largest integer that every JSON reader keeps exactly.
pub const MAX_ID: i64 = (1 << 53) - 1;
/// Longer than any name that a filter could match.
const MAX_TEXT: usize = 256;

/// The parameters of one request that have not been taken yet.
#[derive(Debug, Default)]
pub struct Params {
    left: BTreeMap<String, String>,
    wrong: Vec<InvalidParam>,
}

impl Params {
    /// Splits the query of a URL.
    #[must_use]
    pub fn parse(query: Option<&str>) -> Self {
        let mut params = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if params.left.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                params.wrong.push(InvalidParam::new(name, "invalid", "is given twice"));
            }
        }
        params
    }

    /// Notes something wrong that the caller found.
    pub fn wrong(&mut self, param: InvalidParam) {
        self.wrong.push(param);
    }

    /// Notes that a parameter is missing, unless it is there or was wrong.
    pub fn required(&mut self, name: &str, is_there: bool) {
        if !is_there && !self.wrong.iter().any(|wrong| wrong.path == name) {
            self.wrong(InvalidParam::new(name, "missing", "must be given"));
        }
    }

    /// A text of at most `max` characters without control characters.
    pub fn text(&mut self, name: &str, max: usize) -> Option<String> {
        let value = self.left.remove(name)?;
        if value.is_empty() || value.chars().count() > max || value.chars().any(char::is_control) {
            let message = format!("must have 1 to {max} characters and no control characters");
            self.wrong(InvalidParam::new(name, "invalid", message));
            return None;
        }
        Some(value)
    }

    /// A name of a model, provider and the like.
    pub fn name(&mut self, name: &str) -> Option<String> {
        self.text(name, MAX_TEXT)
    }

    /// The exact name that the things of a list must have, trimmed as names are when they are written.
    pub fn exact_name(&mut self) -> Option<String> {
        let name = self.text("name", MAX_NAME)?.trim().to_owned();
        if name.is_empty() {
            self.wrong(InvalidParam::new("name", "invalid", "must not be empty"));
            return None;
        }
        Some(name)
    }

    /// An integer in a range.
    pub fn integer(&mut self, name: &str, min: i64, max: i64) -> Option<i64> {
        let value = self.left.remove(name)?;
        let number = value.parse().ok().filter(|n| (min..=max).contains(n) && !value.starts_with('+'));
        if number.is_none() {
            self.wrong(InvalidParam::new(name, "out_of_range", format!("must be an integer from {min} to {max}")));
        }
        number
    }

    /// The id of an object.
    pub fn id(&mut self, name: &str) -> Option<i64> {
        self.integer(name, 1, MAX_ID)
    }

    /// An instant. The `+` of an offset that was not encoded arrives as a space; it cannot mean anything else.
    pub fn instant(&mut self, name: &str) -> Option<i64> {
        let value = self.left.remove(name)?;
        let value = match value.len().checked_sub(6).and_then(|at| value.split_at_checked(at)) {
            Some((head, offset)) if offset.starts_with(' ') => format!("{head}+{}", &offset[1..]),
            _ => value,
        };
        match Instant::parse(&value) {
            Ok(Instant(at)) => Some(at),
            Err(message) => {
                self.wrong(InvalidParam::new(name, "invalid", message));
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.left.remove(name)?;
        let found = pick(&value, choices);
        if found.is_none() {
            self.wrong(InvalidParam::new(name, "invalid", format!("must be one of {}", words(choices))));
        }
        found
    }

    /// Several different words of a few, separated by commas.
    pub fn choices<T: Copy>(&mut self, name: &str, choices: &[(&str, T)], max: usize) -> Vec<T> {
        let Some(value) = self.left.remove(name) else { return Vec::new() };
        let parts: Vec<_> = value.split(',').collect();
        let repeated = parts.iter().enumerate().any(|(i, part)| parts[..i].contains(part));
        let found: Option<Vec<T>> = parts.iter().take(max + 1).map(|part| pick(part, choices)).collect();
        match found {
            Some(found) if found.len() <= max && !repeated => found,
            _ => {
                let message =
                    format!("must be at most {max} different ones of {}, separated by commas", words(choices));
                self.wrong(InvalidParam::new(name, "invalid", message));
                Vec::new()
            }
        }
    }

    /// Whatever is left is unknown.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish(mut self) -> Result<(), Problem> {
        for name in std::mem::take(&mut self.left).into_keys() {
            self.wrong(InvalidParam::new(name, "unknown", "there is no such parameter"));
        }
        if self.wrong.is_empty() { Ok(()) } else { Err(Problem::validation(self.wrong)) }
    }
}

fn pick<T: Copy>(value: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice)
}

fn words<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}
