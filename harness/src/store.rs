//! `runs/<id>/`: seed, target, plans, histories, verdicts.
//!
//! ```text
//! runs/1763625600-reference-42/
//!   run.json                         seed, target, what was asked for
//!   cases/<check>/<case>.json        the plan and history of each arm, and the verdict
//!   shrunk/<check>.json              the smallest failing plan, driven once more
//!   shrunk/<check>.sh                the same plan as a script of `curl`
//!   report.json                      the report, from which every format is made
//!   report.html                      the report as a page for a browser
//! ```
//!
//! Each case is written as it is judged, so that a run which is stopped has kept what it had done.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use reports::{Format, RunReport};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    clock::unix_seconds,
    history::{HISTORY_VERSION, History},
    verdict::Verdict,
};

/// The file of a run that is its report as a page.
const PAGE: &str = "report.html";

/// How many runs of one name may begin in one second.
const MOST_AT_ONCE: u32 = 1_000;

/// Why a run cannot be kept, or read again.
///
/// Messages are lowercase fragments, made to follow "gauntlet: ".
#[derive(Debug, thiserror::Error)]
pub enum RunStoreError {
    /// The file system would not take it.
    #[error("cannot keep the run: writing {} failed; free space there or name another folder with --out", path.display())]
    Unwritable {
        /// Which file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is not there.
    #[error("cannot read the run: {} cannot be read", path.display())]
    Unreadable {
        /// Which file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is not what a run consists of.
    #[error("cannot read the run: {} is not what gauntlet writes there", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It was written by a later version.
    #[error(
        "cannot read the run: {} has histories of version {found}, and this gauntlet reads up to {HISTORY_VERSION}; use a newer one",
        path.display()
    )]
    TooNew {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// What a run was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The run's id, which is the name of its folder.
    pub id: String,
    /// The number from which every plan follows.
    pub seed: u64,
    /// When it began, in seconds since the Unix epoch.
    pub started: u64,
    /// Which target, as it was named.
    pub target: String,
    /// Cases per check.
    pub cases: u32,
    /// The version of gauntlet.
    pub tool: String,
}

impl RunFacts {
    /// Those of a run that begins now. Its id is the moment, and then `name`.
    pub fn of_now(name: &str, target: &str, seed: u64, cases: u32) -> RunFacts {
        let started = unix_seconds();
        RunFacts {
            id: format!("{started}-{name}"),
            seed,
            started,
            target: target.to_owned(),
            cases,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A case, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCase {
    /// Which check.
    pub check: String,
    /// Which case of it.
    pub case: u32,
    /// What was concluded when it was driven.
    pub verdict: Verdict,
    /// One history per arm; each holds its plan.
    pub histories: Vec<History>,
}

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Confirms that runs can be kept below `runs`, before any is driven. Nothing is left of the attempt.
    ///
    /// # Errors
    ///
    /// When nothing can be written there.
    pub fn can_be_made(runs: &Path) -> Result<(), RunStoreError> {
        let unwritable = |source| RunStoreError::Unwritable { path: runs.to_owned(), source };
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let missing: Vec<_> = runs.ancestors().take_while(is_missing).collect();
        let attempt = || {
            fs::create_dir_all(runs)?;
            // Without a name, so that it is gone whatever becomes of us.
            let mut file = tempfile::tempfile_in(runs)?;
            // Room for a small case: a full disk takes a file, but not what it holds.
            file.write_all(&[0; 64 * 1024]).and_then(|()| file.sync_all())
        };
        let attempted = attempt();
        for folder in missing {
            // Another run may have come to be in it meanwhile; then it stays.
            drop(fs::remove_dir(folder));
        }
        attempted.map_err(unwritable)
    }

    /// Makes the folder of a new run below `runs`. Where its id is another run's, which began in the same
    /// second, it gets a number, in `facts` too.
    ///
    /// # Errors
    ///
    /// When it cannot be made or written to.
    pub fn create(runs: &Path, facts: &mut RunFacts) -> Result<RunFolder, RunStoreError> {
        fs::create_dir_all(runs)
            .map_err(|source| RunStoreError::Unwritable { path: runs.to_owned(), source })?;
        let wanted = facts.id.clone();
        let mut number = 1;
        let path = loop {
            let path = runs.join(&facts.id);
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_AT_ONCE =>
                {
                    number += 1;
                    facts.id = format!("{wanted}-{number}");
                }
                Err(source) => return Err(RunStoreError::Unwritable { path, source }),
            }
        };
        let folder = RunFolder { path };
        folder.write("run.json", facts)?;
        Ok(folder)
    }

    /// The folder of a run that was kept.
    ///
    /// # Errors
    ///
    /// When it does not hold a run.
    pub fn open(path: &Path) -> Result<(RunFolder, RunFacts), RunStoreError> {
        let folder = RunFolder::at(path);
        let facts = folder.read(&folder.path.join("run.json"))?;
        Ok((folder, facts))
    }

    /// The folder at `path`, whatever it holds.
    pub fn at(path: &Path) -> RunFolder {
        RunFolder { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a case.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_case(&self, case: &StoredCase) -> Result<(), RunStoreError> {
        self.write(&format!("cases/{}/{:04}.json", case.check, case.case), case)
    }

    /// Keeps the smallest failing case of a check.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_shrunk(&self, case: &StoredCase) -> Result<(), RunStoreError> {
        self.write(&format!("shrunk/{}.json", case.check), case)
    }

    /// Keeps the report: the document, the page for a browser, and the script of each failing plan.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_report(&self, report: &RunReport) -> Result<(), RunStoreError> {
        self.write("report.json", report)?;
        self.put(PAGE, |file| reports::render(report, Format::Html, file))?;
        for script in report.checks.iter().filter_map(|check| check.script.as_ref()) {
            self.put(&script.file, |file| file.write_all(script.text.as_bytes()))?;
        }
        Ok(())
    }

    /// Where the page of the report is.
    pub fn page(&self) -> PathBuf {
        self.path.join(PAGE)
    }

    /// The report.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be read.
    pub fn report(&self) -> Result<RunReport, RunStoreError> {
        self.read(&self.path.join("report.json"))
    }

    /// The files of every case that was kept, relative to the folder: the driven ones, then the
    /// smallest failing ones.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read.
    pub fn case_files(&self) -> Result<Vec<PathBuf>, RunStoreError> {
        let mut files = Vec::new();
        for check in self.listed(&self.path.join("cases"))? {
            files.extend(self.listed(&check)?);
        }
        files.extend(self.listed(&self.path.join("shrunk"))?);
        Ok(files
            .iter()
            .filter(|file| is_document(file))
            .filter_map(|file| file.strip_prefix(&self.path).ok())
            .map(Path::to_owned)
            .collect())
    }

    /// One of its files, whatever it says.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn document(&self, file: &Path) -> Result<serde_json::Value, RunStoreError> {
        self.read(&self.path.join(file))
    }

    /// Every case that was kept, check by check.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn cases(&self) -> Result<Vec<StoredCase>, RunStoreError> {
        let mut cases = Vec::new();
        for check in self.listed(&self.path.join("cases"))? {
            for file in self.listed(&check)? {
                cases.push(self.case(&file)?);
            }
        }
        Ok(cases)
    }

    /// The smallest failing case of every check that failed.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn shrunk(&self) -> Result<Vec<StoredCase>, RunStoreError> {
        let files = self.listed(&self.path.join("shrunk"))?;
        files.iter().filter(|file| is_document(file)).map(|file| self.case(file)).collect()
    }

    fn case(&self, file: &Path) -> Result<StoredCase, RunStoreError> {
        let case: StoredCase = self.read(file)?;
        match case.histories.iter().map(|history| history.version).max() {
            Some(found) if found > HISTORY_VERSION => {
                Err(RunStoreError::TooNew { path: file.to_owned(), found })
            }
            Some(_) | None => Ok(case),
        }
    }

    /// The entries of a folder in the order of their names; none where it does not exist.
    fn listed(&self, folder: &Path) -> Result<Vec<PathBuf>, RunStoreError> {
        let unreadable = |source| RunStoreError::Unreadable { path: folder.to_owned(), source };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort();
        Ok(paths)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<T, RunStoreError> {
        let text = fs::read(path)
            .map_err(|source| RunStoreError::Unreadable { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|source| RunStoreError::Malformed { path: path.to_owned(), source })
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), RunStoreError> {
        self.put(name, |file| {
            serde_json::to_writer(&mut *file, value)?;
            file.write_all(b"\n")
        })
    }

    fn put(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>,
    ) -> Result<(), RunStoreError> {
        let path = self.path.join(name);
        let unwritable = |source| RunStoreError::Unwritable { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unwritable)?;
        }
        // Written aside and moved into place: a file that is there is whole.
        let mut aside = path.clone().into_os_string();
        aside.push(".part");
        let mut file = BufWriter::new(fs::File::create(&aside).map_err(unwritable)?);
        write(&mut file).and_then(|()| file.flush()).map_err(unwritable)?;
        fs::rename(&aside, &path).map_err(unwritable)
    }
}

/// Whether a file is one of ours that can be read again, and is whole.
fn is_document(file: &Path) -> bool {
    file.extension().is_some_and(|kind| kind == "json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::hand::Hand;

    fn facts() -> RunFacts {
        RunFacts {
            id: "1-reference-7".to_owned(),
            seed: 7,
            started: 1,
            target: "reference".to_owned(),
            cases: 1,
            tool: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn whether_runs_can_be_kept_is_found_out_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        RunFolder::can_be_made(&folder.path().join("a/b/runs")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("file"), "").unwrap();
        let refused = RunFolder::can_be_made(&folder.path().join("file/runs")).unwrap_err();
        assert!(refused.to_string().contains("file/runs failed"), "{refused}");
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let runs = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(runs.path(), &mut facts()).unwrap();
        let case = StoredCase {
            check: "codec.key-spaces-disjoint".to_owned(),
            case: 3,
            verdict: Verdict::Pass,
            histories: vec![Hand::new().answered(1, 0).done()],
        };
        folder.keep_case(&case).unwrap();
        let (again, found) = RunFolder::open(folder.path()).unwrap();
        assert_eq!(found, facts());
        assert_eq!(again.cases().unwrap(), [case]);
        assert_eq!(again.shrunk().unwrap(), []);
    }

    #[test]
    fn runs_of_one_second_have_a_folder_each() {
        let runs = tempfile::tempdir().unwrap();
        let made: Vec<_> = (0..3)
            .map(|_| {
                let mut facts = facts();
                let folder = RunFolder::create(runs.path(), &mut facts).unwrap();
                let (_, kept) = RunFolder::open(folder.path()).unwrap();
                assert_eq!(kept, facts);
                assert_eq!(folder.path().file_name().unwrap(), facts.id.as_str());
                facts.id
            })
            .collect();
        assert_eq!(made, ["1-reference-7", "1-reference-7-2", "1-reference-7-3"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = RunFolder::create(file.path(), &mut facts()).unwrap_err().to_string();
        assert!(error.starts_with("cannot keep the run: writing "), "{error}");
        assert!(error.contains("--out"), "{error}");
    }

    #[test]
    fn a_folder_without_a_run_is_no_run() {
        let empty = tempfile::tempdir().unwrap();
        let error = RunFolder::open(empty.path()).unwrap_err().to_string();
        assert!(error.contains("run.json"), "{error}");
    }
}
