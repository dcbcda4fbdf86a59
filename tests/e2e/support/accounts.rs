//! The ledger in the database against what clients and provider have seen, and against the budgets.

use std::collections::{HashMap, HashSet};

use entity::{message_request, usage_ledger, usage_rollup_minute};
use sea_orm::EntityTrait;
use serde_json::Value;

use super::admin::Caller;
use super::books::{database, nanos};
use super::load::{self, Asked, End};
use super::{Gateway, Provider};

/// All rows, by the number of their request.
pub struct Accounts {
    rows: HashMap<usize, usage_ledger::Model>,
    /// What requests set aside.
    reservation: String,
}

/// What became of the requests of a load.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Clients got the whole answer.
    pub whole: usize,
    /// They did not, but the provider's answer is charged.
    pub charged_as_answered: usize,
    /// The provider got the request, and nobody knows its end.
    pub interrupted: usize,
    /// The same, but the provider did not get it.
    pub not_sent: usize,
    /// All rows, in nano-dollars.
    pub cost: i64,
}

impl Accounts {
    /// Everything in the database: each request is there once, and the sums per minute are those of the rows.
    pub async fn read(gateway: &Gateway) -> Self {
        let db = database(gateway).await;
        let ledger = usage_ledger::Entity::find().all(&db).await.unwrap();
        let details = message_request::Entity::find().all(&db).await.unwrap();
        let sums = usage_rollup_minute::Entity::find().all(&db).await.unwrap();
        db.close().await.unwrap();
        let (cost, requests) = (ledger.iter().map(|row| row.cost_nanos).sum::<i64>(), ledger.len());
        assert_eq!(sums.iter().map(|sum| sum.cost_nanos).sum::<i64>(), cost, "sums and rows");
        assert_eq!(sums.iter().map(|sum| sum.requests).sum::<i64>(), requests as i64, "sums and rows");
        assert_eq!(details.len(), requests, "each row has its detail");
        let lengths: HashMap<String, usize> =
            details.into_iter().map(|detail| (detail.request_id, detail.request_bytes as usize)).collect();
        let mut rows = HashMap::new();
        for row in ledger {
            let number = load::number(lengths[&row.request_id]);
            if let Some(other) = rows.insert(number, row) {
                panic!("request {number} is there twice: {other:?} and {:?}", rows[&number]);
            }
        }
        let reservation = gateway.config()["budgets"]["reservation"].as_str().unwrap().to_owned();
        Self { rows, reservation }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row belongs to a request of the load, and every request that was answered or sent to the provider has its
    /// row.
    pub fn tally(&self, asked: &[Asked], provider: &Provider) -> Figures {
        let sent: HashSet<usize> = provider
            .requests()
            .iter()
            .filter(|request| request.complete)
            .map(|request| load::number(request.body.len()))
            .collect();
        let known: HashSet<usize> = asked.iter().map(|asked| asked.number).collect();
        assert!(self.rows.keys().all(|number| known.contains(number)), "a row of a request that nobody has made");
        assert!(sent.is_subset(&known), "the provider got a request that nobody has made");
        let mut figures = Figures { cost: self.rows.values().map(|row| row.cost_nanos).sum(), ..Figures::default() };
        for Asked { number, end } in asked {
            let row = self.rows.get(number);
            match end {
                End::Whole { id, status: 200, body } => {
                    assert!(body.ends_with('}') || body.ends_with("data: [DONE]\n\n"), "not whole: {body}");
                    let row = row.unwrap_or_else(|| panic!("request {number} ({id}) was answered, and is lost"));
                    assert_eq!((&row.request_id, load::cost(*number)), (id, row.cost_nanos), "{row:?}");
                    assert_eq!((row.outcome.as_str(), row.estimated), ("completed", false), "{row:?}");
                    figures.whole += 1;
                }
                End::Whole { id, status, body } => {
                    assert_eq!(row, None, "request {number} ({id}) was refused with {status}: {body}");
                    assert!(!sent.contains(number), "request {number} ({id}) was refused with {status}: {body}");
                }
                End::Broken => match row {
                    None => assert!(!sent.contains(number), "the provider got request {number}, and it is lost"),
                    Some(row) if row.outcome == "completed" => {
                        assert_eq!((row.cost_nanos, row.estimated), (load::cost(*number), false), "{row:?}");
                        figures.charged_as_answered += 1;
                    }
                    Some(row) => {
                        assert_eq!((row.outcome.as_str(), row.estimated), ("interrupted", true), "{row:?}");
                        assert_eq!(row.cost_nanos, load::estimate(*number, &self.reservation), "{row:?}");
                        let figure =
                            if sent.contains(number) { &mut figures.interrupted } else { &mut figures.not_sent };
                        *figure += 1;
                    }
                },
            }
        }
        figures
    }

    /// What the gateway believes that everybody has spent is what the rows say, and nothing is set aside.
    pub async fn match_budgets(&self, gateway: &Gateway, callers: &[Caller]) {
        let (mut looked_at, mut used) = (HashSet::new(), 0);
        for caller in callers {
            for (axis, owner) in [("user", caller.user_id), ("key", caller.key_id)] {
                if !looked_at.insert((axis, owner)) {
                    continue;
                }
                let budgets = gateway.admin().get(&format!("/budgets/{axis}/{owner}")).await;
                let items = budgets["items"].as_array().unwrap();
                assert!(!items.is_empty(), "{axis} {owner} has caps: {budgets}");
                for budget in items {
                    let [window] = budget["windows"].as_array().unwrap().as_slice() else { panic!("{budget}") };
                    used += nanos(&window["usedUsd"]);
                    assert_eq!(nanos(&window["usedUsd"]), self.spent(axis, owner, budget), "{axis} {owner}: {budget}");
                    assert_eq!(nanos(&window["reservedUsd"]), 0, "{axis} {owner}: {budget}");
                }
            }
        }
        let all: i64 = self.rows.values().map(|row| row.cost_nanos).sum();
        assert_eq!(used, 2 * all, "each row counts in one budget of its user and in one of its key");
    }

    fn spent(&self, axis: &str, owner: i64, budget: &Value) -> i64 {
        let rows = self.rows.values().filter(|row| {
            let (whose, mainline) = match axis {
                "user" => (row.user_id, row.counted_in_user_global),
                _ => (row.key_id, row.counted_in_key_global),
            };
            let group = budget["modelGroupId"].as_i64();
            whose == owner && if group.is_none() { mainline } else { row.model_group_id == group }
        });
        rows.map(|row| row.cost_nanos).sum()
    }
}
