//! What Flux and Argo CD make of the operator's kinds and of `examples/gitops`, by their own code, which is built from their Go
//! modules the first time. Not a part of `cargo test`, because that takes minutes: `cargo test --test gitops`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod argocd;
mod fields;
mod flux;
mod health;
mod judge;
mod kustomize;
mod manifests;
mod scene;
