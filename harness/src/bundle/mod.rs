//! An archive of a run that may be attached to a public issue.
//!
//! ```text
//! 1763625600-reference-42/
//!   about.txt                        what is in here, and the versions of everything
//!   report.txt, report.json, …       the report in every form
//!   run.json                         seed, target, what was asked for
//!   target.toml                      the target's description, without secrets
//!   cases/, shrunk/                  plans and histories: `gauntlet replay` judges them again
//! ```
//!
//! Only what is named here goes in, whatever else lies in the folder, and every text of it passes a
//! [`redactor`]. Reports are made from a document that has passed it: a secret that is broken over
//! two lines would be found by nobody.

mod redactor;
mod described;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use reports::{FORMS, RunReport, Style};
use serde_json::Value;

use self::{described::Described, redactor::Redactor};
use crate::store::{RunFacts, RunFolder, RunStoreError};

/// How reports are written: for a file.
const STYLE: Style = Style { colour: false, width: 100 };

/// Variables that hold the URL of a store.
const STORES: [&str; 2] = ["GAUNTLET_REDIS_URL", "GAUNTLET_POSTGRES_URL"];

/// Why a run cannot be packed.
///
/// Messages are lowercase fragments, made to follow "gauntlet: ".
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The run cannot be read.
    #[error(transparent)]
    Run(#[from] RunStoreError),
    /// The archive cannot be written.
    #[error("cannot pack the run: writing {} failed", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Packs a run into the archive `file`, and says how many files it consists of.
///
/// `variable` looks up the environment: what is found there that is a secret of the target, or of a
/// store, is taken out wherever it stands.
///
/// # Errors
///
/// When the run cannot be read, or the archive cannot be written.
pub fn pack(
    folder: &RunFolder,
    facts: &RunFacts,
    variable: &dyn Fn(&str) -> Option<String>,
    file: &Path,
) -> Result<usize, BundleError> {
    let report = folder.document(Path::new("report.json"))?;
    let files = folder.case_files()?;
    let described = described(&facts.target, variable);
    let stores = STORES.iter().filter_map(|name| variable(name));
    let mut secrets: BTreeSet<_> = stores.flat_map(|url| described::passwords(&url)).collect();
    if let Ok(described) = &described {
        secrets.extend(described.secrets.iter().cloned());
    }
    let redactor = Redactor::new(secrets);

    // Written aside and moved into place: a file that is there is whole.
    let aside = file.with_extension("part");
    let unwritable = |source| BundleError::Unwritable { path: file.to_owned(), source };
    let packed = || -> Result<usize, BundleError> {
        let archive = fs::File::create(&aside).map_err(unwritable)?;
        let mut archive = Archive::new(archive, &redactor.text(&facts.id), facts.started);
        let report = read(redactor.document(report), Path::new("report.json"), folder)?;
        let about = about(&report, facts, &described, files.len());
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
        for file in [PathBuf::from("run.json")].iter().chain(&files) {
            let document = redactor.document(folder.document(file)?);
            archive.add(file, &format!("{document}\n")).map_err(unwritable)?;
        }
        archive.end().map_err(unwritable)
    };
    let packed = packed();
    match packed {
        Ok(packed) => {
            fs::rename(&aside, file).map_err(unwritable)?;
            Ok(packed)
        }
        Err(error) => {
            // What is half-written helps nobody; that it is in the way is the lesser trouble.
            drop(fs::remove_file(&aside));
            Err(error)
        }
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
         run       {}, seed {}, {} files of plans and histories\n\
         result    {} (exit {})\n\
         gauntlet  {} drove it, {} packed it, on {} {}\n\
         gateway   {}: {}, adapter {}, wire profile {}\n",
        crate::runner::redact::REDACTED,
        facts.id,
        facts.seed,
        cases,
        report.exit.name,
        report.exit.status,
        facts.tool,
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        report.target.name,
        report.target.gateway_version.as_deref().unwrap_or("version unknown"),
        report.target.adapter,
        report.target.wire_profile,
    );
    for store in &report.target.stores {
        about.push_str(&format!("{:<10}{}\n", store.kind.to_string(), store.version));
    }
    let target = match described {
        Ok(_) => {
            "target.toml says how the target was described when this was packed, without secrets"
        }
        Err(why) => why,
    };
    let forms: Vec<_> = FORMS.iter().map(|form| form.file).collect();
    about.push_str(&format!(
        "\nThe report is in {}. {target}.\nUnpacked, the run can be judged again: gauntlet replay {}\n",
        forms.join(", "),
        facts.id
    ));
    about
}

/// A compressed archive of text files in one folder.
struct Archive {
    tar: tar::Builder<GzEncoder<fs::File>>,
    folder: PathBuf,
    moment: u64,
    files: usize,
}

impl Archive {
    fn new(file: fs::File, folder: &str, moment: u64) -> Archive {
        let zip = GzBuilder::new().write(file, Compression::default());
        Archive { tar: tar::Builder::new(zip), folder: PathBuf::from(folder), moment, files: 0 }
    }

    /// Adds a file. Neither its owner nor the machine's time can be told from it.
    fn add(&mut self, name: &Path, text: &str) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.moment);
        self.files += 1;
        self.tar.append_data(&mut header, self.folder.join(name), text.as_bytes())
    }

    /// Ends the archive, and says how many files it has.
    fn end(self) -> io::Result<usize> {
        self.tar.into_inner()?.finish()?.sync_all()?;
        Ok(self.files)
    }
}
