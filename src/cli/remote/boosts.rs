//! `tollgate boost`.

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tollgate::money::Usd;

use super::super::output::Failure;
use super::client::{Client, Query};
use super::money::amount;
use super::table::{or_none, short, time};
use super::which::Which;
use super::{ModelGroup, Resource, User};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Boost {
    id: i64,
    user_id: i64,
    model_group_id: i64,
    window: String,
    /// As it was written: all of its digits.
    usd: Box<RawValue>,
    starts_at: String,
    expires_at: String,
    reason: Option<String>,
    created_at: String,
}

#[derive(Args)]
pub struct Filter {
    /// Only those of this user.
    #[arg(long, value_name = "ID|NAME")]
    user: Option<Which>,
    /// Only those for this model group.
    #[arg(long, value_name = "ID|NAME")]
    model_group: Option<Which>,
    /// Only those that are in force now.
    #[arg(long)]
    active: bool,
}

#[derive(Args)]
pub struct New {
    /// To whom.
    #[arg(long, value_name = "ID|NAME")]
    user: Which,
    /// For which models.
    #[arg(long, value_name = "ID|NAME")]
    model_group: Which,
    /// Which cap it raises; where there is none it changes nothing.
    #[arg(long, value_enum)]
    window: Window,
    /// By how much.
    #[arg(long)]
    usd: Usd,
    /// From when on (RFC 3339), also in the past [default: now].
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    #[command(flatten)]
    end: End,
    /// Free text for the administrator.
    #[arg(long)]
    reason: Option<String>,
}

/// Until when.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct End {
    /// For how long from its start on: 90m, 4h, 7d.
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Span>,
    /// Until when (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Window {
    #[value(name = "5h")]
    FiveHours,
    Daily,
    Weekly,
    Monthly,
    Total,
}

impl Window {
    const fn word(self) -> &'static str {
        match self {
            Self::FiveHours => "5h",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Total => "total",
        }
    }
}

impl End {
    /// When it ends that starts at `start`.
    fn after(&self, start: Timestamp) -> Result<Timestamp, Failure> {
        let Some(duration) = self.duration else {
            return self.until.ok_or_else(|| Failure::usage("one of --for and --until is needed"));
        };
        let end = start.to_zoned_datetime(TimeZone::UTC).checked_add(duration);
        end.map(|end| end.timestamp()).map_err(|error| Failure::usage(format!("--for: {error}")))
    }
}

impl Resource for Boost {
    type Filter = Filter;
    type New = New;

    const WHAT: &'static str = "boost";
    const PATH: &'static str = "/quota-boosts";
    const NAMED: bool = false;
    const HEAD: &'static [&'static str] = &["ID", "USER", "MODEL GROUP", "WINDOW", "USD", "FROM", "UNTIL", "REASON"];

    fn id(&self) -> i64 {
        self.id
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.user_id.to_string(),
            self.model_group_id.to_string(),
            self.window.clone(),
            self.usd.get().to_owned(),
            time(&self.starts_at),
            time(&self.expires_at),
            or_none(self.reason.as_deref().map(short).as_deref()),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.to_string()),
            ("user", self.user_id.to_string()),
            ("model group", self.model_group_id.to_string()),
            ("window", self.window.clone()),
            ("USD", self.usd.get().to_owned()),
            ("from", time(&self.starts_at)),
            ("until", time(&self.expires_at)),
            ("reason", or_none(self.reason.as_deref())),
            ("granted", time(&self.created_at)),
        ]
    }

    fn query(filter: &Filter, node: &Client) -> Result<Query, Failure> {
        let mut query = Query::new();
        if let Some(user) = &filter.user {
            query.push(("userId", user.id::<User>(node)?.to_string()));
        }
        if let Some(group) = &filter.model_group {
            query.push(("modelGroupId", group.id::<ModelGroup>(node)?.to_string()));
        }
        if filter.active {
            query.push(("active", "true".to_owned()));
        }
        Ok(query)
    }

    fn create(new: New, node: &Client) -> Result<Box<RawValue>, Failure> {
        let end = new.end.after(new.from.unwrap_or_else(Timestamp::now))?;
        let (user, group) = (new.user.id::<User>(node)?, new.model_group.id::<ModelGroup>(node)?);
        let body = json!({
            "userId": user, "modelGroupId": group, "window": new.window.word(), "usd": amount(new.usd),
            "startsAt": new.from, "expiresAt": end, "reason": new.reason,
        });
        node.send_json("POST", Self::PATH, &body)
    }
}
