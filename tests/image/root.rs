//! A root file system of its own, and a process in it that is nobody on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::built::Built;

/// See the module.
pub(crate) struct Root {
    directory: tempfile::TempDir,
    built: &'static Built,
}

impl Root {
    /// With exactly the files that the last stage of the Dockerfile copies.
    pub(crate) fn of_image() -> Self {
        let root = Self { directory: tempfile::tempdir().expect("a directory"), built: Built::once() };
        let image = root.built.plan.stages.last().expect("a last stage");
        assert_eq!(image.base, "scratch", "there is more in the image than its stage copies");
        for copied in &image.copies {
            let [source] = copied.sources.as_slice() else {
                panic!("more than one file at once: {copied:?}")
            };
            let to = root.place(&copied.to);
            fs::copy(root.built.path(source), &to).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
        root
    }

    /// Puts a file there, in place of another.
    pub(crate) fn put(&self, path: &str, text: &str) {
        fs::write(self.place(path), text).expect("a file");
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.place(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Copies a program of this machine to `/name`.
    pub(crate) fn bring(&self, program: &Path, name: &str) {
        fs::copy(program, self.place(name)).expect("a program");
    }

    /// The process of the image.
    pub(crate) fn operator(&self) -> Command {
        let [operator] = self.built.plan.image.entrypoint.as_slice() else { panic!("not one entrypoint") };
        self.command(operator)
    }

    /// A program in it, as the user and with the environment of the image. A user namespace makes that possible for
    /// everybody; the process has the id that is asked for, and no rights outside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let image = &self.built.plan.image;
        let (user, group) = image.user.split_once(':').expect("a user and a group");
        let mut command = Command::new("unshare");
        command.arg("--user").args([format!("--map-user={user}"), format!("--map-group={group}")]);
        assert_possible(&command);
        command.arg("--root").arg(self.directory.path()).arg(program);
        command.env_clear().envs(image.env.iter().filter_map(|entry| entry.split_once('=')));
        command.stdin(Stdio::null());
        command
    }

    /// All files in it, in order.
    pub(crate) fn files(&self) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![self.directory.path().to_owned()]);
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                let below = path.strip_prefix(self.directory.path()).expect("a path below");
                found.push(format!("/{}", below.display()));
                open.extend(path.is_dir().then_some(path));
            }
        }
        found.sort();
        found
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.directory.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
        place
    }
}

/// Whether this machine lets us, before a failure would be taken for one of the image.
fn assert_possible(command: &Command) {
    let probe = Command::new("unshare")
        .args(command.get_args())
        .arg("true")
        .output()
        .expect("unshare, of util-linux");
    assert!(
        probe.status.success(),
        "this machine permits no user namespaces, so the image cannot be tried here: {}",
        String::from_utf8_lossy(&probe.stderr)
    );
}
