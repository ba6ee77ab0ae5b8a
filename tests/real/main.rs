//! Gateways that we did not write, and what is known of them: the harness must find it, and no more.
//!
//! The feature `real-gateways` has LiteLLM's codec judged, which is installed from PyPI; `real-proxies`
//! its proxies too, whose descriptions `GAUNTLET_LITELLM_1_84_0RC1` and `GAUNTLET_LITELLM_1_102_4` name.

#[cfg(test)]
mod python;
#[cfg(test)]
mod gauntlet;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod litellm_codec;
#[cfg(test)]
#[cfg(feature = "real-proxies")]
mod litellm_proxy;
