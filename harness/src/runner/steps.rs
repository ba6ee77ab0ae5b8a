//! What something long is at, for whoever waits for it.
//!
//! Who works says each step as it begins; who waits looks when it likes. Only the latest step is kept:
//! one that was over before anybody looked was not worth a line.

use tokio::sync::watch;

/// Where the steps of something long are said.
#[derive(Clone, Debug, Default)]
pub struct Steps(watch::Sender<String>);

impl Steps {
    /// A step begins.
    pub fn begin(&self, what: &str) {
        self.0.send_if_modified(|latest| {
            let is_new = latest != what;
            if is_new {
                what.clone_into(latest);
            }
            is_new
        });
    }

    /// The step under way; empty before the first.
    pub fn latest(&self) -> String {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_sees_the_latest_step() {
        let steps = Steps::default();
        let elsewhere = steps.clone();
        assert_eq!(steps.latest(), "");
        elsewhere.begin("starting the stores");
        elsewhere.begin("starting 2 replicas");
        assert_eq!(steps.latest(), "starting 2 replicas");
    }
}
