//! reference-gateway.
