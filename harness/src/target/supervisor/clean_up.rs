//! What a supervisor does: keeps its list, and ends and removes what is on it when its input ends.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead},
    path::PathBuf,
    time::Duration,
};

use futures::future::{join, join_all};
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::time::{interval, timeout};

use super::{
    order::{Order, Watched},
    processes::Doomed,
};
use crate::target::{engine::remove_labelled, secret::Secret, stores::PostgresAddress};

/// How long who was asked to end may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what was killed, and what was removed, may take to be gone.
const DEADLINE: Duration = Duration::from_secs(3);

/// How often it is looked whether it is.
const STEP: Duration = Duration::from_millis(10);

/// Reads orders until there are no more, then ends and removes whatever is still watched.
///
/// # Errors
///
/// When the orders cannot be read; by then all is done that was heard of.
pub(crate) async fn serve(orders: impl BufRead + Send + 'static) -> io::Result<()> {
    let hearing = move || {
        let mut list = List::default();
        let heard = list.hear(orders);
        (list, heard)
    };
    let (list, heard) = tokio::task::spawn_blocking(hearing).await.map_err(io::Error::other)?;
    list.clean_up().await;
    heard
}

/// What is watched.
#[derive(Debug, Default)]
struct List {
    mark: Option<String>,
    watched: BTreeMap<u64, Watched>,
}

impl List {
    /// Obeys until there are no more orders.
    fn hear(&mut self, mut orders: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            orders.read_until(b'\n', &mut line)?;
            // What has no end is half an order, or none.
            let Some(order) = line.strip_suffix(b"\n") else { return Ok(()) };
            self.obey(order);
        }
    }

    fn obey(&mut self, line: &[u8]) {
        match Order::read(line) {
            Some(Order::Mark(mark)) => self.mark = Some(mark),
            Some(Order::Watch(number, watched)) => drop(self.watched.insert(number, watched)),
            Some(Order::Release(number)) => drop(self.watched.remove(&number)),
            // Nobody is there to be told.
            None => {}
        }
    }

    async fn clean_up(self) {
        let (mut groups, mut folders): (Vec<(Pid, Signal)>, Vec<PathBuf>) = Default::default();
        let (mut labels, mut databases) = (Vec::new(), Vec::new());
        for watched in self.watched.into_values() {
            match watched {
                Watched::Group { leader, farewell } => groups.push((leader, farewell)),
                Watched::Folder(folder) => folders.push(folder),
                Watched::Containers(label) => labels.push(label),
                Watched::Database { name, server } => databases.push((name, server)),
            }
        }
        let doomed = Doomed::new(self.mark.as_deref(), groups, folders.clone());
        join(end(doomed), remove_containers(&labels)).await;
        // Nobody uses them by now: neither databases nor folders.
        join(drop_databases(&databases), remove(&folders)).await;
    }
}

/// Asks, waits, and ends until nobody is left.
async fn end(mut doomed: Doomed) {
    if !doomed.any() {
        return;
    }
    doomed.ask();
    drop(timeout(PATIENCE, until(|| !doomed.any())).await);
    let ended = until(|| {
        doomed.end();
        !doomed.any()
    });
    drop(timeout(DEADLINE, ended).await);
}

/// Removes containers, and looks again a while later: an engine makes one though whoever ordered it has
/// gone.
async fn remove_containers(labels: &[String]) {
    const LATER: Duration = Duration::from_millis(400);
    const LOOKS: u32 = 3;
    if labels.is_empty() {
        return;
    }
    let removed = async {
        let mut looks = interval(LATER);
        let mut clean = 0;
        while clean < LOOKS {
            looks.tick().await;
            let removed = labels.iter().map(|label| remove_labelled(label));
            clean += u32::from(join_all(removed).await.iter().all(Result::is_ok));
        }
    };
    drop(timeout(DEADLINE, removed).await);
}

/// Drops databases. A server that is gone took them with it.
async fn drop_databases(databases: &[(String, Secret)]) {
    let dropped = databases.iter().map(async |(name, server)| {
        if let Ok(server) = PostgresAddress::parse(server) {
            drop(server.drop_abandoned(name).await);
        }
    });
    drop(timeout(DEADLINE, join_all(dropped)).await);
}

/// Removes folders until they are gone: somebody may be writing to one still.
async fn remove(folders: &[PathBuf]) {
    let removed = until(|| {
        folders.iter().fold(true, |all, folder| {
            // That it is not there is what we want.
            drop(fs::remove_dir_all(folder));
            all && fs::symlink_metadata(folder).is_err()
        })
    });
    drop(timeout(DEADLINE, removed).await);
}

/// Looks again and again until `done`.
async fn until(mut done: impl FnMut() -> bool) {
    let mut look = interval(STEP);
    loop {
        look.tick().await;
        if done() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read},
        os::unix::process::{CommandExt, ExitStatusExt},
        process::{Child, Command, Stdio},
    };

    use super::{super::MARK, *};

    const MARKED: &str = "0123456789abcdef";

    /// A shell that leads a group, and has said something.
    fn shell(script: &str, mark: &str) -> (Child, String) {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .env(MARK, mark)
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        (child, said.trim_end().to_owned())
    }

    fn alive(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn serve(orders: String) {
        super::serve(io::Cursor::new(orders)).await.unwrap();
    }

    #[tokio::test]
    async fn a_leader_is_asked_before_it_is_ended() {
        let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done";
        let (mut polite, _) = shell(script, "other");
        let deaf = "trap '' TERM; sleep 60 & echo $!; while :; do sleep 0.01; done";
        let (mut deaf, child) = shell(deaf, "other");
        serve(format!("watch 1 group {} TERM\nwatch 2 group {} TERM\n", polite.id(), deaf.id()))
            .await;
        assert_eq!(polite.wait().unwrap().code(), Some(7));
        assert_eq!(deaf.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(!alive(&child));
    }

    #[tokio::test]
    async fn what_left_its_group_is_known_by_its_mark_and_others_by_theirs() {
        let (mut ours, ours_left) = shell("setsid sleep 60 & echo $!", MARKED);
        let (mut other, other_left) = shell("setsid sleep 60 & echo $!", "fedcba9876543210");
        ours.wait().unwrap();
        other.wait().unwrap();
        assert!(alive(&ours_left) && alive(&other_left));
        serve(format!("mark {MARKED}\n")).await;
        assert!(!alive(&ours_left) && alive(&other_left));
        serve("mark fedcba9876543210\n".to_owned()).await;
        assert!(!alive(&other_left));
    }

    #[tokio::test]
    async fn who_hides_its_mark_is_known_by_who_started_it() {
        let script = "env -i setsid sh -c 'echo $$; while :; do sleep 0.01; done' & wait";
        let (mut parent, hidden) = shell(script, MARKED);
        serve(format!("mark {MARKED}\n")).await;
        assert!(!alive(&hidden));
        parent.wait().unwrap();
    }

    #[tokio::test]
    async fn a_folder_goes_though_somebody_writes_to_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("store");
        fs::create_dir(&folder).unwrap();
        let script = "cd \"$0\"; echo in; n=0; while :; do n=$((n+1)); echo $n > $n; done";
        let mut writer = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(&folder)
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        writer.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        let folder_is = folder.display();
        serve(format!("watch 1 group {} TERM\nwatch 2 folder {folder_is}\n", writer.id())).await;
        writer.wait().unwrap();
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn what_was_released_stays_and_half_an_order_is_none() {
        let parent = tempfile::tempdir().unwrap();
        let [kept, half] = ["kept", "half"].map(|name| parent.path().join(name));
        for folder in [&kept, &half] {
            fs::create_dir(folder).unwrap();
        }
        let (kept_at, half_at) = (kept.display(), half.display());
        serve(format!("watch 1 folder {kept_at}\nrelease 1\nwatch 2 folder {half_at}")).await;
        assert!(kept.exists() && half.exists());
    }
}
