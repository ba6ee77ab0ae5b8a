//! What a gateway says of itself: logs and metrics.

pub mod healthy_silence;
