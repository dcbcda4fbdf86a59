//! Writes prices as our own YAML: one line per model, sorted, so that a change of a price is a change of a line.

use super::book::Prices;

/// The prices as YAML that [`import`](super::import()) reads back unchanged, under a comment.
#[must_use]
pub fn export_yaml(comment: &str, prices: &Prices) -> String {
    let comment = comment.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n");
    // JSON in one line is YAML in one line, and needs no rules of its own for what has to be quoted.
    let models = prices.iter().map(|(model, price)| format!("{}: {}\n", json(model), json(price)));
    comment.chain(models).collect()
}

#[expect(clippy::expect_used, reason = "strings and prices are maps and numbers, which JSON always has")]
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("a price is JSON")
}
