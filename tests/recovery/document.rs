//! The commands of a document, and the shell that runs them: what stands in its blocks `sh`, by the heading above.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use testbed::canary::assert_no_key;
use testbed::controlplane::write_kubeconfig;
use testbed::documents::{read, root};
use testbed::tools::Tool;
use testbed::world::{World, contexts};

pub(crate) const DISASTER: &str = "docs/disaster-recovery.md";
pub(crate) const MOVING: &str = "docs/moving.md";

/// Ends the output of each script.
const MARK: &str = "-- done --";

/// The blocks of commands of a document, each with its heading.
fn blocks(document: &str) -> Vec<(String, String)> {
    let text = read(document);
    let (mut heading, mut open, mut found) = (String::new(), None::<String>, Vec::new());
    for line in text.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(_), "```") => found.push((heading.clone(), open.take().unwrap_or_default())),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, line) if line.starts_with('#') => {
                line.trim_start_matches('#').trim().clone_into(&mut heading);
            }
            _ => {}
        }
    }
    found
}

/// The block of this place below a heading.
pub(crate) fn block(document: &str, heading: &str, place: usize) -> String {
    let below = blocks(document).into_iter().filter(|(above, _)| above == heading);
    let found = below.map(|(_, block)| block).nth(place);
    found.unwrap_or_else(|| panic!("{document} has no block {place} below {heading:?}"))
}

/// Whether the commands can be run here; a line of the output says where a scenario is left out.
pub(crate) fn is_kubectl_here() -> bool {
    let is_here =
        Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).status().is_ok();
    if !is_here {
        println!("left out: kubectl is not on PATH");
    }
    is_here
}

/// A shell with both clusters as contexts `old` and `new`, in a directory of its own with the charts of this project. A
/// command that fails ends it, and the test.
pub(crate) struct Shell {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    document: &'static str,
    directory: tempfile::TempDir,
}

impl Shell {
    pub(crate) fn open(document: &'static str, old: &World, new: &World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, &contexts([("old", old), ("new", new)])).unwrap();
        std::os::unix::fs::symlink(root().join("charts"), directory.path().join("charts")).unwrap();
        let helm = Tool::Helm.path().unwrap();
        let mut search_path = std::env::var_os("PATH").unwrap_or_default();
        search_path.push(":");
        search_path.push(helm.parent().unwrap());
        let mut process = Command::new("/bin/sh")
            .current_dir(directory.path())
            .env("KUBECONFIG", kubeconfig)
            // Nothing of the user's configuration has a say.
            .env("HOME", directory.path())
            .env("PATH", search_path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut shell = Self { process, input, output, document, directory };
        shell.run("set -eu\nexec 2>&1\n");
        shell
    }

    /// Writes a file that the commands use.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Runs all blocks below a heading of the document.
    pub(crate) fn step(&mut self, heading: &str) {
        let count = blocks(self.document).iter().filter(|(above, _)| above == heading).count();
        assert!(count > 0, "{} has no commands below {heading:?}", self.document);
        for place in 0..count {
            self.block(heading, place);
        }
    }

    /// Runs one of them.
    pub(crate) fn block(&mut self, heading: &str, place: usize) -> String {
        self.run(&block(self.document, heading, place))
    }

    /// Runs a script in this shell, whose variables stay, and gives what it has said.
    pub(crate) fn run(&mut self, script: &str) -> String {
        self.write("script", script);
        let input = self.input.as_mut().unwrap();
        // Not by its standard input: a command that reads from there would eat what follows.
        writeln!(input, ". ./script < /dev/null\necho '{MARK}'").unwrap();
        let (mut said, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            let is_over = self.output.read_line(&mut line).unwrap() == 0;
            assert_no_key("what the commands say", line.as_bytes());
            assert!(!is_over, "the commands have failed:\n{script}\nThey said:\n{said}");
            if line.trim_end() == MARK {
                return said;
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

#[test]
fn every_command_of_the_documents_is_run_by_a_scenario() {
    let sources = ["moving", "older", "restored"].map(|name| read(&format!("tests/recovery/{name}.rs")));
    let mut checked = 0;
    for document in [DISASTER, MOVING] {
        let headings: BTreeSet<String> = blocks(document).into_iter().map(|(heading, _)| heading).collect();
        for heading in &headings {
            checked += 1;
            let is_run = |source: &String| {
                source.contains(&format!("(\"{heading}\")")) || source.contains(&format!("(\"{heading}\","))
            };
            assert!(sources.iter().any(is_run), "nobody runs {document}, {heading:?}");
        }
    }
    assert!(checked > 10, "only {checked} headings have commands");
}
