//! Two providers for each API, of which one has something wrong with it.

use serde_json::{Value, json};

use super::dialects::cost_of_row;
use super::gateway::Setup;
use super::{Answer, Api, Gateway, Provider, Tokens};

/// Two providers for one API, of which the first is tried first.
pub struct Pair {
    pub api: Api,
    pub first: Provider,
    pub second: Provider,
}

/// What a provider may do instead of answering, and what is reported of it.
pub struct Fault {
    pub what: &'static str,
    pub answer: Answer,
    pub status: Option<u16>,
    pub reason: &'static str,
}

impl Pair {
    pub async fn new(api: Api) -> Self {
        Self { api, first: Provider::start().await, second: Provider::start().await }
    }

    /// A pair for each API, and a gateway before them.
    pub async fn all() -> (Vec<Self>, Gateway) {
        let pairs = futures::future::join_all(Api::ALL.map(Self::new)).await;
        let gateway = Self::setup(&pairs).start().await;
        (pairs, gateway)
    }

    /// A gateway before these.
    pub fn setup(pairs: &[Self]) -> Setup {
        Setup::new(pairs.iter().flat_map(Self::entries))
    }

    fn name(&self, which: &str) -> String {
        format!("{which}-{}", self.api.dialect())
    }

    fn entries(&self) -> [Value; 2] {
        let dialects = [self.api.dialect()];
        let mut first = self.first.entry(&self.name("first"), &dialects);
        first["timeouts"]["first_byte"] = json!("800ms");
        first["timeouts"]["idle"] = json!("2s");
        let mut second = self.second.entry(&self.name("second"), &dialects);
        second["priority"] = json!(1);
        [first, second]
    }

    /// With each of these faults at the first provider the client gets what the second answers, pays for that alone,
    /// and sees nothing of the first.
    pub async fn fails_over(&self, gateway: &Gateway, stream: bool, faults: Vec<Fault>) {
        let api = self.api;
        for Fault { what, answer, status, reason } in faults {
            let context = format!("{api:?}, streamed: {stream}, the first provider: {what}");
            let (tried, served) = (self.first.requests().len(), self.second.requests().len());
            self.first.then(answer);
            self.second.then(api.answer_to(stream));
            let reply = gateway.ask(api, stream).await;
            assert_eq!(reply.head.status, 200, "{context}: {}", String::from_utf8_lossy(&reply.body));
            assert_eq!(reply.body, api.answer_to(stream).body(), "{context}");
            assert_eq!(self.first.requests().len(), tried + 1, "{context}: tried once");
            assert_eq!(self.second.requests().len(), served + 1, "{context}");
            assert_eq!(self.first.requests()[tried].body, self.second.requests()[served].body, "{context}");
            let id = reply.head.request_id();
            let row = gateway.admin().row_of(id).await;
            assert_eq!((&row["provider"], &row["attempt"]), (&json!(self.name("second")), &json!(2)), "{context}");
            assert_eq!((Tokens::of_row(&row), cost_of_row(&row)), (api.tokens(), api.tokens().cost()), "{context}");
            let attempts = gateway.admin().attempts_of(id).await;
            let [failed, good] = attempts.as_slice() else { panic!("{context}: not two attempts: {attempts:#?}") };
            assert_eq!(failed["provider"], self.name("first"), "{context}: {failed}");
            assert_eq!((&failed["reason"], &failed["status"]), (&json!(reason), &json!(status)), "{context}: {failed}");
            assert_eq!(good["provider"], self.name("second"), "{context}: {good}");
            assert_eq!((&good["reason"], &good["status"]), (&json!("ok"), &json!(200)), "{context}: {good}");
        }
    }

    /// This answer of the first provider reaches the client as it came, and the second is not asked. Gives back the row.
    pub async fn passes(&self, gateway: &Gateway, stream: bool, what: &str, answer: Answer) -> Value {
        let context = format!("{:?}, streamed: {stream}: {what}", self.api);
        let served = self.second.requests().len();
        self.first.then(answer.clone());
        let reply = gateway.ask(self.api, stream).await;
        assert_eq!(reply.body, answer.body(), "{context}");
        assert_eq!(self.second.requests().len(), served, "{context}: nobody else is asked");
        let row = gateway.admin().row_of(reply.head.request_id()).await;
        assert_eq!((&row["provider"], &row["attempt"]), (&json!(self.name("first")), &json!(1)), "{context}: {row}");
        row
    }
}
