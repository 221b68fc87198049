//! Reads the configuration: parse strictly, default, cross-check; every fault at once, with its path.
