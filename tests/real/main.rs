//! Gateways that we did not write, and what is known of them: the harness must find it, and no more.
//!
//! The feature `real-gateways` has these built. LiteLLM's codec is installed from PyPI; its proxies are
//! judged where `GAUNTLET_LITELLM_TARGETS` names their descriptions.

#[cfg(test)]
mod python;
#[cfg(test)]
mod gauntlet;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod litellm_codec;
#[cfg(test)]
mod litellm_proxy;
