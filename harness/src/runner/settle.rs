//! Waits for eventual things, once, with a deadline.

use std::time::Duration;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `reached` answers with a value; `None` when the deadline passes first.
///
/// The condition is looked at before the first wait and once more after the last.
pub async fn settle<T>(
    deadline: Duration,
    mut reached: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let waiting = async {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(value) = reached().await {
                return value;
            }
        }
    };
    tokio::time::timeout(deadline, waiting).await.ok()
}

/// Lets time pass, where time itself is the subject: a plan that waits out a bound.
#[expect(clippy::disallowed_methods, reason = "the plan asks for time to pass")]
pub async fn let_pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_holds_costs_no_wait() {
        assert_eq!(settle(Duration::from_secs(60), async || Some(7)).await, Some(7));
    }

    #[tokio::test]
    async fn a_condition_that_never_holds_ends_at_the_deadline() {
        assert_eq!(settle(Duration::from_millis(20), async || None::<()>).await, None);
    }
}
