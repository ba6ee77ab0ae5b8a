//! Thresholds that a load can never measure: refused before anything is sent, for afterwards they would
//! only be inconclusive.

use scenarios::{
    Threshold,
    nearest::nearest,
    threshold::{Labels, Measure},
};

use crate::cli::CliError;

/// Refuses thresholds that are about nothing of what is `measured`. `elsewhere` says how a measure could
/// be had, where that is known.
///
/// # Errors
///
/// When there is one, with what was probably meant.
pub(super) fn all_are_measurable(
    thresholds: &[Threshold],
    measured: &[(Measure, Labels)],
    elsewhere: impl Fn(Measure) -> Option<String>,
) -> Result<(), CliError> {
    let is_measurable = |threshold: &&Threshold| {
        measured.iter().any(|(measure, labels)| threshold.is_about(*measure, *labels))
    };
    let Some(refused) = thresholds.iter().find(|threshold| !is_measurable(threshold)) else {
        return Ok(());
    };
    let asked = refused.measure();
    let named = |(measure, labels): &(Measure, Labels)| format!("{measure}{labels}");
    let of_it = measured.iter().find(|(measure, _)| *measure == asked);
    let names: Vec<_> = measured.iter().map(|(measure, _)| measure.name()).collect();
    let hint = if let Some(of_it) = of_it {
        format!("it measures `{}` only", named(of_it))
    } else if let Some(elsewhere) = elsewhere(asked) {
        elsewhere
    } else {
        let meant = nearest(asked.name(), names.iter().copied())
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        format!("{meant}it measures {}", names.join(", "))
    };
    Err(CliError::Usage(format!(
        "this load does not measure what --threshold '{refused}' bounds; {hint}"
    )))
}
