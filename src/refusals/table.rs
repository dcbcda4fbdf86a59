//! The table of refusals, as many rows are put into it at once.

use entity::refusals::Model;

use crate::ledger::table::{Known, Table, big, big_or_null, integer, text, text_or_null};

/// A row that is there stays: the answer to the first try was lost.
pub(super) static REFUSALS: Table<Model> = Table {
    name: "refusals",
    columns: &[
        text("request_id", |row| row.request_id.clone().into()),
        big("created_at", |row| row.created_at.into()),
        big("user_id", |row| row.user_id.into()),
        big("key_id", |row| row.key_id.into()),
        text_or_null("model", |row| row.model.clone().into()),
        text_or_null("dialect", |row| row.dialect.clone().into()),
        integer("status", |row| row.status.into()),
        text("code", |row| row.code.clone().into()),
        text("message", |row| row.message.clone().into()),
        text_or_null("axis", |row| row.axis.clone().into()),
        text_or_null("scope", |row| row.scope.clone().into()),
        // A word of SQL.
        text_or_null("\"window\"", |row| row.window.clone().into()),
        big_or_null("limit_nanos", |row| row.limit_nanos.into()),
        big_or_null("used_nanos", |row| row.used_nanos.into()),
        big_or_null("reserved_nanos", |row| row.reserved_nanos.into()),
        big_or_null("requested_nanos", |row| row.requested_nanos.into()),
        big("repeated", |row| row.repeated.into()),
        text_or_null("details", |row| row.details.clone().into()),
        text("excluded", |row| row.excluded.clone().into()),
        integer("excluded_more", |row| row.excluded_more.into()),
        text("attempts", |row| row.attempts.clone().into()),
    ],
    key: "request_id",
    known: Known::Kept,
};
