//! `limits`: the most that may be spent in each window, as people write it, as it is kept, and as the API shows it.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::problem::Problem;
use super::usd;
use super::validate::Check;
use crate::config::{self, amount, time_of_day};
use crate::limit::{Mode, Window, WindowCap};

/// Caps by window; a window that is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Limits {
    /// In five hours.
    #[serde(rename = "5h", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    five_hours: Option<Cap>,
    /// In a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    daily: Option<Cap>,
    /// In a week, from Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    weekly: Option<Cap>,
    /// In a month, from its first day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    monthly: Option<Cap>,
    /// Ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total: Option<Cap>,
}

/// The cap of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cap {
    #[serde(serialize_with = "usd::nanos")]
    #[schema(value_type = f64)]
    usd: i64,
    /// `rolling` or `fixed`; of `5h` and `daily`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    reset: Option<&'static str>,
    /// When a fixed day starts, `HH:MM` in the configured time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at: Option<String>,
}

impl Limits {
    /// Caps as the API shows them.
    pub fn of(caps: &[WindowCap]) -> Self {
        let find = |window| caps.iter().find(|cap| cap.window == window).map(Cap::of);
        Self {
            five_hours: find(Window::FiveHours),
            daily: find(Window::Daily),
            weekly: find(Window::Weekly),
            monthly: find(Window::Monthly),
            total: find(Window::Total),
        }
    }

    /// A kept column as the API shows it.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn shown(column: Option<&str>) -> Result<Self, Problem> {
        kept(column).map(|caps| Self::of(&caps))
    }
}

impl Cap {
    fn of(cap: &WindowCap) -> Self {
        let resets = matches!(cap.window, Window::FiveHours | Window::Daily);
        let at = match cap.mode {
            Mode::Calendar { at } if cap.window == Window::Daily => Some(format!("{:02}:{:02}", at / 60, at % 60)),
            _ => None,
        };
        Self { usd: cap.usd.nanos(), reset: resets.then(|| reset(cap.mode)), at }
    }
}

/// The name of a mode.
pub const fn reset(mode: Mode) -> &'static str {
    match mode {
        Mode::Rolling => "rolling",
        Mode::FromFirstCharge | Mode::Calendar { .. } | Mode::Forever => "fixed",
    }
}

/// Reads a kept column back.
///
/// # Errors
/// The row is damaged.
pub fn kept(column: Option<&str>) -> Result<Vec<WindowCap>, Problem> {
    let Some(column) = column else { return Ok(Vec::new()) };
    let limits: Option<config::Limits> = serde_json::from_str(column).map_err(|error| Problem::internal(&error))?;
    Ok(limits.as_ref().map(Vec::from).unwrap_or_default())
}

/// Caps as they are kept: nothing when there are none.
///
/// # Errors
/// Never: they are plain strings and numbers.
pub fn keep(caps: &[WindowCap]) -> Result<Option<String>, Problem> {
    if caps.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&config::Limits::from(caps)).map(Some).map_err(|error| Problem::internal(&error))
}

/// Caps as a value that a patch can change.
///
/// # Errors
/// Never, as [`keep`].
pub fn patchable(caps: &[WindowCap]) -> Result<Value, Problem> {
    serde_json::to_value(config::Limits::from(caps)).map_err(|error| Problem::internal(&error))
}

/// A day that a patch makes rolling has no beginning any more: the one that it had is not the patch's mistake.
pub fn forget_beginning(fields: &mut Value, patch: &Value) {
    if patch.pointer("/limits/daily/reset").is_some_and(|reset| reset == "rolling")
        && let Some(Value::Object(daily)) = fields.pointer_mut("/limits/daily")
    {
        daily.remove("at");
    }
}

/// Reads what was written at `path`, in the order of [`Window::ALL`]. `null` takes away: all, a window, an option.
pub fn read(check: &mut Check, path: &str, limits: Option<Value>) -> Vec<WindowCap> {
    let windows = match limits {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(windows)) => windows,
        Some(_) => {
            check.wrong(path, "invalid_type", "must be an object of caps by window".to_owned());
            return Vec::new();
        }
    };
    let mut caps = Vec::new();
    for (name, cap) in windows {
        let path = format!("{path}.{name}");
        match (Window::parse(&name), cap) {
            (None, _) => {
                let known = Window::ALL.map(Window::as_str).join(", ");
                check.wrong(&path, "unknown", format!("there is no such window; there are {known}"));
            }
            (Some(_), Value::Null) => {}
            (Some(window), Value::Object(fields)) => caps.extend(read_cap(check, &path, window, fields)),
            (Some(_), _) => check.wrong(&path, "invalid_type", "must be an object with usd".to_owned()),
        }
    }
    caps.sort_by_key(|cap| cap.window);
    caps
}

fn read_cap(check: &mut Check, path: &str, window: Window, mut fields: Map<String, Value>) -> Option<WindowCap> {
    let usd = match fields.remove("usd").unwrap_or_default() {
        Value::Null => {
            check.wrong(&format!("{path}.usd"), "missing", "must be given".to_owned());
            None
        }
        value => check.amount(&format!("{path}.usd"), &value),
    };
    let resets = matches!(window, Window::FiveHours | Window::Daily);
    let reset = if resets { fields.remove("reset").unwrap_or_default() } else { Value::Null };
    let rolling = match reset {
        Value::Null => window == Window::FiveHours,
        Value::String(reset) if reset == "rolling" => true,
        Value::String(reset) if reset == "fixed" => false,
        _ => {
            check.wrong(&format!("{path}.reset"), "invalid", "must be rolling or fixed".to_owned());
            false
        }
    };
    let at = if window == Window::Daily { fields.remove("at").unwrap_or_default() } else { Value::Null };
    let at = match at {
        Value::Null => 0,
        value => time_of_day(&value).unwrap_or_else(|reason| {
            check.wrong(&format!("{path}.at"), "invalid", reason);
            0
        }),
    };
    if rolling && at != 0 {
        check.wrong(&format!("{path}.at"), "invalid", "is for fixed days: a rolling day has no beginning".to_owned());
    }
    for name in fields.keys() {
        check.wrong(&format!("{path}.{name}"), "unknown", "there is no such option of this window".to_owned());
    }
    let mode = match window {
        Window::Total | Window::Minute | Window::AtOnce => Mode::Forever,
        Window::FiveHours | Window::Daily if rolling => Mode::Rolling,
        Window::FiveHours => Mode::FromFirstCharge,
        Window::Daily | Window::Weekly | Window::Monthly => Mode::Calendar { at },
    };
    Some(WindowCap { window, usd: usd?, mode })
}

/// Reads an amount of dollars at `path`.
impl Check {
    pub fn amount(&mut self, path: &str, value: &Value) -> Option<crate::money::Usd> {
        let code = if value.is_number() || value.is_string() { "out_of_range" } else { "invalid_type" };
        amount(value).map_err(|reason| self.wrong(path, code, reason)).ok()
    }
}

/// Schema of limits that are written.
pub fn schema() -> Schema {
    let usd = amount_schema();
    let reset = json!({"type": ["string", "null"], "enum": ["rolling", "fixed", null]});
    let at = json!({"type": ["string", "null"], "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"});
    let window = |properties: Value| {
        json!({
            "type": ["object", "null"], "properties": properties, "required": ["usd"], "additionalProperties": false
        })
    };
    let plain = || window(json!({"usd": usd}));
    let schema = json!({
        "type": ["object", "null"],
        "description": "The most that may be spent in each window, in USD; a window that is left out is not limited. \
            5h: rolling (or fixed: from the first charge). daily: fixed at a time of day (midnight), or rolling.",
        "properties": {
            "5h": window(json!({"usd": usd, "reset": reset})),
            "daily": window(json!({"usd": usd, "reset": reset, "at": at})),
            "weekly": plain(),
            "monthly": plain(),
            "total": plain(),
        },
        "additionalProperties": false,
    });
    serde_json::from_value(schema).unwrap_or_default()
}

/// An amount of dollars. Text is for amounts that a double does not hold exactly.
fn amount_schema() -> Value {
    json!({
        "type": ["number", "string"], "exclusiveMinimum": 0, "maximum": 9_000_000, "pattern": "^([0-9]*[1-9][0-9]*(\\.[0-9]+)?|[0-9]+\\.[0-9]*[1-9][0-9]*)$"
    })
}

/// Schema of an amount of dollars that is written.
pub fn usd_schema() -> Schema {
    serde_json::from_value(amount_schema()).unwrap_or_default()
}
