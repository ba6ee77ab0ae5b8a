//! `gauntlet report`: shows a stored run in another form, or packs it to be shown to others.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use reports::{FORMS, Form, RunReport, Style};

use super::{
    CliError, ExitStatus, Surroundings, interrupt::interrupted, progress::Progress,
    which_run::found,
};
use crate::{bundle::Packing, runner::steps::Steps, store::RunFolder};

/// Arguments of `gauntlet report`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  gauntlet report runs/latest --format junit --out junit.xml
  gauntlet report runs/1795168474-reference-2 --bundle run.tar.gz")]
pub struct ReportArgs {
    /// The folder of a run, or its `report.json`; `runs/latest` is the run that began last.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// In which form.
    #[arg(long, value_name = "FORMAT", default_value = "terminal", value_parser = form_parser())]
    format: Form,

    /// Write it to this file, instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Pack the run into this archive instead: the report in every form, plans, histories and the
    /// target's description, all without secrets, fit for a public issue.
    #[arg(long, value_name = "FILE.tar.gz", conflicts_with_all = ["format", "out"])]
    bundle: Option<PathBuf>,

    /// Say nothing while it is packed.
    #[arg(long)]
    quiet: bool,
}

fn form_parser() -> impl TypedValueParser<Value = Form> {
    PossibleValuesParser::new(FORMS.iter().map(|form| form.name)).try_map(|name| {
        FORMS.iter().find(|form| form.name == name).copied().ok_or("there is no such form")
    })
}

impl ReportArgs {
    /// Writes the report, or the archive.
    ///
    /// # Errors
    ///
    /// When there is no such run, it cannot be read, or nothing can be written.
    pub async fn run(&self, around: &mut Surroundings<'_>) -> Result<ExitStatus, CliError> {
        let folder = found(&self.run)?;
        if let Some(file) = &self.bundle {
            return self.pack(&folder, file, around).await;
        }
        let report = RunFolder::at(&folder).report()?;
        readable(&report)?;
        match &self.out {
            None => {
                let style = Style { colour: around.colour, width: around.width };
                reports::render(&report, (self.format.format)(style), around.out)?;
            }
            Some(file) => {
                let mut shown = Vec::new();
                reports::render(&report, (self.format.format)(Style::PLAIN), &mut shown)?;
                fs::write(file, shown)
                    .map_err(|source| CliError::Unwritable { path: file.clone(), source })?;
            }
        }
        Ok(ExitStatus::Pass)
    }
}

impl ReportArgs {
    /// Packs the run of a folder into `file`. Nothing is left of it where somebody wants an end.
    async fn pack(
        &self,
        folder: &Path,
        file: &Path,
        around: &mut Surroundings<'_>,
    ) -> Result<ExitStatus, CliError> {
        let (folder, facts) = RunFolder::open(folder)?;
        let variable = around.variable;
        let steps = Steps::default();
        steps.begin("packing the report");
        let packing = async {
            let mut packing = Packing::begin(&folder, &facts, variable, file)?;
            let all = packing.left();
            steps.begin(&format!("packing {all} files of plans and histories"));
            while packing.step()? {
                // Whoever waits for this can look at the time, and at Ctrl-C.
                tokio::task::yield_now().await;
            }
            Ok::<_, CliError>(packing.end()?)
        };
        let packing = async {
            tokio::select! {
                biased;
                () = interrupted() => Err(CliError::Interrupted),
                files = packing => files,
            }
        };
        let mut progress = Progress::new(around.err, around.err_is_terminal, self.quiet, None);
        let files = progress.while_at(&facts.id, &steps, packing).await;
        progress.end();
        writeln!(around.out, "{} files, without secrets, in {}", files?, file.display())?;
        Ok(ExitStatus::Pass)
    }
}

/// A later version may mean something else by the same field.
fn readable(report: &RunReport) -> Result<(), CliError> {
    let known = reports::schema::VERSION;
    match report.schema_version {
        version if version > known => Err(CliError::Usage(format!(
            "the report is of version {version}, and this gauntlet reads up to {known}; use a newer one"
        ))),
        _ => Ok(()),
    }
}
