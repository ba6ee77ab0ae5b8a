//! `/key/*`: virtual keys.

pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod update;
pub(crate) mod regenerate;
pub(crate) mod delete;
pub(crate) mod block;
pub(crate) mod list;
