//! The build: what the build stage of the Dockerfile does, in a directory with the files of the build context and no others.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use testbed::dockerfile::{Plan, plan};

/// Where the build stage works.
const WORKDIR: &str = "/source/";

/// See the module.
pub(crate) struct Built {
    pub(crate) plan: Plan,
    context: PathBuf,
}

impl Built {
    /// Built once for all tests.
    pub(crate) fn once() -> &'static Self {
        static BUILT: OnceLock<Built> = OnceLock::new();
        BUILT.get_or_init(Self::build)
    }

    fn build() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let plan = plan(root).expect("a Dockerfile that BuildKit can read");
        let context = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        lay_out(root, &context, &plan.context);
        let stage = plan.stages.iter().find(|stage| stage.name == "build").expect("the stage `build`");
        let command = stage.runs.iter().find(|run| run.contains("cargo auditable"));
        let status = Command::new("sh")
            .args(["-euc", command.expect("a command that builds")])
            .env("TARGETARCH", architecture())
            .env("PROFILE", "dev")
            .current_dir(&context)
            .stdin(Stdio::null())
            .status()
            .expect("a shell");
        assert!(status.success(), "the build ended with {status}; CONTRIBUTING.md says what it needs");
        Self { plan, context }
    }

    /// A file of the build stage: what is built is here, the rest is what this machine has in its place.
    pub(crate) fn path(&self, in_stage: &str) -> PathBuf {
        in_stage.strip_prefix(WORKDIR).map_or_else(|| in_stage.into(), |path| self.context.join(path))
    }
}

/// As Docker calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("there is no image for {other}"),
    }
}

/// Lays the files of the context out, with their times, so that Cargo does again only what has changed; its target directory is
/// that of the other tests.
fn lay_out(root: &Path, context: &Path, files: &[String]) {
    if context.exists() {
        fs::remove_dir_all(context).expect("an old context that can be removed");
    }
    for file in files {
        let (from, to) = (root.join(file), context.join(file));
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        fs::copy(&from, &to).expect("a file of the context");
        let time = from.metadata().and_then(|about| about.modified()).expect("a time");
        File::options().write(true).open(&to).and_then(|file| file.set_modified(time)).expect("a time");
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    symlink(target, context.join("target")).expect("a link");
}
