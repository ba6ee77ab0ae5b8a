//! mocks.
