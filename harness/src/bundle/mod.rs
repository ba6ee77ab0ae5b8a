//! An archive of a run that may be attached to a public issue.
//!
//! ```text
//! 1763625600-reference-42/
//!   about.txt                        what is in here, and the versions of everything
//!   report.txt, report.json, …       the report in every form
//!   run.json                         seed, target, what was asked for
//!   target.toml                      the target's description, without secrets
//!   cases/, shrunk/                  plans and histories: `gauntlet replay` judges them again
//!   shrunk/<check>.sh                a failing plan as a script of `curl`
//! ```
//!
//! Only what is named here goes in, whatever else lies in the folder, and every text of it passes a
//! `redactor`. Reports are made from a document that has passed it: a secret that is broken over
//! two lines would be found by nobody.

mod redactor;
mod described;

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use reports::{FORMS, RunReport, Style};
use serde_json::Value;
use tempfile::NamedTempFile;

use self::{described::Described, redactor::Redactor};
use crate::store::{RunFacts, RunFolder, RunStoreError};

/// How reports are written: for a file.
const STYLE: Style = Style { colour: false, width: 100 };

/// Whoever may read a file of an archive, and the archive itself where the umask lets them.
const READABLE: u32 = 0o644;

/// Variables that hold the URL of a store.
const STORES: [&str; 2] = ["GAUNTLET_REDIS_URL", "GAUNTLET_POSTGRES_URL"];

/// Variables that hold a key.
const KEYS: [&str; 2] = ["GAUNTLET_KEY", "GAUNTLET_ADMIN_KEY"];

/// Why a run cannot be packed.
///
/// Messages are lowercase fragments, made to follow "gauntlet: ".
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The run cannot be read.
    #[error(transparent)]
    Run(#[from] RunStoreError),
    /// Something else is there, which an archive must not replace.
    #[error("cannot pack the run: {} is there and is no file; name one that may be replaced", .0.display())]
    NotAFile(PathBuf),
    /// The archive cannot be written.
    #[error("cannot pack the run: writing {} failed", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// A run that is being packed, file by file. Nothing is left of one that does not come to its end.
pub struct Packing<'a> {
    run: &'a RunFolder,
    redactor: Redactor,
    archive: Archive,
    /// What is still to be added.
    rest: std::vec::IntoIter<PathBuf>,
    /// Where the archive will be.
    file: &'a Path,
}

impl<'a> Packing<'a> {
    /// Begins the archive `file` of a run with what is told of all of it.
    ///
    /// `variable` looks up the environment: what is found there that is a secret of the target, the
    /// password of a store, or a key, is taken out wherever it stands.
    ///
    /// # Errors
    ///
    /// When the run cannot be read, or the archive cannot be written.
    pub fn begin(
        run: &'a RunFolder,
        facts: &RunFacts,
        variable: &dyn Fn(&str) -> Option<String>,
        file: &'a Path,
    ) -> Result<Packing<'a>, BundleError> {
        if file.exists() && !file.is_file() {
            return Err(BundleError::NotAFile(file.to_owned()));
        }
        let report = run.document(Path::new("report.json"))?;
        let cases = run.case_files()?;
        let loaded = &report["gateway_load"];
        let described = match loaded.is_object() {
            true => Err("the gateway was known by its address and a key alone".to_owned()),
            false => described(&facts.target, variable),
        };
        let stores = STORES.iter().filter_map(|name| variable(name));
        let mut secrets: BTreeSet<_> = stores.flat_map(|url| described::passwords(&url)).collect();
        let keys = KEYS.iter().filter_map(|name| variable(name));
        secrets.extend(keys.map(|key| key.trim().to_owned()));
        if let Ok(described) = &described {
            secrets.extend(described.secrets.iter().cloned());
        }
        let redactor = Redactor::new(secrets);

        let unwritable = |source| BundleError::Unwritable { path: file.to_owned(), source };
        let id = redactor.text(&facts.id);
        let mut archive = Archive::create(file, &id, facts.started).map_err(unwritable)?;
        let report = read(redactor.document(report), Path::new("report.json"), run)?;
        let about = about(&report, facts, &described, cases.len());
        archive.add(Path::new("about.txt"), &redactor.text(&about)).map_err(unwritable)?;
        for form in FORMS {
            let mut shown = Vec::new();
            reports::render(&report, (form.format)(STYLE), &mut shown).map_err(unwritable)?;
            let shown = String::from_utf8_lossy(&shown);
            archive.add(Path::new(form.file), &shown).map_err(unwritable)?;
        }
        if let Ok(described) = &described {
            archive.add(Path::new("target.toml"), &described.text).map_err(unwritable)?;
        }
        for script in report.checks.iter().filter_map(|check| check.script.as_ref()) {
            archive.add(Path::new(&script.file), &script.text).map_err(unwritable)?;
        }
        let rest: Vec<_> = [PathBuf::from("run.json")].into_iter().chain(cases).collect();
        Ok(Packing { run, redactor, archive, rest: rest.into_iter(), file })
    }

    /// How many files are still to be added.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Adds the next file, if one is left, and says whether it did.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or the archive cannot be written.
    pub fn step(&mut self) -> Result<bool, BundleError> {
        let Some(next) = self.rest.next() else { return Ok(false) };
        let document = self.redactor.document(self.run.document(&next)?);
        self.archive
            .add(&next, &format!("{document}\n"))
            .map_err(|source| BundleError::Unwritable { path: self.file.to_owned(), source })?;
        Ok(true)
    }

    /// Ends the archive, puts it where it was asked for, and says how many files it has.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn end(self) -> Result<usize, BundleError> {
        let unwritable = |source| BundleError::Unwritable { path: self.file.to_owned(), source };
        self.archive.end(self.file).map_err(unwritable)
    }
}

fn read(document: Value, file: &Path, folder: &RunFolder) -> Result<RunReport, RunStoreError> {
    serde_json::from_value(document)
        .map_err(|source| RunStoreError::Malformed { path: folder.path().join(file), source })
}

/// The description of the target as it is now, or why there is none.
fn described(target: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Described, String> {
    let path = Path::new(target);
    if path.extension().is_none() {
        return Err(format!("`{target}` is built in, and has no description of its own"));
    }
    let text = fs::read_to_string(path)
        .map_err(|error| format!("the target's description is not where it was: {error}"))?;
    // What the reader of TOML quotes in its message may be a secret.
    described::without_secrets(&text, variable)
        .map_err(|_| "the target's description is not TOML any more".to_owned())
}

fn about(
    report: &RunReport,
    facts: &RunFacts,
    described: &Result<Described, String>,
    cases: usize,
) -> String {
    let mut about = format!(
        "A run of gauntlet, packed to be shown to others: what was known or looked like a key, a\n\
         password or a credential was replaced by {}.\n\n\
         run       {}, seed {}, {cases} files of plans and histories\n\
         result    {} (exit {})\n\
         gauntlet  {} drove it, {} packed it, on {} {}\n\
         gateway   {}\n",
        crate::runner::redact::REDACTED,
        facts.id,
        facts.seed,
        report.exit.name,
        report.exit.status,
        facts.tool,
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        gateway(report),
    );
    for store in &report.target.stores {
        about.push_str(&format!("{:<10}{}\n", store.kind.to_string(), store.version));
    }
    let target = match described {
        Ok(_) => {
            "how the target was described when this was packed stands in target.toml, without secrets"
        }
        Err(why) => why,
    };
    let forms: Vec<_> = FORMS.iter().map(|form| form.file).collect();
    about.push_str(&format!("\nThe report is in {}. {}.\n", forms.join(", "), capital(target)));
    if cases > 0 {
        let again = "Unpacked, the run can be judged again: gauntlet replay";
        about.push_str(&format!("{again} {}\n", facts.id));
    }
    about
}

/// Which gateway it was, and who spoke to it.
fn gateway(report: &RunReport) -> String {
    let target = &report.target;
    let version = target.gateway_version.as_deref().unwrap_or("version unknown");
    match &report.gateway_load {
        Some(load) => format!("{}: {version}, put under load", load.gateways.join(", ")),
        None => format!(
            "{}: {version}, adapter {}, wire profile {}",
            target.name, target.adapter, target.wire_profile
        ),
    }
}

/// A fragment as the beginning of a sentence; what is quoted stays as it is.
fn capital(fragment: &str) -> String {
    let mut letters = fragment.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

/// A compressed archive of text files in one folder. It is written aside and moved into place, so that
/// a file that is there is whole.
struct Archive {
    tar: tar::Builder<GzEncoder<NamedTempFile>>,
    folder: PathBuf,
    moment: u64,
    files: usize,
}

impl Archive {
    /// Begins the archive that is to be `file`.
    fn create(file: &Path, folder: &str, moment: u64) -> io::Result<Archive> {
        let aside = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = file.file_name().unwrap_or_default();
        let aside = tempfile::Builder::new()
            .prefix(name)
            .suffix(".part")
            .permissions(fs::Permissions::from_mode(READABLE))
            .tempfile_in(aside)?;
        let zip = GzBuilder::new().write(aside, Compression::default());
        Ok(Archive { tar: tar::Builder::new(zip), folder: PathBuf::from(folder), moment, files: 0 })
    }

    /// Adds a file. Neither its owner nor the machine's time can be told from it.
    fn add(&mut self, name: &Path, text: &str) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(READABLE);
        header.set_mtime(self.moment);
        self.files += 1;
        self.tar.append_data(&mut header, self.folder.join(name), text.as_bytes())
    }

    /// Ends the archive, and says how many files it has.
    fn end(self, file: &Path) -> io::Result<usize> {
        let whole = self.tar.into_inner()?.finish()?;
        whole.as_file().sync_all()?;
        whole.persist(file).map_err(|error| error.error)?;
        Ok(self.files)
    }
}
