//! What makes a release: the Dockerfile, the workflows and the script. Each is judged by the field's own program, and each of
//! these is shown to complain. The image itself is tried in `tests/image`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod dockerfile;
mod script;
mod workflows;

use std::path::Path;

/// A file of the tree.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
