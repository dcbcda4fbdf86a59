//! Makes `conf/prices.yaml` from LiteLLM's public price list:
//! `cargo run --example builtin_prices -- model_prices_and_context_window.json`.

use std::error::Error;
use std::path::Path;

use tollgate::pricing::{export_yaml, import};

/// What the file says about itself.
const COMMENT: &str = "\
The prices that ship with Tollgate, in USD per million tokens.

Made from LiteLLM's public price list (MIT licence, https://github.com/BerriAI/litellm,
model_prices_and_context_window.json). Not to be edited: put your own prices in the file that
`prices.file` names, or set them over REST; both win over these, model by model.
To make it anew: cargo run --example builtin_prices -- model_prices_and_context_window.json";

fn main() -> Result<(), Box<dyn Error>> {
    let list = std::env::args_os().nth(1).ok_or("usage: builtin_prices FILE")?;
    let imported = import(&std::fs::read_to_string(list)?)?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/prices.yaml");
    std::fs::write(&target, export_yaml(COMMENT, &imported.prices))?;
    for skipped in &imported.report.skipped {
        eprintln!("skipped {skipped}");
    }
    for (field, models) in &imported.report.ignored_fields {
        eprintln!("not charged for: {field} ({models} models)");
    }
    eprintln!("{} models, {} skipped", imported.report.imported, imported.report.skipped.len());
    Ok(())
}
