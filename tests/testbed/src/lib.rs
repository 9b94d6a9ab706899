//! The test bed.

pub mod binary;
pub mod canary;
pub mod chaos;
pub mod controlplane;
pub mod emulator;
pub mod eventually;
pub mod proxy;
pub mod tls;
pub mod world;
