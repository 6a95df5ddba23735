//! `hold --all`.
