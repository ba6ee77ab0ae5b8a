//! What can be said of the workspace with nothing running and no network.

mod crate_graph;
mod top_level;
mod licences;
mod cli;
mod codec_laws;
mod codec_driver;
