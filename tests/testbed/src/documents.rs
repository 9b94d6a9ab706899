//! The documents for people, and those parts of them that tests write or compare. What the parts say is the tests' business.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Those that are not in `docs`.
const ELSEWHERE: [&str; 4] =
    ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "charts/composio-operator/README.md"];

static WRITING: Mutex<()> = Mutex::new(());

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Their paths below the root.
pub fn all() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("docs")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names = names.filter(|name| Path::new(name).extension().is_some_and(|is| is == "md"));
    let mut docs: Vec<_> = names.map(|name| format!("docs/{name}")).collect();
    docs.sort();
    ELSEWHERE.into_iter().map(ToOwned::to_owned).chain(docs).collect()
}

/// The text of one.
///
/// # Panics
///
/// When it cannot be read.
pub fn read(document: &str) -> String {
    let text = std::fs::read_to_string(root().join(document));
    text.unwrap_or_else(|error| give_up(&format!("{document} cannot be read: {error}")))
}

/// The part of a document between its two comments.
///
/// # Panics
///
/// When there is no such part.
pub fn part(document: &str, part: &str) -> String {
    let text = read(document);
    let found = split(&text, part).map(|(_, inner, _)| inner.trim().to_owned());
    found.unwrap_or_else(|| give_up(&format!("{document} has no part {part}")))
}

/// Compares a part of a document with what it should be, or writes it anew where `UPDATE_DOCS` is set. `binary` is the test
/// binary that knows what it should be.
///
/// # Panics
///
/// When they differ.
pub fn assert_part(document: &str, part: &str, binary: &str, wanted: &str) {
    // Tests that run at once write parts of the same document.
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let text = read(document);
    let Some((before, _, after)) = split(&text, part) else {
        give_up(&format!(
            "{document} has no part that begins with <!-- {part}: and ends with <!-- end of {part} -->"
        ))
    };
    let command = format!("UPDATE_DOCS=1 cargo test --test {binary}");
    let begin = format!("<!-- {part}: written by {command}; do not edit it. -->");
    let wanted = format!("{before}{begin}\n\n{}\n\n<!-- end of {part} -->{after}", wanted.trim());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        if let Err(error) = std::fs::write(root().join(document), wanted) {
            give_up(&format!("{document} cannot be written: {error}"));
        }
        return;
    }
    if wanted != text {
        let differs = wanted.lines().zip(text.lines()).find(|(wanted, is)| wanted != is);
        give_up(&format!(
            "{document} is not what the code says; run: {command}\nfirst difference (code, document): {differs:?}"
        ));
    }
}

/// What comes before a part, the part, what comes after it.
fn split<'a>(text: &'a str, part: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (begin, end) = (format!("<!-- {part}: "), format!("<!-- end of {part} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, rest) = rest.split_once("-->")?;
    let (inner, after) = rest.split_once(&end)?;
    Some((before, inner, after))
}

/// A row of a table; `|` would end a cell.
pub fn row<S: AsRef<str>>(table: &mut String, cells: &[S]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.as_ref().replace('|', "\\|")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(table, "| {} |", cells.join(" | "));
}

/// The first two rows of a table.
pub fn head(columns: &[&str]) -> String {
    let mut table = String::new();
    row(&mut table, columns);
    row(&mut table, &vec!["---"; columns.len()]);
    table
}

#[expect(clippy::panic, reason = "this is an assertion of tests, and its message is what a person reads")]
fn give_up(message: &str) -> ! {
    panic!("{message}")
}
