//! Simulated callers, run by goose: the only file that speaks goose.
//!
//! goose takes a process for itself: it listens to signals, and its switch for stopping is one per
//! process. So an attack is a process of its own, which reads its [`Order`] from standard input and
//! tells what happens on standard output, a JSON object per line. It stops in good order when it is
//! told to, and leaves at once when its input ends: whoever started it is gone.
//!
//! goose starts the callers over the ramp, has each wait its pause, and lets every request come to
//! its end. Windows, counts and latencies are our own: goose's metrics are off.

use std::{
    io::{self, BufRead, Write},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use goose::{
    GooseAttack, GooseError,
    client::GooseClientBuilder,
    config::GooseConfiguration,
    goose::{GooseUser, Scenario, Transaction, TransactionFunction},
};
use reqwest::{Client, RequestBuilder, StatusCode, redirect::Policy};
use tokio::{
    sync::{Notify, oneshot},
    time::{MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use crate::{
    causes::with_causes,
    duration,
    latency::Latencies,
    load_profile::Balance,
    order::{Counted, Order, Outcome, Progress, Streamed, Told},
    sample::sample,
    scenario::Act,
    steady_chat::{self, Prompt},
    streamed_chat::{End, Stream},
};

/// How long a stream may take as a whole, however steadily it goes on.
const LONGEST_STREAM: Duration = Duration::from_secs(600);

/// How long a connection is kept for its body to end, once the stream was said to be done.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much longer than the ramp it may take until all callers are there.
const LATE: Duration = Duration::from_secs(30);

/// How long a caller that is to end waits before it asks again whether it may.
const CLOSING: Duration = Duration::from_millis(20);

/// Counters that callers share. More than there are processors, so that few callers meet at one.
const SHARDS: usize = 16;

/// What the input says when the attack is to stop in good order.
pub const STOP: &str = "stop";

/// Why an attack did not take place, or was not told to its end.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The order could not be read.
    #[error("cannot read the order")]
    Order(#[source] io::Error),
    /// The client that all callers share could not be made.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// goose would not begin, or ended before it was told to.
    #[error("goose gave up")]
    Goose(#[from] Box<GooseError>),
    /// goose ended before it was told to.
    #[error("goose ended before the last window did")]
    Early,
    /// Nobody listens any more.
    #[error("cannot tell what happens")]
    Told(#[source] io::Error),
}

/// Reads an order from `input`, carries it out, and tells what happens to `out`.
///
/// # Errors
///
/// When the order cannot be read, goose gives up, or nobody listens.
pub async fn serve(
    mut input: impl BufRead + Send + 'static,
    out: &mut dyn Write,
) -> Result<(), AttackError> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(AttackError::Order)?;
    let order: Order =
        serde_json::from_str(&line).map_err(|error| AttackError::Order(error.into()))?;
    let (stop, stopped) = oneshot::channel();
    let (leave, left) = oneshot::channel();
    // A thread that waits for input cannot be awaited: it ends with the process.
    thread::spawn(move || listen(input, stop, leave));
    tokio::select! {
        carried_out = carry_out(Arc::new(order), stopped, out) => carried_out,
        // Nobody is left to tell, and nobody to attack for.
        _ = left => Ok(()),
    }
}

/// Waits for the word to stop, and for the end of the input.
fn listen(input: impl BufRead, stop: oneshot::Sender<()>, leave: oneshot::Sender<()>) {
    let mut stop = Some(stop);
    for line in input.lines().map_while(Result::ok) {
        if line == STOP
            && let Some(stop) = stop.take()
        {
            // Whoever would stop may have ended by itself.
            let _ended = stop.send(());
        }
    }
    let _ended = leave.send(());
}

async fn carry_out(
    order: Arc<Order>,
    stopped: oneshot::Receiver<()>,
    out: &mut dyn Write,
) -> Result<(), AttackError> {
    let meter = Arc::new(Meter::new(&order));
    let client = client(&order).map_err(AttackError::Client)?;
    let goose = goose(&order, &meter, client).map_err(Box::new)?.execute();
    tokio::pin!(goose);
    let conducted = tokio::select! {
        ended = &mut goose => {
            ended.map_err(Box::new)?;
            return Err(AttackError::Early);
        }
        conducted = conduct(&order, &meter, stopped, out) => conducted?,
    };
    meter.closing.store(true, Ordering::Relaxed);
    goose::trigger_killswitch("the last window has ended");
    // The last answers may take as long as callers have patience; whoever listens hears that we live.
    let mut second = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            ended = &mut goose => break ended.map(drop).map_err(Box::new)?,
            _ = second.tick() => tell(out, &Told::Progress(meter.progress()))?,
        }
    }
    tell(out, &Told::Ended(Box::new(meter.outcome(conducted))))
}

/// How far an attack came before its callers were sent home.
#[derive(Clone, Copy)]
struct Conducted {
    /// Whether somebody wanted it to end early.
    stopped: bool,
    /// Windows that had ended by then. What ends later was not driven to its end.
    windows: usize,
}

/// Tells how far it is, and when windows begin and end. Returns at the end of the last one, when
/// callers are too late for any, or when it is stopped.
async fn conduct(
    order: &Order,
    meter: &Meter,
    mut stopped: oneshot::Receiver<()>,
    out: &mut dyn Write,
) -> Result<Conducted, AttackError> {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let late = meter.began + order.ramp + LATE;
    let mut ended = 0;
    let conducted = |stopped, windows| Ok(Conducted { stopped, windows });
    loop {
        let began = meter.windows_began();
        let next = match (began, order.windows.get(ended)) {
            (Some(began), Some(window)) => began + window.0,
            (Some(_), None) => return conducted(false, ended),
            (None, _) => late,
        };
        tokio::select! {
            biased;
            // The input ends only with whoever started us, and that is noticed elsewhere.
            Ok(()) = &mut stopped => return conducted(true, ended),
            () = meter.all_there.notified() => tell(out, &Told::AllThere)?,
            () = sleep_until(next.into()) => {
                if began.is_none() {
                    return conducted(false, ended);
                }
                tell(out, &Told::WindowEnded { window: ended })?;
                ended += 1;
            }
            _ = second.tick() => tell(out, &Told::Progress(meter.progress()))?,
        }
    }
}

fn tell(out: &mut dyn Write, told: &Told) -> Result<(), AttackError> {
    let line = serde_json::to_string(told).map_err(|error| AttackError::Told(error.into()))?;
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(AttackError::Told)
}

/// The client that all callers share. It asks no proxy on the way and follows nobody elsewhere: load
/// goes where the order says, and to no other host.
fn client(order: &Order) -> reqwest::Result<Client> {
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .timeout(match order.act {
            Act::SteadyChat => order.patience,
            // The wait for each part of a stream is bounded where it is read.
            Act::StreamedChat => order.patience.max(LONGEST_STREAM),
        })
        .user_agent(concat!("gauntlet/", env!("CARGO_PKG_VERSION")));
    // Where nothing is encrypted there are no certificates to read, and there may be none.
    let in_the_clear = order.replicas.iter().all(|base| base.starts_with("http:"));
    if in_the_clear { client.tls_certs_only([]).build() } else { client.build() }
}

/// goose, told whom to start, and to keep quiet about it.
fn goose(
    order: &Arc<Order>,
    meter: &Arc<Meter>,
    client: Client,
) -> Result<GooseAttack, GooseError> {
    // It starts callers at a rate, of which it takes no more digits than these.
    let ramp = order.ramp.max(Duration::from_millis(1));
    let rate = format!("{:.4}", f64::from(order.callers) / ramp.as_secs_f64());
    let callers = order.callers.to_string();
    let base = order.replicas.first().map_or("http://127.0.0.1", String::as_str);
    let configuration = GooseConfiguration::parse_args_default(&[
        "--host",
        base,
        "--users",
        &callers,
        "--increase-rate",
        &rate,
        "--no-metrics",
        "--no-telnet",
        "-qqq",
    ])?;
    // Callers put it away as they arrive. One that looks at no certificate reads none, and there may
    // be none to read.
    let put_away = GooseClientBuilder::new().without_cookies().accept_invalid_certs(true);
    let scenario = Scenario::new("chat")
        .set_wait_time(order.pause.least, order.pause.most)?
        .register_transaction(Transaction::new(arrives(meter, client)).set_on_start())
        .register_transaction(Transaction::new(chats(order, meter)));
    GooseAttack::initialize_with_config(configuration)?
        .set_client_builder_without_cookies(put_away)
        .map(|attack| attack.register_scenario(scenario))
}

/// What a caller does first: it takes the client that all share, and is there.
fn arrives(meter: &Arc<Meter>, client: Client) -> TransactionFunction {
    let meter = Arc::clone(meter);
    Arc::new(move |user| {
        user.client = client.clone();
        meter.arrived();
        Box::pin(async { Ok(()) })
    })
}

/// What a caller does from then on.
fn chats(order: &Arc<Order>, meter: &Arc<Meter>) -> TransactionFunction {
    let (order, meter) = (Arc::clone(order), Arc::clone(meter));
    Arc::new(move |user| {
        let (order, meter) = (Arc::clone(&order), Arc::clone(&meter));
        Box::pin(async move {
            match meter.closing.load(Ordering::Relaxed) {
                false => chat(user, &order, &meter).await,
                // Callers without a pause would turn in circles and keep goose from ending them.
                true => sleep(CLOSING).await,
            }
            Ok(())
        })
    })
}

/// One request of a caller.
async fn chat(user: &GooseUser, order: &Order, meter: &Meter) {
    let caller = user.weighted_users_index;
    let turn = meter.turn(caller);
    let key = steady_chat::key(caller, turn, order.keys.len());
    let replica = match order.balance {
        Balance::Pinned => caller % order.replicas.len().max(1),
        Balance::EachRequest => {
            // Every caller begins elsewhere, and none keeps in step with its keys.
            let turn = usize::try_from(turn).unwrap_or_default();
            (caller + turn + turn / order.keys.len().max(1)) % order.replicas.len().max(1)
        }
    };
    let (Some(secret), Some(base)) = (order.keys.get(key), order.replicas.get(replica)) else {
        return;
    };
    let prompt = Prompt::new(&order.model, &order.mark, caller, turn);
    let request = user.client.post(format!("{base}{}", steady_chat::PATH)).bearer_auth(secret);
    meter.sent.fetch_add(1, Ordering::Relaxed);
    let began = Instant::now();
    let heard = match order.act {
        Act::SteadyChat => whole(request.json(&prompt), began).await,
        Act::StreamedChat => {
            streamed(request.json(&prompt.streamed()), began, order.patience).await
        }
    };
    meter.ended(began, (caller, key, replica), heard, &order.keys);
}

/// What a caller heard in answer to one request.
struct Heard {
    /// Bytes of the body.
    bytes: u64,
    /// How long it took, with what was measured of a stream; or what happened instead.
    ended: Result<(Duration, Option<Streamed>), Broken>,
}

/// What happened instead of an answer.
struct Broken {
    /// A status, or what went wrong on the way.
    how: String,
    /// What was said, as a whole.
    said: Bytes,
}

impl Broken {
    fn new(how: impl Into<String>, said: impl Into<Bytes>) -> Broken {
        Broken { how: how.into(), said: said.into() }
    }
}

impl Heard {
    /// A body that is not what was asked for.
    fn refused(status: StatusCode, body: Bytes) -> Heard {
        let how = match status.is_success() {
            true => format!("{} without a completion", status.as_u16()),
            false => status.as_u16().to_string(),
        };
        Heard { bytes: body.len() as u64, ended: Err(Broken::new(how, body)) }
    }

    /// No answer at all, or half of one.
    fn broken_off(error: reqwest::Error) -> Heard {
        let how = match () {
            () if error.is_timeout() => "no answer in time",
            () if error.is_connect() => "no connection",
            () => "broken off",
        };
        let said = with_causes(&error.without_url());
        Heard { bytes: 0, ended: Err(Broken::new(how, said)) }
    }
}

/// Reads an answer as a whole.
async fn whole(request: RequestBuilder, began: Instant) -> Heard {
    let answered = async {
        let answer = request.send().await?;
        let status = answer.status();
        answer.bytes().await.map(|body| (status, body))
    };
    match answered.await {
        Ok((status, body)) if status.is_success() && steady_chat::is_answer(&body) => {
            Heard { bytes: body.len() as u64, ended: Ok((began.elapsed(), None)) }
        }
        Ok((status, body)) => Heard::refused(status, body),
        Err(error) => Heard::broken_off(error),
    }
}

/// Reads an answer as it arrives.
async fn streamed(request: RequestBuilder, began: Instant, patience: Duration) -> Heard {
    let mut answer = match timeout(patience, request.send()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Heard::broken_off(error),
        Err(_) => {
            let said = format!("nothing for {}", duration::text(patience));
            return Heard { bytes: 0, ended: Err(Broken::new("no answer in time", said)) };
        }
    };
    let status = answer.status();
    if !status.is_success() {
        return match timeout(patience, answer.bytes()).await {
            Ok(Ok(body)) => Heard::refused(status, body),
            Ok(Err(_)) | Err(_) => Heard::refused(status, Bytes::new()),
        };
    }
    let mut stream = Stream::default();
    let end = loop {
        let longest = if stream.is_done() { patience.min(FAREWELL) } else { patience };
        match timeout(longest, answer.chunk()).await {
            Ok(Ok(Some(part))) => stream.read(&part, began.elapsed()),
            Ok(Ok(None)) => break End::Whole,
            Ok(Err(error)) => break End::BrokenOff(with_causes(&error.without_url())),
            Err(_) => break End::Stalled(patience),
        }
    };
    let bytes = stream.bytes();
    let ended = match stream.ended(&end) {
        Ok((took, streamed)) => Ok((took, Some(streamed))),
        Err((how, said)) => Err(Broken::new(format!("{} with {how}", status.as_u16()), said)),
    };
    Heard { bytes, ended }
}

/// What all callers count together.
struct Meter {
    began: Instant,
    callers: u32,
    /// Ends of windows, from the moment at which all callers are there.
    windows: Vec<Duration>,
    there: AtomicU32,
    windows_begin: OnceLock<Instant>,
    all_there: Notify,
    closing: AtomicBool,
    sent: AtomicU64,
    turns: Vec<AtomicU64>,
    /// By [`Meter::place`]: requests that began before the windows, up to the end of each, and after
    /// the last; then, for each window, those that lasted through it and no longer one.
    shards: Vec<Mutex<Vec<Counted>>>,
}

impl Meter {
    fn new(order: &Order) -> Meter {
        let windows: Vec<_> = order.windows.iter().map(|window| window.0).collect();
        let places = vec![Counted::default(); 2 * windows.len() + 2];
        Meter {
            began: Instant::now(),
            callers: order.callers,
            windows,
            there: AtomicU32::new(0),
            windows_begin: OnceLock::new(),
            all_there: Notify::new(),
            closing: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            turns: (0..order.callers).map(|_| AtomicU64::new(0)).collect(),
            shards: (0..SHARDS).map(|_| Mutex::new(places.clone())).collect(),
        }
    }

    fn arrived(&self) {
        if self.there.fetch_add(1, Ordering::Relaxed) + 1 == self.callers {
            self.windows_begin.get_or_init(Instant::now);
            self.all_there.notify_one();
        }
    }

    fn windows_began(&self) -> Option<Instant> {
        self.windows_begin.get().copied()
    }

    /// The number of a caller's next request, from zero.
    fn turn(&self, caller: usize) -> u64 {
        self.turns.get(caller).map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed))
    }

    /// Where a request is counted that began and ended at these times.
    ///
    /// It belongs to the windows in which it began, so that one which hangs is not lost to the time
    /// after them. What began before them belongs to those that it lasted through: it is all that its
    /// caller did there.
    fn place(&self, began: Instant, ended: Instant) -> usize {
        let stretch = |at: Instant| {
            let since = at.checked_duration_since(self.windows_began()?)?;
            Some(self.windows.iter().filter(|end| **end <= since).count())
        };
        match (stretch(began), stretch(ended)) {
            (Some(over), _) => 1 + over,
            (None, Some(over)) if over > 0 => 1 + self.windows.len() + over,
            (None, _) => 0,
        }
    }

    /// Counts a request of this caller, key and replica, which began then and has ended now.
    fn ended(
        &self,
        began: Instant,
        (caller, key, replica): (usize, usize, usize),
        heard: Heard,
        keys: &[String],
    ) {
        let place = self.place(began, Instant::now());
        let mut shard = self.shard(caller % SHARDS);
        let Some(counted) = shard.get_mut(place) else { return };
        counted.bytes += heard.bytes;
        match heard.ended {
            Ok((took, streamed)) => {
                counted.count(key, replica, Ok(took));
                if let Some(streamed) = &streamed {
                    counted.count_stream(streamed);
                }
            }
            Err(Broken { how, said }) => {
                // The first of each kind is told, so the others need not be read.
                let known = counted.failed.contains_key(&how);
                let said = if known { String::new() } else { sample(&said, keys) };
                counted.count(key, replica, Err((how, said)));
            }
        }
    }

    fn shard(&self, place: usize) -> std::sync::MutexGuard<'_, Vec<Counted>> {
        // Nothing that holds it can panic half-way through a count.
        self.shards[place].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn progress(&self) -> Progress {
        let mut progress =
            Progress { callers: self.there.load(Ordering::Relaxed), ..Progress::default() };
        let mut latencies = Latencies::default();
        for place in 0..self.shards.len() {
            for counted in self.shard(place).iter() {
                progress.failed += counted.failures();
                latencies.merge(&counted.latencies);
            }
        }
        let at = |share| latencies.quantile(share).map(micros);
        progress.answered = latencies.count();
        progress.after_us = micros(self.began.elapsed());
        (progress.p50_us, progress.p95_us) = (at(0.5), at(0.95));
        progress
    }

    fn outcome(&self, conducted: Conducted) -> Outcome {
        let mut places = vec![Counted::default(); 2 * self.windows.len() + 2];
        for place in 0..self.shards.len() {
            for (all, one) in places.iter_mut().zip(self.shard(place).iter()) {
                all.merge(one);
            }
        }
        let mut whole = Counted::default();
        for counted in &places {
            whole.merge(counted);
        }
        // Windows begin together, so each holds those that end before it; and what lasted through a
        // later one lasted through it too.
        let (began, lasted) = places.split_at(self.windows.len() + 2);
        let windows = (0..conducted.windows)
            .map(|window| {
                let mut all = Counted::default();
                for counted in began[1..].iter().take(window + 1).chain(&lasted[window..]) {
                    all.merge(counted);
                }
                all
            })
            .collect();
        let (sent, took_us) = (self.sent.load(Ordering::Relaxed), micros(self.began.elapsed()));
        Outcome { stopped: conducted.stopped, sent, took_us, windows, whole }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;
    use crate::order::{Pause, Window};

    /// Carries out an attack, and returns what it told.
    async fn told(order: &Order) -> Vec<Told> {
        let (input, mut keep) = io::pipe().unwrap();
        keep.write_all(format!("{}\n", serde_json::to_string(order).unwrap()).as_bytes()).unwrap();
        let mut out = Vec::new();
        serve(io::BufReader::new(input), &mut out).await.unwrap();
        drop(keep);
        let lines = String::from_utf8(out).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The requests in each window of a meter whose windows began just now, after this has happened: each
    /// began and ended so many milliseconds after the windows did.
    fn in_windows(requests: &[(i64, i64)]) -> Vec<u64> {
        let windows = [300, 600].map(Duration::from_millis);
        let meter = Meter::new(&Order { windows: windows.map(Window).to_vec(), ..order("", 1) });
        let begin = Instant::now();
        meter.windows_begin.get_or_init(|| begin);
        for (began, ended) in requests {
            let at = |millis: i64| match u64::try_from(millis) {
                Ok(after) => begin + Duration::from_millis(after),
                Err(_) => begin - Duration::from_millis(millis.unsigned_abs()),
            };
            let place = meter.place(at(*began), at(*ended));
            meter.shard(0)[place].count(0, 0, Ok(Duration::from_millis(1)));
        }
        let outcome = meter.outcome(Conducted { stopped: false, windows: 2 });
        assert_eq!(outcome.whole.requests(), requests.len() as u64);
        outcome.windows.iter().map(Counted::requests).collect()
    }

    #[test]
    fn a_request_belongs_to_the_windows_in_which_it_began_however_long_it_hangs() {
        assert_eq!(in_windows(&[(0, 10), (299, 40_000)]), [2, 2]);
        assert_eq!(in_windows(&[(300, 310), (599, 40_000)]), [0, 2]);
        assert_eq!(in_windows(&[(600, 610), (-20, -10), (-10, 299)]), [0, 0]);
    }

    #[test]
    fn what_lasted_through_a_window_belongs_to_it_though_it_began_before() {
        assert_eq!(in_windows(&[(-10, 300)]), [1, 0]);
        assert_eq!(in_windows(&[(-10, 599), (-10, 600)]), [2, 1]);
        assert_eq!(in_windows(&[(-10, 40_000)]), [1, 1]);
    }

    #[test]
    fn a_window_that_had_not_ended_when_it_was_stopped_is_not_told_however_late_answers_come() {
        let meter = Meter::new(&Order { windows: vec![Window(Duration::ZERO)], ..order("", 1) });
        meter.arrived();
        let now = Instant::now();
        let heard = Heard { bytes: 0, ended: Ok((Duration::ZERO, None)) };
        meter.ended(now, (0, 0, 0), heard, &[]);
        let outcome = meter.outcome(Conducted { stopped: true, windows: 0 });
        assert_eq!((outcome.windows.len(), outcome.whole.requests()), (0, 1));
    }

    fn order(url: &str, callers: u32) -> Order {
        Order {
            act: Act::SteadyChat,
            replicas: vec![url.to_owned(), url.to_owned()],
            keys: vec!["sk-a".to_owned(), "sk-b".to_owned()],
            model: "gauntlet-a".to_owned(),
            mark: "g0".to_owned(),
            callers,
            ramp: Duration::from_millis(200),
            pause: Pause { least: Duration::from_millis(10), most: Duration::from_millis(20) },
            patience: Duration::from_secs(30),
            balance: Balance::Pinned,
            windows: [300, 600].map(Duration::from_millis).map(Window).to_vec(),
        }
    }

    /// goose is one per process, so there is one attack here.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_request_is_sent_answered_and_counted_once() {
        let server = MockServer::start().await;
        let answer = json!({"choices": [{"message": {"content": "hello"}}]});
        Mock::given(matchers::header("authorization", "Bearer sk-b"))
            .respond_with(ResponseTemplate::new(429).set_body_string("slow down"))
            .mount(&server)
            .await;
        Mock::given(matchers::path("/v1/chat/completions"))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .mount(&server)
            .await;
        let told = told(&order(&server.uri(), 4)).await;

        let without_progress: Vec<_> =
            told.iter().filter(|told| !matches!(told, Told::Progress(_))).collect();
        let [
            Told::AllThere,
            Told::WindowEnded { window: 0 },
            Told::WindowEnded { window: 1 },
            last,
        ] = without_progress.as_slice()
        else {
            panic!("{told:?}");
        };
        let Told::Ended(outcome) = last else { panic!("{told:?}") };
        let received = server.received_requests().await.unwrap().len() as u64;
        assert_eq!(outcome.sent, received);
        assert_eq!(outcome.whole.requests(), received);
        assert_eq!(outcome.whole.by_key.iter().sum::<u64>(), received);
        assert_eq!(outcome.whole.failed["429"].said, "slow down");
        assert_eq!(outcome.whole.failed["429"].count, outcome.whole.by_key[1]);
        assert!(outcome.whole.by_replica.iter().all(|requests| *requests > 0));
        let answered = outcome.whole.answered_by_replica.iter().sum::<u64>();
        assert_eq!(answered, outcome.whole.by_key[0]);
        let [first, second] = outcome.windows.as_slice() else { panic!("{outcome:?}") };
        assert!(0 < first.requests() && first.requests() < second.requests());
        assert!(second.requests() < received);
        assert!(!outcome.stopped);
    }
}
