//! The workers of one address: started together, kept at their number, stopped together.

use std::{
    env, ffi::OsString, io, net::SocketAddr, num::NonZeroU8, path::PathBuf, process::ExitStatus,
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    leash::{Hand, Post},
    port,
};

/// The first pause before a worker that ended is started again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A worker that served this long did not end because of how it was started.
const STEADY: Duration = Duration::from_secs(10);

/// What a worker may need beyond its requests' drain timeout: to flush, and to close its stores.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is to be supervised.
#[derive(Debug, Clone)]
pub struct Crew {
    /// How many workers.
    pub count: NonZeroU8,
    /// The host to listen on.
    pub host: String,
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// How long requests in flight may take to finish.
    pub drain_timeout: Duration,
}

/// Why there is no crew, or no clean end of it.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A worker cannot be started.
    #[error("cannot start worker {worker}")]
    Start {
        /// Which one.
        worker: NonZeroU8,
        /// What the system said.
        source: io::Error,
    },
    /// A worker ended before it served, and has said why.
    #[error("worker {worker} ended before it served: {status}")]
    Ended {
        /// Which one.
        worker: NonZeroU8,
        /// What it left behind.
        status: ExitStatus,
    },
    /// A worker was lost sight of.
    #[error("worker {worker} cannot be waited for")]
    Lost {
        /// Which one.
        worker: NonZeroU8,
        /// What the system said.
        source: io::Error,
    },
    /// Workers had to be killed, or failed while they drained.
    #[error("{0} of the workers did not drain")]
    NotDrained(usize),
}

impl Crew {
    /// Starts the workers, keeps their number until `stop`, and returns once all have drained.
    ///
    /// # Errors
    /// When the address cannot be used, a worker fails before it ever served, or one does not
    /// drain.
    pub async fn serve(&self, stop: CancellationToken) -> Result<(), CrewError> {
        let (_held, address) = port::hold(&self.host, self.port).await.map_err(|source| {
            CrewError::Listen { address: format!("{}:{}", self.host, self.port), source }
        })?;
        let mustered = stop.run_until_cancelled(self.muster(address)).await;
        let Some(workers) = mustered.transpose()? else { return Ok(()) };
        tracing::info!(listening = %address, workers = self.count, "listening");
        let ends = join_all(workers.into_iter().map(|worker| self.tend(worker, address, &stop)));
        let failed = ends.await.into_iter().filter(|drained| !drained).count();
        tracing::info!("stopped");
        match failed {
            0 => Ok(()),
            failed => Err(CrewError::NotDrained(failed)),
        }
    }

    /// All workers, serving.
    async fn muster(&self, address: SocketAddr) -> Result<Vec<Worker>, CrewError> {
        let posts = (1..=self.count.get()).filter_map(NonZeroU8::new);
        let workers = posts.map(|worker| Worker::start(Post { worker, address }));
        let mut workers: Vec<Worker> = workers.collect::<Result<_, _>>()?;
        try_join_all(workers.iter_mut().map(Worker::until_ready)).await?;
        try_join_all(workers.iter_mut().map(Worker::serve)).await?;
        Ok(workers)
    }

    /// Keeps one worker's post filled until `stop`; has whoever fills it drained?
    async fn tend(&self, worker: Worker, address: SocketAddr, stop: &CancellationToken) -> bool {
        let post = Post { worker: worker.number, address };
        let mut filled = Some(worker);
        let mut pause = FIRST_PAUSE;
        while let Some(mut worker) = filled.take() {
            let since = Instant::now();
            tokio::select! {
                biased;
                () = stop.cancelled() => return worker.drain(self.drain_timeout + FAREWELL).await,
                ended = worker.child.wait() => report_end(post.worker, ended),
            }
            if since.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            filled = stop.run_until_cancelled(refill(post, &mut pause)).await;
        }
        true
    }
}

/// A worker at this post, serving; however often it takes, at a growing distance.
async fn refill(post: Post, pause: &mut Duration) -> Worker {
    loop {
        sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        match at_work(post).await {
            Ok(worker) => {
                tracing::info!(started = post.worker, "a worker was started again");
                return worker;
            }
            Err(error) => {
                tracing::error!(%error, "a worker cannot be started again");
            }
        }
    }
}

async fn at_work(post: Post) -> Result<Worker, CrewError> {
    let mut worker = Worker::start(post)?;
    worker.until_ready().await?;
    worker.serve().await?;
    Ok(worker)
}

fn report_end(ended: NonZeroU8, status: io::Result<ExitStatus>) {
    let status = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(ended, status, "a worker ended");
}

/// One worker. It is killed when it is dropped without having been drained.
struct Worker {
    number: NonZeroU8,
    child: Child,
    hand: Hand,
}

impl Worker {
    /// Starts this program again, with the same arguments and a post.
    fn start(post: Post) -> Result<Self, CrewError> {
        let failed = |source| CrewError::Start { worker: post.worker, source };
        let (hand, leash) = Hand::with_leash().map_err(failed)?;
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_else(|| OsString::from("reference-gateway"));
        let child = Command::new(program().map_err(failed)?)
            .arg0(name)
            .args(arguments)
            .arg(format!("--worker={post}"))
            .stdin(leash)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        Ok(Self { number: post.worker, child, hand })
    }

    async fn until_ready(&mut self) -> Result<(), CrewError> {
        match self.hand.is_ready().await {
            true => Ok(()),
            false => Err(self.ended().await),
        }
    }

    async fn serve(&mut self) -> Result<(), CrewError> {
        match self.hand.has_it_serve().await {
            true => Ok(()),
            false => Err(self.ended().await),
        }
    }

    /// Its line has ended, so it is about to.
    async fn ended(&mut self) -> CrewError {
        let worker = self.number;
        match self.child.wait().await {
            Ok(status) => CrewError::Ended { worker, status },
            Err(source) => CrewError::Lost { worker, source },
        }
    }

    /// Ends its line and waits for it to finish; kills it where that takes longer than `patience`.
    async fn drain(self, patience: Duration) -> bool {
        let Self { number, mut child, hand } = self;
        drop(hand);
        match timeout(patience, child.wait()).await {
            Ok(Ok(status)) if status.success() => true,
            Ok(ended) => {
                report_end(number, ended);
                false
            }
            Err(_) => {
                tracing::error!(killed = number, "a worker did not drain in time");
                // It may end by itself at this very moment.
                let _ = child.kill().await;
                false
            }
        }
    }
}

/// This very program, even if its file was replaced since it was started.
fn program() -> io::Result<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok(PathBuf::from("/proc/self/exe")),
        false => env::current_exe(),
    }
}
