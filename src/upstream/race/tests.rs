//! Races between pretend providers over real connections: who is heard, and what both observers are told.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use bytes::Bytes;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::upstream::{Beginning, Ending, Gate, Observer, Timeouts};

const SOON: Duration = Duration::from_secs(20);

/// How long the first is waited for alone.
const AFTER: Duration = Duration::from_millis(20);

/// What the provider sends, in two parts.
const GOOD: [&str; 2] = ["HTTP/1.1 200 \r\ncontent-length: 8\r\n\r\n", "all good"];
const BAD: [&str; 2] = ["HTTP/1.1 200 \r\ncontent-length: 7\r\n\r\n", "all bad"];
const ERROR: [&str; 2] = ["HTTP/1.1 503 \r\ncontent-length: 4\r\n\r\n", "busy"];

type Log = Arc<Mutex<Vec<String>>>;

/// A provider that sends a part of its answer whenever the test lets it.
struct Provider {
    address: SocketAddr,
    go: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

impl Provider {
    async fn start(name: &'static str, parts: [&'static str; 2], log: &Log) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, go) = (listener.local_addr().unwrap(), Arc::new(Semaphore::new(0)));
        let (log, going) = (Arc::clone(log), Arc::clone(&go));
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, go) = (Arc::clone(&log), Arc::clone(&going));
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"\r\n\r\n") {
                        if !stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
                            return;
                        }
                    }
                    log.lock().push(format!("{name} is asked"));
                    let left = "has nobody to answer";
                    for part in parts {
                        let mut rest = [0];
                        tokio::select! {
                            permit = go.acquire() => permit.unwrap().forget(),
                            _ = stream.read(&mut rest) => return log.lock().push(format!("{name} {left}")),
                        }
                        let _ = stream.write_all(part.as_bytes()).await;
                    }
                    let _ = stream.read(&mut [0]).await;
                });
            }
        });
        Self { address, go, accepting }
    }

    fn peer(&self) -> HttpPeer {
        HttpPeer::new(self.address, false, String::new())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Writes down what it is told.
struct Watcher {
    name: &'static str,
    log: Log,
    body: Mutex<Vec<u8>>,
    reads_on: bool,
}

impl Watcher {
    fn attempt(name: &'static str, log: &Log, reads_on: bool) -> Arc<Attempt> {
        let watcher = Self { name, log: Arc::clone(log), body: Mutex::default(), reads_on };
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.insert_header("host", "x").unwrap();
        let gate = Gate { max_bytes: 1 << 16, max_time: SOON };
        let timeouts = Timeouts { first_byte: SOON, idle: SOON, total: Duration::ZERO };
        Arc::new(Attempt::new(head, Bytes::new(), timeouts, Arc::new(watcher)).behind(Some(gate)))
    }

    fn says(&self, what: &str) {
        self.log.lock().push(format!("{} {what}", self.name));
    }
}

impl Observer for Watcher {
    fn sending(&self) -> bool {
        true
    }

    fn head(&self, _head: &ResponseHeader) {}

    fn body(&self, piece: &[u8]) {
        self.body.lock().extend_from_slice(piece);
    }

    fn ended(&self) {}

    fn beginning(&self) -> Beginning {
        match &self.body.lock()[..] {
            b"" => Beginning::Unclear,
            body if body.ends_with(b"bad") => Beginning::Bad,
            _ => Beginning::Good,
        }
    }

    fn lost(&self) -> bool {
        self.says("has lost");
        self.reads_on
    }

    fn draining(&self) -> bool {
        true
    }

    fn drained(&self, ending: Ending) {
        self.says(&format!("is drained: {ending:?}"));
    }
}

/// Names the second provider, once the test lets it.
struct Names {
    log: Log,
    rival: Option<(HttpPeer, Arc<Attempt>)>,
    go: Semaphore,
}

#[async_trait]
impl Challenger for Names {
    async fn challenge(&self) -> Option<(HttpPeer, Arc<Attempt>)> {
        self.log.lock().push("sought".to_owned());
        self.go.acquire().await.unwrap().forget();
        self.rival.clone()
    }

    fn unreachable(&self, _error: &Error) {
        self.log.lock().push("unreachable".to_owned());
    }

    fn is_answer(&self, _racer: Racer, attempt: &Attempt, head: &ResponseHeader) -> bool {
        head.status.is_success() && attempt.observer.beginning() != Beginning::Bad
    }

    fn failed(&self, racer: Racer, _attempt: &Attempt, how: Result<&ResponseHeader, &Error>) {
        let how = how.map_or_else(|error| error.etype().as_str().to_owned(), |head| head.status.as_u16().to_string());
        self.log.lock().push(format!("{racer:?} has failed: {how}"));
    }

    fn won(&self, racer: Racer) {
        self.log.lock().push(format!("{racer:?} has won"));
    }
}

/// A first and a second provider, and a race between them.
struct Course {
    log: Log,
    first: Provider,
    second: Provider,
    challenger: Arc<Names>,
    exchange: Exchange,
    race: Race,
    drain: DrainLimits,
}

impl Course {
    async fn new(first: [&'static str; 2], second: [&'static str; 2], reads_on: bool) -> Self {
        let log = Log::default();
        let first = Provider::start("one", first, &log).await;
        let second = Provider::start("two", second, &log).await;
        let rival = (second.peer(), Watcher::attempt("two", &log, reads_on));
        Self::with(log, first, second, Some(rival), reads_on).await
    }

    async fn with(
        log: Log,
        first: Provider,
        second: Provider,
        rival: Option<(HttpPeer, Arc<Attempt>)>,
        reads_on: bool,
    ) -> Self {
        let challenger = Arc::new(Names { log: Arc::clone(&log), rival, go: Semaphore::new(0) });
        let mut exchange = Exchange::connect(Arc::new(Pool::new(None)), &first.peer()).await.unwrap();
        exchange.prepare(Watcher::attempt("one", &log, reads_on));
        let race = Race::new(Rivalry { after: AFTER, challenger: Arc::clone(&challenger) as _ });
        let drain = DrainLimits { time: SOON, slots: Arc::new(Semaphore::new(9)) };
        Self { log, first, second, challenger, exchange, race, drain }
    }

    /// Runs the race while the test does something.
    async fn run(&mut self, meanwhile: impl AsyncFnOnce(&Log, &Names, &Semaphore, &Semaphore)) -> Result<()> {
        let Self { log, first, second, challenger, exchange, race, drain } = self;
        let meanwhile = meanwhile(log, challenger, &first.go, &second.go);
        timeout(SOON, async { tokio::join!(race.start(exchange, drain), meanwhile).0 }).await.unwrap()
    }

    /// Whose answer it is: its body.
    async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while !self.exchange.ended() {
            body.extend(self.exchange.next().await.unwrap().unwrap());
        }
        body
    }

    fn has_said(&self, what: &str) -> usize {
        self.log.lock().iter().filter(|line| *line == what).count()
    }

    async fn says(&self, what: &str) {
        is_said(&self.log, what).await;
    }
}

async fn is_said(log: &Log, what: &str) {
    let said = async {
        while !log.lock().iter().any(|line| line == what) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(SOON, said).await.is_ok(), "{what:?} is not in {:?}", log.lock());
}

#[tokio::test]
async fn who_answers_in_time_has_no_rival() {
    let mut course = Course::new(GOOD, GOOD, false).await;
    course.race = Race::new(Rivalry { after: SOON, challenger: Arc::clone(&course.challenger) as _ });
    course.run(async |_, _, one, _| one.add_permits(2)).await.unwrap();
    assert_eq!(course.body().await, b"all good");
    assert_eq!(course.has_said("sought"), 0);
}

#[tokio::test]
async fn the_rival_is_heard_and_the_connection_of_the_loser_closed() {
    let mut course = Course::new(GOOD, GOOD, false).await;
    // A head is no word.
    course.first.go.add_permits(1);
    course
        .run(async |_, names, _, two| {
            names.go.add_permits(1);
            two.add_permits(2);
        })
        .await
        .unwrap();
    course.says("one has nobody to answer").await;
    assert_eq!(course.body().await, b"all good");
    assert_eq!(course.has_said("Rival has won") + course.has_said("one has lost"), 2);
    assert_eq!(course.has_said("two has lost"), 0);
}

#[tokio::test]
async fn the_first_may_win_and_the_loser_is_read_on_where_that_is_wanted() {
    for reads_on in [false, true] {
        let mut course = Course::new(GOOD, GOOD, reads_on).await;
        course
            .run(async |log, names, one, _| {
                names.go.add_permits(1);
                is_said(log, "two is asked").await;
                one.add_permits(2);
            })
            .await
            .unwrap();
        assert_eq!(course.body().await, b"all good");
        assert_eq!(course.has_said("First has won") + course.has_said("two has lost"), 2);
        if reads_on {
            course.second.go.add_permits(2);
            course.says("two is drained: Complete").await;
        } else {
            course.says("two has nobody to answer").await;
        }
        assert_eq!(course.has_said("two is drained: Complete"), usize::from(reads_on));
    }
}

#[tokio::test]
async fn whoever_fails_leaves_the_other_to_answer() {
    for (bad, how) in [(BAD, "200"), (ERROR, "503"), (["nonsense\r\n\r\n", ""], "InvalidHTTPHeader")] {
        let mut course = Course::new(bad, GOOD, true).await;
        course
            .run(async |log, names, one, two| {
                names.go.add_permits(1);
                is_said(log, "two is asked").await;
                one.add_permits(2);
                is_said(log, &format!("First has failed: {how}")).await;
                two.add_permits(2);
            })
            .await
            .unwrap();
        assert_eq!(course.body().await, b"all good");
        let mut course = Course::new(GOOD, bad, true).await;
        course
            .run(async |log, names, one, two| {
                names.go.add_permits(1);
                two.add_permits(2);
                is_said(log, &format!("Rival has failed: {how}")).await;
                one.add_permits(2);
            })
            .await
            .unwrap();
        assert_eq!(course.body().await, b"all good");
        assert_eq!(course.has_said("one has lost") + course.has_said("two has lost"), 0);
    }
}

#[tokio::test]
async fn when_both_fail_the_last_one_is_told() {
    let mut course = Course::new(ERROR, BAD, false).await;
    let outcome = course.run(async |log, names, one, two| {
        names.go.add_permits(1);
        is_said(log, "two is asked").await;
        one.add_permits(2);
        is_said(log, "First has failed: 503").await;
        two.add_permits(2);
    });
    outcome.await.unwrap();
    assert_eq!(course.body().await, b"all bad");
    assert_eq!(course.has_said("Rival has failed: 200"), 0, "whoever judges the answers judges this one");
}

#[tokio::test]
async fn a_failure_before_a_rival_is_named_ends_the_race() {
    let mut course = Course::new(ERROR, GOOD, false).await;
    let outcome = course.run(async |log, _, one, _| {
        is_said(log, "sought").await;
        one.add_permits(2);
    });
    outcome.await.unwrap();
    assert_eq!(course.body().await, b"busy");
    assert_eq!(course.has_said("First has failed: 503"), 0, "it is judged as without a race");
}

#[tokio::test]
async fn where_there_is_nobody_the_first_is_waited_for() {
    let log = Log::default();
    let first = Provider::start("one", GOOD, &log).await;
    let second = Provider::start("two", GOOD, &log).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = HttpPeer::new(gone, false, String::new());
    let rival = (refused, Watcher::attempt("two", &log, true));
    let mut course = Course::with(log, first, second, Some(rival), true).await;
    course
        .run(async |log, names, one, _| {
            names.go.add_permits(1);
            is_said(log, "unreachable").await;
            one.add_permits(2);
        })
        .await
        .unwrap();
    assert_eq!(course.body().await, b"all good");

    let log = Log::default();
    let (first, second) = (course.first, course.second);
    let mut course = Course::with(log, first, second, None, true).await;
    course
        .run(async |log, names, one, _| {
            is_said(log, "sought").await;
            names.go.add_permits(1);
            one.add_permits(2);
        })
        .await
        .unwrap();
    assert_eq!(course.body().await, b"all good");
    assert_eq!(course.has_said("two is asked"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_leave_at_any_moment_and_everybody_is_told_once() {
    for round in 0..54 {
        let reads_on = round % 2 == 0;
        let (first, second) = ([GOOD, BAD, ERROR][round % 3], [GOOD, BAD, ERROR][round / 3 % 3]);
        let mut course = Course::new(first, second, reads_on).await;
        let patience = Duration::from_micros(rand::random_range(0..40_000));
        let goers = [&course.first.go, &course.second.go].map(Arc::clone);
        course.challenger.go.add_permits(1);
        for go in goers {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(rand::random_range(0..40_000))).await;
                go.add_permits(2);
            });
        }
        let Course { log, exchange, race, drain, .. } = &mut course;
        let decided = timeout(patience, race.start(exchange, drain)).await;
        let log = Arc::clone(log);
        let Course { exchange, race, drain, first, second, .. } = course;
        Box::new(race).abandon(&drain).await;
        if decided.is_err() {
            exchange.release(&drain).await;
        } else {
            drop(exchange);
        }
        // What is read on is read to its end.
        for go in [&first.go, &second.go] {
            go.add_permits(2);
        }
        let count = |what: &str| log.lock().iter().filter(|line| line.starts_with(what)).count();
        let ended = async {
            while drain.slots.available_permits() < 9 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, ended).await.unwrap();
        for (name, racer) in [("one", "First"), ("two", "Rival")] {
            let (lost, drained) = (count(&format!("{name} has lost")), count(&format!("{name} is drained")));
            let failed = count(&format!("{racer} has failed"));
            assert!(lost + failed <= 1, "{round}: {:?}", log.lock());
            assert!(drained <= 1 && (lost == 0 || drained == usize::from(reads_on)), "{round}: {:?}", log.lock());
        }
        let asked = count("two is asked") > 0;
        let told = count("two has lost") + count("two is drained") + count("Rival has failed");
        assert!(!asked || decided.is_ok() || told > 0, "{round}: {:?}", log.lock());
    }
}
