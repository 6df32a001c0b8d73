//! x
#![allow(missing_docs)]
pub mod aio;
pub mod cli;
pub mod copy;
pub mod digest;
pub mod error;
pub mod report;
pub mod sum;
pub mod sys;
pub mod tree;
