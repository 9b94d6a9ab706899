//! The image without a container engine: the Dockerfile's own commands build the binary, in the dev profile, and it runs in a root
//! file system with the files that the last stage copies, and with what a kubelet mounts. Not a part of `cargo test`, for it
//! needs what CONTRIBUTING.md names.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod built;
mod cluster;
mod contents;
mod names;
mod root;
