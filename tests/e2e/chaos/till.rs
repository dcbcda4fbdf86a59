//! What the pretend providers have answered to whom, and what that costs: their own count.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::support::gateway::MODEL;
use crate::support::provider::Received;
use crate::support::{Answer, Api, Tokens};

use super::ill::{Ill, Shown, left_out};

/// The word of every question that its number takes the place of.
const PLACE: &str = "Zürich";

/// One request; its number is in its text, so that no two are alike.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub number: usize,
    pub api: Api,
    pub stream: bool,
    /// Of the body.
    pub bytes: usize,
    /// What an answer to it uses: no two answers of any two providers are alike.
    pub tokens: Tokens,
}

/// What a provider sold.
#[derive(Clone, Debug)]
pub struct Sale {
    pub nanos: i64,
    /// What a client may see of it.
    pub body: Bytes,
    /// Whether that ends as it should.
    pub is_whole: bool,
    /// Whether it is a good answer.
    pub is_good: bool,
}

/// What was sold, by the number of the request and the provider.
#[derive(Clone, Default)]
pub struct Till(Arc<Mutex<HashMap<(usize, usize), Sale>>>);

/// The way in which this number is asked.
pub fn way(number: usize) -> (Api, bool) {
    let ways: Vec<_> = Api::every_way().collect();
    ways[number % ways.len()]
}

/// The body of this number.
pub fn body(number: usize) -> String {
    let (api, stream) = way(number);
    api.request(MODEL, stream).to_string().replace(PLACE, &format!("town {number}!"))
}

impl Question {
    /// As this provider got it.
    fn read(request: &Received, provider: usize) -> Self {
        let text = std::str::from_utf8(&request.body).unwrap();
        let from = text.find("town ").unwrap() + "town ".len();
        let number = text[from..].split('!').next().unwrap().parse().unwrap();
        let (api, stream) = way(number);
        let tokens = Tokens { input: (1_000 + 4 * number + provider) as i64, ..api.tokens() };
        Self { number, api, stream, bytes: request.body.len(), tokens }
    }

    fn good(&self) -> Answer {
        match self.stream {
            true => Answer::sse(self.api.events(&self.tokens)),
            false => Answer::bytes(200, "application/json", self.api.whole(&self.tokens)),
        }
    }
}

impl Till {
    /// What the provider of this number answers, well or ill.
    pub fn answer(&self, request: &Received, provider: usize, ill: Option<Ill>) -> Answer {
        let asked = Question::read(request, provider);
        let good = asked.good();
        let Some(ill) = ill else {
            self.note(&asked, provider, Sale::good(&asked, &good));
            return good;
        };
        let answer = ill.spoils(&asked, good);
        match ill.shows(&asked) {
            Shown::Never => {}
            Shown::Good => self.note(&asked, provider, Sale::good(&asked, &answer)),
            Shown::Broken { is_whole, nanos } => {
                let mut body = answer.body();
                if ill == Ill::SaysALengthThatIsTooShort {
                    body.truncate(body.len() - left_out(&asked));
                }
                self.note(&asked, provider, Sale { nanos, body, is_whole, is_good: false });
            }
        }
        answer
    }

    fn note(&self, asked: &Question, provider: usize, sale: Sale) {
        self.0.lock().insert((asked.number, provider), sale);
    }

    /// What this provider sold for the request of this number.
    pub fn sale(&self, number: usize, provider: usize) -> Option<Sale> {
        self.0.lock().get(&(number, provider)).cloned()
    }
}

impl Sale {
    fn good(asked: &Question, answer: &Answer) -> Self {
        Self { nanos: asked.tokens.cost(), body: answer.body(), is_whole: true, is_good: true }
    }
}
