//! The test bed.

pub mod binary;
pub mod canary;
pub mod chaos;
pub mod chart;
pub mod controlplane;
pub mod dockerfile;
pub mod documents;
pub mod emulator;
pub mod eventually;
pub mod gitops;
pub mod programs;
pub mod proxy;
pub mod tls;
pub mod tools;
pub mod world;
