//! Rows of the ledger, and refusals, as CSV (RFC 4180).

use std::io::Write as _;

use super::refusals::Refusal;
use super::usage::UsageRow;
use super::usd;

/// The first line: the names of the JSON fields.
pub const HEAD: &str = "requestId,attempt,createdAt,settledAt,userId,keyId,provider,dialect,requestedModel,servedModel,\
    modelGroupId,outcome,estimated,status,durationMs,firstByteMs,tokens.input,tokens.output,tokens.cacheRead,\
    tokens.cacheWrite5m,tokens.cacheWrite1h,tokens.reasoning,tokens.inputAudio,tokens.outputAudio,tokens.inputImage,\
    tokens.outputImage,costUsd,countedInUserGlobal,countedInKeyGlobal\r\n";

/// Appends a row.
pub fn row(out: &mut Vec<u8>, row: &UsageRow) {
    let instant = |at| serde_json::to_string(&at).unwrap_or_default().replace('"', "");
    let optional = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let t = &row.tokens;
    let tokens = [
        t.input,
        t.output,
        t.cache_read,
        t.cache_write_5m,
        t.cache_write_1h,
        t.reasoning,
        t.input_audio,
        t.output_audio,
        t.input_image,
        t.output_image,
    ];
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},",
        text(&row.request_id),
        row.attempt,
        instant(row.created_at),
        instant(row.settled_at),
        row.user_id,
        row.key_id,
        text(&row.provider),
        text(&row.dialect),
        text(&row.requested_model),
        text(&row.served_model),
        optional(row.model_group_id),
        text(&row.outcome),
        row.estimated,
        row.status,
        row.duration_ms,
        optional(row.first_byte_ms),
    );
    for count in tokens {
        let _ = write!(out, "{count},");
    }
    let _ =
        write!(out, "{},{},{}\r\n", usd::decimal(row.cost_usd), row.counted_in_user_global, row.counted_in_key_global);
}

/// The first line of a list of refusals.
pub const REFUSALS_HEAD: &str = "requestId,createdAt,userId,keyId,model,dialect,status,code,message,axis,scope,window,limitUsd,\
    usedUsd,reservedUsd,requestedUsd,repeated\r\n";

/// Appends a refusal.
pub fn refusal(out: &mut Vec<u8>, row: &Refusal) {
    let instant = serde_json::to_string(&row.created_at).unwrap_or_default().replace('"', "");
    let word = |value: &Option<String>| value.as_deref().map(text).unwrap_or_default();
    let amount = |value: Option<i64>| value.map(usd::decimal).unwrap_or_default();
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n",
        text(&row.request_id),
        instant,
        row.user_id,
        row.key_id,
        word(&row.model),
        word(&row.dialect),
        row.status,
        text(&row.code),
        text(&row.message),
        word(&row.axis),
        word(&row.scope),
        word(&row.window),
        amount(row.limit_usd),
        amount(row.used_usd),
        amount(row.reserved_usd),
        amount(row.requested_usd),
        row.repeated,
    );
}

/// How a formula begins, in full width too: spreadsheets of East Asia read those signs alike.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];
/// Where a cell ends for a spreadsheet that does not split at commas, as in countries with a decimal comma. To such a
/// one a quotation mark in the middle of its cell is a character like any other, so a line break ends the cell too.
const ENDS: [char; 4] = [';', '\t', '\r', '\n'];

/// A text that a client may have chosen. A spreadsheet would run one that begins like a formula, so an apostrophe,
/// which spreadsheets take for "this is text", goes before it, and before what is a cell of its own if it is split
/// elsewhere than at commas. Quotation marks before the sign may be taken away first.
fn text(value: &str) -> String {
    let cells = value.split_inclusive(ENDS).map(|cell| {
        let protection = if cell.trim_start_matches('"').starts_with(FORMULA) { "'" } else { "" };
        [protection, cell].concat()
    });
    let value: String = cells.collect();
    if value.contains([',', '"', '\r', '\n', '\'']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn separators_are_quoted_and_formulas_are_disarmed() {
        assert_eq!(text("gpt-5"), "gpt-5");
        assert_eq!(text("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(text("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(text("-1"), "\"'-1\"");
    }

    #[test]
    fn formulas_are_disarmed_wherever_a_spreadsheet_begins_a_cell() {
        for (value, cell) in [
            ("x;=1+1", "\"x;'=1+1\""),
            ("x;+1;-1;@a", "\"x;'+1;'-1;'@a\""),
            ("x;\"=1+1", "\"x;'\"\"=1+1\""),
            ("x;\t=1", "\"x;'\t'=1\""),
            ("x\n=1", "\"x\n'=1\""),
            ("＝1+1", "\"'＝1+1\""),
            ("＋1", "\"'＋1\""),
            ("－1", "\"'－1\""),
            ("＠a", "\"'＠a\""),
            ("x;＝1", "\"x;'＝1\""),
        ] {
            assert_eq!(text(value), cell, "{value:?}");
        }
        for harmless in ["gpt-5", "a;b", "a=b;c-d", "a ＝ b"] {
            assert_eq!(text(harmless), harmless);
        }
    }
}
