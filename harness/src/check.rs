//! The contract of a check: a property, the plan that provokes a breach, and the judgement.

use std::num::NonZeroU8;

use proptest::strategy::BoxedStrategy;

use crate::{
    capability::Capability,
    history::{History, Manifest},
    op::Replica,
    plan::Plan,
    target::Topology,
    verdict::Verdict,
};

/// Who owes a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every gateway.
    Core,
    /// Gateways that offer the feature.
    Extended,
}

/// One way in which a plan is driven. The histories of a check's arms are judged together.
#[derive(Clone, Debug)]
pub struct Arm {
    /// What sets this arm apart, as in `shared ids`.
    pub name: &'static str,
    /// What it is driven against.
    pub stack: Stack,
    /// What is driven.
    pub plan: Plan,
}

impl Arm {
    /// An arm on the stack that most checks share.
    pub fn shared(name: &'static str, plan: Plan) -> Arm {
        Arm { name, stack: Stack::Shared, plan }
    }
}

/// What an arm is driven against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stack {
    /// The stack that the target's description asks for.
    Shared,
    /// A stack of the check's own.
    Own(Shape),
}

/// The shape of a stack of a check's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// How many of what.
    pub topology: Topology,
    /// Which releases its replicas are of.
    pub builds: Builds,
}

impl Shape {
    /// Replicas of these releases that share one Redis.
    pub fn of(replicas: NonZeroU8, workers: NonZeroU8, builds: Builds) -> Shape {
        Shape { topology: Topology { replicas, workers, redis: true }, builds }
    }
}

/// Which releases the replicas of a stack are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Builds {
    /// All of the described one.
    Current,
    /// Of the described one and of the adjacent one in turn; the first is of the described one.
    Mixed,
}

impl Builds {
    /// Whether a replica is of the adjacent release.
    pub fn is_next(self, replica: Replica) -> bool {
        match self {
            Builds::Current => false,
            Builds::Mixed => replica.0 % 2 == 1,
        }
    }
}

/// One check.
#[derive(Debug)]
pub struct Check {
    /// Folder and file name of the check, for ever.
    pub id: &'static str,
    /// The property, true of a good gateway.
    pub title: &'static str,
    /// What goes wrong for whom when it is broken.
    pub why: &'static str,
    /// Public reports of it.
    pub incidents: &'static [&'static str],
    /// Who owes it.
    pub level: Level,
    /// What the target must be able to do and show.
    pub needs: &'static [Capability],
    /// The cases.
    pub plan: fn(&Manifest) -> BoxedStrategy<Plan>,
    /// The ways in which each plan is driven.
    pub arms: fn(&Plan) -> Vec<Arm>,
    /// What the histories, one per arm, say.
    pub judge: fn(&[History]) -> Verdict,
}

/// The arms of a check that drives its plan once, as it is.
pub fn one_arm(plan: &Plan) -> Vec<Arm> {
    vec![Arm::shared("as planned", plan.clone())]
}

/// The history of a check with one arm.
///
/// # Errors
///
/// An inconclusive verdict where there is none, or where its evidence is not whole.
pub fn whole(histories: &[History]) -> Result<&History, Verdict> {
    let [history] = histories else {
        return Err(Verdict::Inconclusive("there is no history".to_owned()));
    };
    match history.gap() {
        Some(why) => Err(Verdict::Inconclusive(why)),
        None => Ok(history),
    }
}
