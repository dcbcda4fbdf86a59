//! A thousand conversations, while a provider dies and returns.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::config::Strategy;
use crate::dialect::Route;
use crate::directory::ProviderGroups;
use crate::provider::failure::Failure;
use crate::provider::{AtPresent, Catalogue, Provider};
use jiff::tz::TimeZone;

const CONVERSATIONS: usize = 1_000;

/// Between two requests of anybody.
const STEP: i64 = 100;

const THREE: &str = "
providers:
  - {name: a, dialects: [openai_chat, anthropic], base_url: 'http://127.0.0.1:1'}
  - {name: b, dialects: [openai_chat, anthropic], base_url: 'http://127.0.0.1:1'}
  - {name: c, dialects: [openai_chat, anthropic], base_url: 'http://127.0.0.1:1'}
";

/// A node without the network.
struct World {
    catalogue: Catalogue,
    affinity: Arc<Affinity>,
    strategy: Strategy,
    rng: StdRng,
    now: i64,
    dead: Option<&'static str>,
}

/// How a client names its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Header,
    Metadata,
    CacheKey,
    User,
    Opening,
}

const WAYS: [Way; 5] = [Way::Header, Way::Metadata, Way::CacheKey, Way::User, Way::Opening];

/// A conversation as its client keeps it.
struct Client {
    way: Way,
    number: usize,
    turns: Vec<Value>,
}

impl Client {
    fn new(number: usize) -> Self {
        Self { way: WAYS[number % WAYS.len()], number, turns: Vec::new() }
    }

    /// What it sends next; each keeps all that was said.
    fn request(&mut self) -> (Route, Vec<u8>, Option<String>) {
        let turn = self.turns.len();
        self.turns.push(json!({"role": "user", "content": format!("{} asks {turn}", self.number)}));
        let mut body = json!({"model": "m", "messages": self.turns});
        self.turns.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
        let session = format!("session-{}", self.number);
        let mut header = None;
        let mut path = "/v1/chat/completions";
        match self.way {
            Way::Header => header = Some(session),
            Way::Metadata => {
                path = "/v1/messages";
                body["metadata"] = json!({"user_id": format!("user_a_account_b_session_{session}")});
            }
            Way::CacheKey => body["prompt_cache_key"] = json!(session),
            Way::User => body["user"] = json!("everybody"),
            Way::Opening => {}
        }
        (route("POST", path, None, ClientHints::default()).unwrap(), body.to_string().into_bytes(), header)
    }
}

impl World {
    fn new(strategy: Strategy) -> Self {
        let config = crate::config::parse(THREE, std::path::Path::new("."), &|_| None).unwrap();
        let catalogue = Catalogue::new(&config.providers).ok().unwrap();
        let (affinity, rng) = (Affinity::alone(), StdRng::seed_from_u64(7));
        Self { catalogue, affinity, strategy, rng, now: NOW, dead: None }
    }

    /// One request on its way through those that may serve it; the name of who did.
    fn serve(&mut self, client: &mut Client, follows: bool) -> Option<String> {
        self.now += STEP;
        let (route, body, header) = client.request();
        let inspected = inspect(&route, &body).unwrap();
        let dialect = route.endpoint.dialect().unwrap();
        let asker = Asker { key: 1, dialect, model: &inspected.model };
        let identity =
            inspected.conversation.identity(|name| header.as_deref().filter(|_| name == "x-claude-code-session-id"));
        let thread = self.affinity.name(asker, identity, &body).unwrap();
        let before = self.affinity.known(thread, self.now, HOUR).filter(|_| follows);
        let before = before.and_then(|name| self.catalogue.place_of(&name));
        let mut open = self.catalogue.eligible(dialect, "m", &ProviderGroups::All).unwrap();
        loop {
            let standing = AtPresent { model: "m", now: self.now, zone: &TimeZone::UTC, cost: |_: &Provider| 0 };
            let mut left_out = Vec::new();
            let stays = before.filter(|at| self.catalogue.may_stay(*at, &open, &standing, &mut left_out));
            let place = stays
                .or_else(|| self.catalogue.choose(&open, self.strategy, &standing, &mut self.rng, &mut left_out))?;
            left_out.iter().for_each(|(place, _)| open.remove(*place));
            open.remove(place);
            let provider = self.catalogue.at(place).unwrap();
            let Ok(pass) = provider.circuits.enter(&"m".into(), self.now) else { continue };
            if self.dead == Some(&*provider.name) {
                let failure = Failure::ConnectFailed;
                pass.bad(failure.verdict().blame.unwrap(), failure.reason(), self.now);
                continue;
            }
            pass.good(self.now);
            self.affinity.keep(thread, true, &provider.name, self.now, HOUR);
            return Some(provider.name.to_string());
        }
    }
}

/// How many requests went where their conversation's previous one had gone, and how many could have.
#[derive(Debug, Default)]
struct Tally {
    stayed: usize,
    could: usize,
    failed: usize,
    by_provider: BTreeMap<String, usize>,
}

impl Tally {
    fn share(&self) -> f64 {
        self.stayed as f64 / self.could as f64
    }
}

/// All turns of all conversations, interleaved; one provider is dead for a fifth of the time.
fn run(strategy: Strategy, follows: bool) -> (Tally, BTreeMap<Way, Tally>) {
    let mut world = World::new(strategy);
    let mut rng = StdRng::seed_from_u64(42);
    let mut clients: Vec<_> = (0..CONVERSATIONS).map(Client::new).collect();
    // Each begins somewhere, and takes its turns in a part of the time.
    let mut order = Vec::new();
    for number in 0..CONVERSATIONS {
        let begins: f64 = rng.random_range(0.0..0.8);
        for _ in 0..rng.random_range(6..18) {
            order.push((rng.random_range(begins..begins + 0.2), number));
        }
    }
    order.shuffle(&mut rng);
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut before: Vec<Option<String>> = vec![None; CONVERSATIONS];
    let mut all = Tally::default();
    let mut ways: BTreeMap<Way, Tally> = BTreeMap::new();
    for (at, number) in order {
        world.dead = (0.4..0.6).contains(&at).then_some("b");
        let client = &mut clients[number];
        let served = world.serve(client, follows);
        for tally in [&mut all, ways.entry(client.way).or_default()] {
            match &served {
                None => tally.failed += 1,
                Some(served) => *tally.by_provider.entry(served.clone()).or_default() += 1,
            }
            tally.could += usize::from(before[number].is_some());
            tally.stayed += usize::from(before[number].is_some() && before[number] == served);
        }
        before[number] = served.or(before[number].take());
    }
    (all, ways)
}

#[test]
#[allow(clippy::print_stdout, reason = "the share is the result")]
fn nineteen_of_twenty_requests_go_where_their_conversation_was_though_a_provider_dies_and_returns() {
    for strategy in [Strategy::Weighted, Strategy::LeastCost, Strategy::LeastLoaded] {
        let (all, ways) = run(strategy, true);
        println!("{strategy:?}: {:.4} {all:?}", all.share());
        assert_eq!(all.failed, 0, "two others live");
        assert!(all.could > 8_000 && all.share() >= 0.95, "{strategy:?}: {} {all:?}", all.share());
        for (way, tally) in &ways {
            assert!(tally.share() >= 0.95, "{strategy:?} {way:?}: {} {tally:?}", tally.share());
        }
        let returned = all.by_provider["b"];
        assert!(returned > all.could / 10, "who returns gets conversations again: {all:?}");
    }
    let (all, _) = run(Strategy::Weighted, false);
    println!("not followed: {:.4}", all.share());
    assert!(all.share() < 0.5, "it would not be so by itself: {}", all.share());
}
