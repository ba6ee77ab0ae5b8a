//! What simulated callers cost, beside a bare loop over the same HTTP client.
//!
//! Both put the same mock provider under load, each in a process of its own and in turn, so that the
//! ratios say something and the absolute figures do not. The bars: callers get at least 0.8 times as
//! many answers in each second as the bare loop, and take at most 64 KiB of memory each, with streams
//! open. The ratios are printed: `cargo bench -p harness --bench callers`.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    num::NonZeroUsize,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mocks::Provider;
use scenarios::{
    load_profile::Balance,
    order::{Order, Outcome, Pause, Told, Window},
    scenario::Act,
    steady_chat::{self, Prompt},
};
use tokio::runtime::Runtime;

/// Callers of a measurement of rates.
const CALLERS: u32 = 50;
/// How long each measurement takes once all callers are there.
const LENGTH: Duration = Duration::from_secs(3);
/// How long it takes until they are.
const RAMP: Duration = Duration::from_millis(500);
/// Measurements of each way, in turn, of which the median is taken.
const TURNS: usize = 7;
/// Few callers and many, whose memory is compared.
const FEW_AND_MANY: (u32, u32) = (100, 2_100);
/// Streams that stay open for most of a measurement.
const SLOW_STREAM: &str = "mock-ok-chunks8-gap200ms";
/// The most memory that a caller may take, in bytes.
const MOST_MEMORY: f64 = 64.0 * 1024.0;
/// The least share of the bare loop's rate.
const LEAST_SHARE: f64 = 0.8;

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let done = match words.next().as_deref() {
        Some("serve") => serve(),
        Some("bare") => bare(&words.next().unwrap_or_default()),
        Some("attack") => attack(),
        // As `cargo bench` calls it, and `cargo test`, which only wants to know that it runs.
        Some("--bench") => compare(TURNS),
        _ => compare(1),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "callers: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures both ways in turn and prints the ratios.
fn compare(turns: usize) -> io::Result<()> {
    let mut server = child("serve", "")?;
    let address = server.line()?;
    let url = format!("http://{}", address.trim());
    let (mut rates, mut per_cpu) = (Vec::new(), Vec::new());
    let mut out = io::stdout();
    for turn in 1..=turns {
        let bare = measure_bare(&url)?;
        let callers = measure_callers(&order(&url, Act::SteadyChat, "mock-ok", CALLERS))?;
        writeln!(
            out,
            "turn {turn}: bare loop {:.0}/s, {:.0} per CPU second; callers {:.0}/s, {:.0} per CPU second",
            bare.rate, bare.per_cpu, callers.rate, callers.per_cpu
        )?;
        rates.push(callers.rate / bare.rate);
        per_cpu.push(callers.per_cpu / bare.per_cpu);
    }
    let (rate, per_cpu) = (median(rates), median(per_cpu));
    writeln!(
        out,
        "callers get {rate:.2} × the answers of the bare loop (at least {LEAST_SHARE}), and \
         {per_cpu:.2} × per CPU second"
    )?;
    let (few, many) = FEW_AND_MANY;
    let few_memory = measure_callers(&order(&url, Act::StreamedChat, SLOW_STREAM, few))?.memory;
    let many_memory = measure_callers(&order(&url, Act::StreamedChat, SLOW_STREAM, many))?.memory;
    let each = (many_memory - few_memory) / f64::from(many - few);
    writeln!(
        out,
        "a caller with a stream open takes {:.1} KiB (at most {:.0}): {:.1} MiB with {few} callers, \
         {:.1} MiB with {many}",
        each / 1024.0,
        MOST_MEMORY / 1024.0,
        few_memory / 1_048_576.0,
        many_memory / 1_048_576.0
    )
}

/// What a process came to.
struct Came {
    /// Answers in each second.
    rate: f64,
    /// Answers for each second of processor time.
    per_cpu: f64,
    /// The most memory it had, in bytes.
    memory: f64,
}

fn measure_bare(url: &str) -> io::Result<Came> {
    let mut process = child("bare", url)?;
    let line = process.line()?;
    let (window, all) =
        line.trim().split_once(' ').ok_or_else(|| io::Error::other("no answers were told"))?;
    let number = |text: &str| text.parse::<f64>().map_err(io::Error::other);
    process.came(number(window)? / LENGTH.as_secs_f64(), number(all)?)
}

fn measure_callers(order: &Order) -> io::Result<Came> {
    let mut process = child("attack", "")?;
    let text = serde_json::to_string(order)?;
    writeln!(process.input()?, "{text}")?;
    let outcome: Outcome = loop {
        match serde_json::from_str(&process.line()?)? {
            Told::Ended(outcome) => break *outcome,
            Told::Progress(_) | Told::AllThere | Told::WindowEnded { .. } => {}
        }
    };
    if outcome.whole.failures() > 0 {
        return Err(io::Error::other(format!("requests failed: {:?}", outcome.whole.failed)));
    }
    let [window] = outcome.windows.as_slice() else {
        return Err(io::Error::other("not all callers were there in time"));
    };
    process.came(count(window.answered()) / LENGTH.as_secs_f64(), count(outcome.whole.answered()))
}

fn order(url: &str, act: Act, model: &str, callers: u32) -> Order {
    Order {
        act,
        replicas: vec![url.to_owned()],
        keys: vec!["sk-bench".to_owned()],
        model: model.to_owned(),
        mark: "bench".to_owned(),
        callers,
        ramp: RAMP,
        pause: Pause { least: Duration::ZERO, most: Duration::ZERO },
        patience: Duration::from_secs(30),
        balance: Balance::Pinned,
        windows: vec![Window(LENGTH)],
    }
}

/// This program once more, in another role.
struct Process {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

fn child(role: &str, argument: &str) -> io::Result<Process> {
    let mut child = Command::new(env::current_exe()?)
        .args([role, argument])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or_else(|| io::Error::other("its output is gone"))?;
    Ok(Process { child, lines: BufReader::new(out) })
}

impl Process {
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line)? {
            0 => Err(io::Error::other("a process ended early")),
            _ => Ok(line),
        }
    }

    fn input(&mut self) -> io::Result<&mut std::process::ChildStdin> {
        self.child.stdin.as_mut().ok_or_else(|| io::Error::other("its input is gone"))
    }

    /// The last line of a process tells its processor time and memory.
    fn came(mut self, rate: f64, answered: f64) -> io::Result<Came> {
        let line = self.line()?;
        drop(self.child.stdin.take());
        self.child.wait()?;
        let (cpu, memory) =
            line.trim().split_once(' ').ok_or_else(|| io::Error::other("no cost was told"))?;
        let number = |text: &str| text.parse::<f64>().map_err(io::Error::other);
        Ok(Came { rate, per_cpu: answered / number(cpu)?, memory: number(memory)? })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be ended again.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Tells what this process has cost so far: seconds of processor time, and the most memory in bytes.
fn tell_cost() -> io::Result<()> {
    // `pid (name) state …`: user and system time are fields 14 and 15, in hundredths of a second.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / 100.0);
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    match cpu.zip(peak) {
        Some((cpu, kib)) => writeln!(io::stdout(), "{cpu} {}", kib * 1024.0),
        None => Err(io::Error::other("this system does not tell what a process costs")),
    }
}

/// A mock provider, until its input ends.
fn serve() -> io::Result<()> {
    Runtime::new()?.block_on(async {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let ledger = NonZeroUsize::new(1_000).unwrap_or(NonZeroUsize::MIN);
        let provider = Provider::bind(any, ledger).await?;
        writeln!(io::stdout(), "{}", provider.addr())?;
        let gone = tokio::task::spawn_blocking(|| io::stdin().lines().count());
        provider.serve(async { drop(gone.await) }).await
    })
}

/// As many tasks as there are callers, each of which asks again once it is answered, and nothing more.
/// Tells how many of the answers belong to the window, and how many there were in all: the ramp costs
/// processor time too.
fn bare(url: &str) -> io::Result<()> {
    let (window, all) = Runtime::new()?.block_on(async {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build();
        let client = client.map_err(io::Error::other)?;
        let (window, all) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (begin, end) = (now() + RAMP, now() + RAMP + LENGTH);
        let callers = (0..CALLERS).map(|caller| {
            let (client, window, all) = (client.clone(), Arc::clone(&window), Arc::clone(&all));
            let at = format!("{url}{}", steady_chat::PATH);
            tokio::spawn(async move {
                let mut turn = 0;
                loop {
                    let began = now();
                    if began >= end {
                        return Ok::<_, reqwest::Error>(());
                    }
                    let caller = usize::try_from(caller).unwrap_or_default();
                    let prompt = Prompt::new("mock-ok", "bench", caller, turn);
                    let request = client.post(&at).bearer_auth("sk-bench").json(&prompt);
                    let body = request.send().await?.bytes().await?;
                    if steady_chat::is_answer(&body) {
                        all.fetch_add(1, Ordering::Relaxed);
                        window.fetch_add(u64::from(begin <= began), Ordering::Relaxed);
                    }
                    turn += 1;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        }
        let count = |answers: &AtomicU64| answers.load(Ordering::Relaxed);
        Ok::<_, io::Error>((count(&window), count(&all)))
    })?;
    writeln!(io::stdout(), "{window} {all}")?;
    tell_cost()
}

/// The process that `gauntlet load` starts: goose's callers.
fn attack() -> io::Result<()> {
    let mut told = io::stdout();
    let attack = scenarios::attack::serve(BufReader::new(io::stdin()), &mut told);
    Runtime::new()?.block_on(attack).map_err(io::Error::other)?;
    tell_cost()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}
