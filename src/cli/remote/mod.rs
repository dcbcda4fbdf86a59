//! What can be asked of a running node: `list`, `create`, `show` and `delete`, the same for every kind of thing.

mod boosts;
mod client;
mod groups;
mod keys;
mod limits;
mod money;
mod problem;
mod table;
mod users;
mod which;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::output::{Failure, print};
use client::{Client, Query};
use which::Which;

pub use boosts::Boost;
pub use groups::{ModelGroup, UserGroup};
pub use keys::Key;
pub use limits::Limit;
pub use users::User;

/// What every command of this kind reads from the environment.
pub const HELP: &str = "Environment:\n  TOLLGATE_URL          the node's admin address [default: http://127.0.0.1:8081]\n  \
                        TOLLGATE_ADMIN_TOKEN  an admin token of the node; never an argument, which `ps` would show";

/// A kind of thing that a node has.
pub trait Resource: DeserializeOwned {
    /// What a filter of the list may say.
    type Filter: Args;
    /// What a new one may be made of.
    type New: Args;

    /// What one is called.
    const WHAT: &'static str;
    /// Where the API lists them.
    const PATH: &'static str;
    /// Whether they have names to find them by.
    const NAMED: bool = true;
    /// The columns of the list.
    const HEAD: &'static [&'static str];

    /// Its id.
    fn id(&self) -> i64;

    /// Its name, if it has one.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Its line in the list.
    fn row(&self) -> Vec<String>;

    /// Everything about it.
    fn fields(&self) -> Vec<(&'static str, String)>;

    /// The filter as the API reads it.
    fn query(filter: &Self::Filter, node: &Client) -> Result<Query, Failure>;

    /// Makes a new one; what the API answered.
    fn create(new: Self::New, node: &Client) -> Result<Box<RawValue>, Failure>;

    /// What to say about a new one beside what it is.
    fn remark() -> Option<&'static str> {
        None
    }
}

/// What to do with things of one kind.
#[derive(Subcommand)]
pub enum Verb<R: Resource> {
    /// Show all, one line for each.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        filter: R::Filter,
        #[command(flatten)]
        output: Output,
    },
    /// Make a new one.
    Create {
        #[command(flatten)]
        new: R::New,
        #[command(flatten)]
        output: Output,
    },
    /// Show everything about one.
    Show {
        /// Its id, or its name where it has one.
        #[arg(value_name = "ID|NAME")]
        which: Which,
        #[command(flatten)]
        output: Output,
    },
    /// Delete some. Nothing is asked; nothing is deleted when one of them is not there.
    #[command(visible_alias = "rm")]
    Delete {
        /// Ids, or names where they have some.
        #[arg(value_name = "ID|NAME", required = true)]
        which: Vec<Which>,
        #[command(flatten)]
        output: Output,
    },
}

/// Which of those that have names.
#[derive(Args)]
pub struct NameFilter {
    /// Only the one of this name.
    #[arg(long)]
    name: Option<String>,
}

impl NameFilter {
    fn query(&self) -> Query {
        self.name.iter().map(|name| ("name", name.clone())).collect()
    }
}

/// How to say it.
#[derive(Args)]
pub struct Output {
    /// As the API's JSON: an object; of a list one array, whatever pages it came in.
    #[arg(long)]
    json: bool,
}

impl<R: Resource> Verb<R> {
    /// Does what was asked.
    pub fn run(self) -> Result<(), Failure> {
        let node = Client::from_environment()?;
        match self {
            Self::List { filter, output } => list::<R>(&node, &filter, &output),
            Self::Create { new, output } => {
                let made = R::create(new, &node)?;
                show::<R>(&made, &output)?;
                if let Some(remark) = R::remark().filter(|_| !output.json) {
                    eprintln!("{remark}");
                }
                Ok(())
            }
            Self::Show { which, output } => show::<R>(&which.find::<R>(&node)?, &output),
            Self::Delete { which, output } => delete::<R>(&node, &which, &output),
        }
    }
}

fn list<R: Resource>(node: &Client, filter: &R::Filter, output: &Output) -> Result<(), Failure> {
    let items = node.list(R::PATH, &R::query(filter, node)?)?;
    if output.json {
        return print_json(&items);
    }
    let rows = items.iter().map(|item| Ok(read::<R>(item)?.row())).collect::<Result<Vec<_>, Failure>>()?;
    if rows.is_empty() {
        // A table of nothing is nothing: whoever counts lines counts none.
        eprintln!("There is none.");
        return Ok(());
    }
    print(&table::of_rows(R::HEAD, rows))
}

fn show<R: Resource>(item: &RawValue, output: &Output) -> Result<(), Failure> {
    if output.json { print_json(item) } else { print(&table::of_fields(read::<R>(item)?.fields())) }
}

fn delete<R: Resource>(node: &Client, which: &[Which], output: &Output) -> Result<(), Failure> {
    // All are looked up first, so that a wrong one among them is found while they are all still there.
    let found = which.iter().map(|which| read::<R>(&which.find::<R>(node)?));
    let mut found = found.collect::<Result<Vec<_>, Failure>>()?;
    // One that is named twice is deleted once.
    let mut ids = BTreeSet::new();
    found.retain(|one| ids.insert(one.id()));
    let mut deleted: Vec<Value> = Vec::new();
    let mut done = Ok(());
    for one in found {
        done = node.delete(&format!("{}/{}", R::PATH, one.id()));
        if done.is_err() {
            break;
        }
        deleted.push(json!({"id": one.id(), "deleted": true}));
        if !output.json {
            let name = one.name().map(|name| format!(" ({})", table::clean(name))).unwrap_or_default();
            print(&format!("{} {}{name} deleted", R::WHAT, one.id()))?;
        }
    }
    if output.json {
        print_json(&deleted)?;
    }
    done
}

fn print_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    print(&table::escaped(&serde_json::to_string(value).map_err(Failure::new)?))
}

/// Reads what the API answered.
fn read<T: DeserializeOwned>(item: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(item.get()).map_err(|error| {
        Failure::new(format!("the node's answer is not understood ({error}); is it of another version? See --json"))
    })
}
