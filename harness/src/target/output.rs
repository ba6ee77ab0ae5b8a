//! What a launched process prints, line by line.
//!
//! The pipes are always read: a process never waits for us to take its lines. A reader that falls
//! behind loses lines, and is told how many. The file in the stack's folder has them all.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    clock::{Clock, Micros},
    op::Replica,
};

/// Lines kept to explain a process that failed.
const TAIL: usize = 20;

/// Where a line is cut, so that one line cannot fill the memory.
const LONGEST_LINE: usize = 64 * 1024;

/// How long the last lines of a process that has ended may take to arrive.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// One line that a replica printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Who printed it.
    pub replica: Replica,
    /// Where to.
    pub stream: Stream,
    /// When its end was read.
    pub at: Micros,
    /// The line, without its end.
    pub text: String,
}

/// Which of its two outputs a process printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Who wants the lines of a process, and as whose.
#[derive(Clone, Debug)]
pub struct LogSink {
    /// The replica that the lines are attributed to.
    pub replica: Replica,
    /// Tells the moments of the run.
    pub clock: Clock,
    /// Where the lines go.
    pub lines: mpsc::Sender<LogLine>,
}

/// The reading end of a process's output.
#[derive(Debug)]
pub(super) struct Output {
    shared: Arc<Shared>,
    readers: JoinSet<()>,
    first_json: watch::Receiver<Option<serde_json::Value>>,
}

#[derive(Debug)]
struct Shared {
    tail: Mutex<VecDeque<String>>,
    file: Mutex<BufWriter<File>>,
    sink: Option<LogSink>,
    lost: Arc<AtomicU64>,
}

impl Output {
    /// Begins to read both outputs of a process, into `file` and `sink`.
    pub(super) fn read(
        stdout: Option<impl AsyncRead + Send + Unpin + 'static>,
        stderr: Option<impl AsyncRead + Send + Unpin + 'static>,
        file: File,
        sink: Option<LogSink>,
    ) -> Output {
        let shared = Arc::new(Shared {
            tail: Mutex::default(),
            file: Mutex::new(BufWriter::new(file)),
            sink,
            lost: Arc::default(),
        });
        let (found, first_json) = watch::channel(None);
        let mut readers = JoinSet::new();
        if let Some(stdout) = stdout {
            readers.spawn(follow(stdout, Stream::Stdout, Arc::clone(&shared), Some(found)));
        }
        if let Some(stderr) = stderr {
            readers.spawn(follow(stderr, Stream::Stderr, Arc::clone(&shared), None));
        }
        Output { shared, readers, first_json }
    }

    /// The last lines, oldest first.
    pub(super) fn tail(&self) -> Vec<String> {
        locked(&self.shared.tail).iter().cloned().collect()
    }

    /// How many lines the sink had no room for.
    pub(super) fn lost_lines(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// The same number, for who does not hold this.
    pub(super) fn losses(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.lost)
    }

    /// The first line of standard output that is a JSON object, once there is one.
    pub(super) fn first_json_line(&self) -> Option<serde_json::Value> {
        self.first_json.borrow().clone()
    }

    /// Waits for the last lines of a process that has ended.
    pub(super) async fn drain(&mut self) {
        let all_read = async { while self.readers.join_next().await.is_some() {} };
        if timeout(DRAIN_PATIENCE, all_read).await.is_err() {
            // Someone outside the group still holds the pipe.
            self.readers.shutdown().await;
        }
        // A full disk must not keep a run from ending.
        let _ = locked(&self.shared.file).flush();
    }
}

impl Shared {
    /// Takes lines that arrived together.
    fn take(&self, lines: &[Vec<u8>], stream: Stream) -> Vec<String> {
        let texts: Vec<String> =
            lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        let mut file = locked(&self.file);
        for text in &texts {
            // A full disk must not stop the reading of the pipe.
            let _ = writeln!(file, "{text}");
        }
        let _ = file.flush();
        drop(file);

        let mut tail = locked(&self.tail);
        tail.extend(texts.iter().cloned());
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
        drop(tail);

        if let Some(sink) = &self.sink {
            let at = sink.clock.now();
            for text in &texts {
                let line = LogLine { replica: sink.replica, stream, at, text: text.clone() };
                if sink.lines.try_send(line).is_err() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        texts
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(
    pipe: impl AsyncRead + Send + Unpin,
    stream: Stream,
    shared: Arc<Shared>,
    first_json: Option<watch::Sender<Option<serde_json::Value>>>,
) {
    let mut pipe = BufReader::with_capacity(LONGEST_LINE, pipe);
    let mut cutter = LineCutter::default();
    let mut first_json = first_json;
    // An unreadable pipe is an ended one.
    while let Ok(read) = next_chunk(&mut pipe, &mut cutter).await {
        let mut lines = cutter.whole_lines();
        if read == 0 {
            lines.extend(cutter.remainder());
        }
        let texts = shared.take(&lines, stream);
        if let Some(found) = &first_json
            && let Some(value) = texts.iter().find_map(|text| json_object(text))
        {
            found.send_replace(Some(value));
            first_json = None;
        }
        if read == 0 {
            return;
        }
    }
}

async fn next_chunk(
    pipe: &mut BufReader<impl AsyncRead + Unpin>,
    cutter: &mut LineCutter,
) -> io::Result<usize> {
    let chunk = pipe.fill_buf().await?;
    let read = chunk.len();
    cutter.push(chunk);
    pipe.consume(read);
    Ok(read)
}

fn json_object(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok().filter(serde_json::Value::is_object)
}

/// Cuts bytes into lines, however they arrive.
#[derive(Debug, Default)]
struct LineCutter {
    pending: Vec<u8>,
    whole: Vec<Vec<u8>>,
}

impl LineCutter {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            if self.pending.ends_with(b"\n") {
                self.pending.pop();
                self.pending.pop_if(|last| *last == b'\r');
                self.whole.push(std::mem::take(&mut self.pending));
            } else if self.pending.len() >= LONGEST_LINE {
                self.whole.push(std::mem::take(&mut self.pending));
            }
        }
    }

    fn whole_lines(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.whole)
    }

    fn remainder(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.pending)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn every_line_reaches_file_sink_and_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (sender, mut lines) = mpsc::channel(8);
        let sink = LogSink { replica: Replica(1), clock: Clock::start(), lines: sender };
        let mut output = Output::read(
            Some(&b"starting\n{\"listening\":\"127.0.0.1:9\"}\r\n"[..]),
            Some(&b"no newline"[..]),
            File::create(&path).unwrap(),
            Some(sink),
        );
        output.drain().await;

        let mut seen = Vec::new();
        while let Ok(line) = lines.try_recv() {
            seen.push((line.stream, line.text));
        }
        seen.sort();
        assert_eq!(seen[0].1, "starting");
        assert_eq!(seen[2], (Stream::Stderr, "no newline".to_owned()));
        assert_eq!(output.first_json_line().unwrap()["listening"], "127.0.0.1:9");
        assert_eq!(output.tail().len(), 3);
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 3);
    }

    #[tokio::test]
    async fn lines_without_room_are_counted() {
        let (sender, _lines) = mpsc::channel(1);
        let sink = LogSink { replica: Replica(0), clock: Clock::start(), lines: sender };
        let file = tempfile::tempfile().unwrap();
        let mut output = Output::read(Some(&b"a\nb\nc\n"[..]), None::<&[u8]>, file, Some(sink));
        output.drain().await;
        assert_eq!(output.lost_lines(), 2);
        assert_eq!(output.tail(), ["a", "b", "c"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut cutter = LineCutter::default();
        cutter.push(&vec![b'x'; LONGEST_LINE]);
        assert_eq!(cutter.whole_lines().len(), 1);
        assert_eq!(cutter.remainder(), None);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_split_does_not_matter(
            text in "[ab\r\n]{0,30}",
            at in any::<prop::sample::Index>(),
        ) {
            let cut = |pieces: &[&str]| {
                let mut cutter = LineCutter::default();
                pieces.iter().for_each(|piece| cutter.push(piece.as_bytes()));
                (cutter.whole_lines(), cutter.remainder())
            };
            let at = at.index(text.len() + 1);
            prop_assert_eq!(cut(&[&text]), cut(&[&text[..at], &text[at..]]));
        }
    }
}
