//! Which thing is meant: by its id, or by its exact name.

use std::convert::Infallible;
use std::str::FromStr;

use serde_json::value::RawValue;

use super::super::output::Failure;
use super::client::Client;
use super::table::clean;
use super::{Resource, read};

/// An id, or a name that is looked up. Digits are an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Id(i64),
    Name(String),
}

impl FromStr for Which {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(id) if text.bytes().all(|c| c.is_ascii_digit()) => Self::Id(id),
            _ => Self::Name(text.to_owned()),
        })
    }
}

impl Which {
    /// Its id; whether there is one of that id is for the node to say when it is used.
    pub fn id<R: Resource>(&self, node: &Client) -> Result<i64, Failure> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Name(name) => Ok(read::<R>(&named::<R>(node, name)?)?.id()),
        }
    }

    /// The thing itself, as the API shows it.
    pub fn find<R: Resource>(&self, node: &Client) -> Result<Box<RawValue>, Failure> {
        match self {
            Self::Id(id) => node.get(&format!("{}/{id}", R::PATH)),
            Self::Name(name) => named::<R>(node, name),
        }
    }
}

fn named<R: Resource>(node: &Client, name: &str) -> Result<Box<RawValue>, Failure> {
    let (what, shown) = (R::WHAT, clean(name));
    if !R::NAMED {
        return Err(Failure::usage(format!("{shown:?} is no id, and a {what} has no name")));
    }
    let mut found = node.list(R::PATH, &[("name", name.to_owned())])?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Failure::new(format!("there is no {what} named {shown:?}"))),
        (Some(last), false) => {
            let ids = found.iter().chain([&last]).map(|item| Ok(read::<R>(item)?.id().to_string()));
            let ids = ids.collect::<Result<Vec<_>, Failure>>()?.join(", ");
            Err(Failure::new(format!("several are named {shown:?}; say which {what} by its id: {ids}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Which;

    #[test]
    fn digits_are_an_id_and_everything_else_is_a_name() {
        for (text, which) in [
            ("7", Which::Id(7)),
            ("-7", Which::Name("-7".to_owned())),
            ("+7", Which::Name("+7".to_owned())),
            ("7a", Which::Name("7a".to_owned())),
            ("", Which::Name(String::new())),
            ("99999999999999999999", Which::Name("99999999999999999999".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(which));
        }
    }
}
