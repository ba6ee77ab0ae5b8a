//! What can be said of the workspace with nothing running and no network.

mod crate_graph;
mod top_level;
mod readme;
mod licences;
#[cfg(test)]
mod gauntlet;
mod cli;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod report;
#[cfg(test)]
mod bundle;
#[cfg(test)]
mod codec_laws;
#[cfg(test)]
mod codec_driver;
#[cfg(test)]
mod any_gateway;
