//! What a plan asks of a gateway, and what became of it.
//!
//! Generator, client, model and checks share these words. An op names entities by their place in the
//! plan, never by the text a gateway will see: the same plan can be driven again under other names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One address of the gateway, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Replica(pub u8);

impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {}", self.0)
    }
}

/// A place in the plan's small pool of ids.
///
/// A user and a team at the same place have the same id, unless the plan keeps its kinds
/// [apart](crate::plan::Naming).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub u8);

/// A virtual key of the plan. Its text is the gateway's to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub u16);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.0)
    }
}

/// One of the model aliases that the target offers, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Alias(pub u8);

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model {}", self.0)
    }
}

/// The kinds of object that make up a caller's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A virtual key.
    Key,
    /// A user.
    User,
    /// A team.
    Team,
    /// A user's membership of a team.
    Member,
    /// An end user, named by the caller.
    EndUser,
    /// An organisation.
    Organisation,
    /// A project.
    Project,
    /// A budget that several objects may share.
    Budget,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Key => "key",
            Kind::User => "user",
            Kind::Team => "team",
            Kind::Member => "member",
            Kind::EndUser => "end user",
            Kind::Organisation => "organisation",
            Kind::Project => "project",
            Kind::Budget => "budget",
        })
    }
}

/// Money, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

/// How a management call treats one optional field.
///
/// Gateways confuse these four: a writer that drops nulls makes `Null` into `Absent`, a lenient
/// reader makes `Empty` into either (litellm#27874, litellm#32207).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field<T> {
    /// Left out of the call.
    Absent,
    /// Sent as JSON null.
    Null,
    /// Sent as the empty value of its type: `""`, `[]` or `{}`.
    Empty,
    /// Sent with this value.
    Set(T),
}

impl<T> Field<T> {
    /// The value, where one is set.
    pub fn set(&self) -> Option<&T> {
        match self {
            Field::Set(value) => Some(value),
            Field::Absent | Field::Null | Field::Empty => None,
        }
    }

    /// Whether the call leaves the field out.
    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// Left out: what a stored plan means that was written before there was the field.
    fn left_out() -> Field<T> {
        Field::Absent
    }
}

/// What a management call says about a user, a team or a key alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// A display name.
    pub alias: Field<()>,
    /// The models that may be called; a user's bind the keys that have no team.
    pub models: Field<Vec<Alias>>,
    /// Free-form metadata.
    pub metadata: Field<()>,
    /// What may be spent.
    pub max_budget: Field<MicroUsd>,
    /// Requests per minute.
    pub rpm_limit: Field<u64>,
    /// Tokens per minute.
    pub tpm_limit: Field<u64>,
}

impl Terms {
    /// Nothing is said.
    pub const UNSAID: Terms = Terms {
        alias: Field::Absent,
        models: Field::Absent,
        metadata: Field::Absent,
        max_budget: Field::Absent,
        rpm_limit: Field::Absent,
        tpm_limit: Field::Absent,
    };
}

/// What a new virtual key is issued with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFields {
    /// The user who owns the key.
    pub user: Field<Id>,
    /// The team that owns the key.
    pub team: Field<Id>,
    /// The organisation that the key belongs to.
    #[serde(default = "Field::left_out", skip_serializing_if = "Field::is_absent")]
    pub organisation: Field<Id>,
    /// Whether the caller chooses the secret: the one that prompts with this key carry before it is
    /// issued.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen_secret: bool,
    /// Everything else.
    pub terms: Terms,
}

impl KeyFields {
    /// Nothing is said.
    pub const UNSAID: KeyFields = KeyFields {
        user: Field::Absent,
        team: Field::Absent,
        organisation: Field::Absent,
        chosen_secret: false,
        terms: Terms::UNSAID,
    };
}

/// A management call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// Creates an organisation.
    CreateOrganisation {
        /// Which.
        organisation: Id,
        /// With what.
        terms: Terms,
    },
    /// Creates a user, without a key of its own.
    CreateUser {
        /// Whom.
        user: Id,
        /// With what.
        terms: Terms,
    },
    /// Changes a user; absent fields stay as they are.
    UpdateUser {
        /// Whom.
        user: Id,
        /// To what.
        terms: Terms,
    },
    /// Deletes a user.
    DeleteUser {
        /// Whom.
        user: Id,
    },
    /// Creates a team.
    CreateTeam {
        /// Which.
        team: Id,
        /// With what.
        terms: Terms,
    },
    /// Changes a team; absent fields stay as they are.
    UpdateTeam {
        /// Which.
        team: Id,
        /// To what.
        terms: Terms,
    },
    /// Deletes a team.
    DeleteTeam {
        /// Which.
        team: Id,
    },
    /// Blocks a team.
    BlockTeam {
        /// Which.
        team: Id,
    },
    /// Unblocks a team.
    UnblockTeam {
        /// Which.
        team: Id,
    },
    /// Makes a user a member of a team.
    AddMember {
        /// Of which team.
        team: Id,
        /// Whom.
        user: Id,
        /// What the member may spend in the team.
        max_budget: Field<MicroUsd>,
    },
    /// Changes a membership.
    UpdateMember {
        /// Of which team.
        team: Id,
        /// Whose.
        user: Id,
        /// What the member may spend in the team.
        max_budget: Field<MicroUsd>,
    },
    /// Ends a membership.
    RemoveMember {
        /// Of which team.
        team: Id,
        /// Whose.
        user: Id,
    },
    /// Issues a virtual key.
    GenerateKey {
        /// Which key of the plan it becomes.
        key: Key,
        /// With what.
        fields: KeyFields,
    },
    /// Changes a virtual key; absent fields stay as they are.
    UpdateKey {
        /// Which.
        key: Key,
        /// To what.
        terms: Terms,
    },
    /// Deletes a virtual key.
    DeleteKey {
        /// Which.
        key: Key,
    },
    /// Blocks a virtual key.
    BlockKey {
        /// Which.
        key: Key,
    },
    /// Unblocks a virtual key.
    UnblockKey {
        /// Which.
        key: Key,
    },
}

/// A chat completion asked with a virtual key of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// With which key.
    pub key: Key,
    /// Of which model alias.
    pub alias: Alias,
    /// Whether the answer is streamed.
    pub streamed: bool,
}

/// One request that the plan asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A management call.
    Admin(Admin),
    /// A prompt.
    Chat(Chat),
    /// Asks which models a key may call.
    ListModels {
        /// With which key.
        key: Key,
    },
}

/// An op and the replica that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Where to.
    pub replica: Replica,
    /// What.
    pub op: Op,
}

/// What became of an op.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The gateway did as asked.
    Answered {
        /// HTTP status.
        status: u16,
        /// The mark of the mock provider's answer, where the answer carried one.
        fingerprint: Option<String>,
    },
    /// The gateway told which models may be called.
    Listed {
        /// HTTP status.
        status: u16,
        /// The models, in the order told.
        models: Vec<Listed>,
    },
    /// The gateway declined.
    Refused {
        /// HTTP status.
        status: u16,
        /// What the refusal means, as the adapter reads it.
        refusal: Refusal,
        /// The error's `type`, as sent.
        error_type: Option<String>,
        /// The beginning of the message, with secrets taken out.
        message: String,
    },
    /// We cannot know whether it took effect.
    Indeterminate {
        /// What went wrong.
        why: String,
    },
}

impl Outcome {
    /// Whether the gateway did as asked.
    pub fn is_answered(&self) -> bool {
        matches!(self, Outcome::Answered { .. } | Outcome::Listed { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered { status, .. } => write!(f, "answered {status}"),
            Outcome::Listed { status, models } => {
                let told: Vec<_> = models.iter().map(ToString::to_string).collect();
                write!(f, "answered {status} with [{}]", told.join(", "))
            }
            Outcome::Refused { status, refusal, message, .. } => {
                write!(f, "refused {status} ({refusal}): {message}")
            }
            Outcome::Indeterminate { why } => write!(f, "indeterminate: {why}"),
        }
    }
}

/// A model in a gateway's list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// One of the aliases that the target offers.
    Alias(Alias),
    /// Something that nobody configured.
    Stranger(String),
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listed::Alias(alias) => write!(f, "{alias}"),
            Listed::Stranger(name) => write!(f, "{name:?}"),
        }
    }
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The credential is not known, or something in its identity could not be read.
    Unauthenticated,
    /// The key or its team is blocked.
    Blocked,
    /// The key has expired.
    Expired,
    /// The model is not among those allowed.
    ModelDenied,
    /// A budget is used up.
    OverBudget,
    /// A rate limit is reached.
    RateLimited,
    /// The object does not exist.
    NotFound,
    /// The request itself is wrong.
    Invalid,
    /// The gateway says that it cannot serve just now.
    Unavailable,
    /// The gateway failed.
    Fault,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Unauthenticated => "unauthenticated",
            Refusal::Blocked => "blocked",
            Refusal::Expired => "expired",
            Refusal::ModelDenied => "model denied",
            Refusal::OverBudget => "over budget",
            Refusal::RateLimited => "rate limited",
            Refusal::NotFound => "not found",
            Refusal::Invalid => "invalid request",
            Refusal::Unavailable => "unavailable",
            Refusal::Fault => "gateway fault",
        })
    }
}
