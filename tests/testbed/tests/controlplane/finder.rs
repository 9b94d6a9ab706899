//! Where the programs come from, with fake programs: order, cache, lock, download, build, and what is said when
//! nothing works.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use sha2::{Digest, Sha256, Sha512};
use tempfile::TempDir;
use testbed::controlplane::assets::{Artifact, AssetsError, Binaries, Checksum, Release};
use testbed::controlplane::{Finder, Part};
use testbed::eventually::poll;
use testbed::programs::cache::Cache;

/// A machine: a directory for each place.
pub(crate) struct Machine {
    root: TempDir,
}

impl Machine {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let root = tempfile::tempdir()?;
        for dir in ["assets", "path", "cache"] {
            fs::create_dir(root.path().join(dir))?;
        }
        Ok(Self { root })
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put(&self, dir: &str, programs: &[&str]) -> anyhow::Result<()> {
        programs.iter().try_for_each(|name| program(&self.dir(dir).join(name), "exit 0"))
    }

    /// A `go` that writes down each build, and builds once the file `go-on` is there.
    pub(crate) fn put_go(&self) -> anyhow::Result<()> {
        let (builds, go_on) = (self.dir("builds"), self.dir("go-on"));
        let script = format!(
            "PATH=/usr/bin:/bin\n\
             [ $1 = list ] && echo one && exit\n\
             echo build >>{}\n\
             while [ ! -e {} ]; do sleep 0.01; done\n\
             for word; do [ \"$last\" = -o ] && out=$word; last=$word; done\n\
             echo k8s.io/one >&2; echo '#!/bin/sh' >$out; chmod +x $out",
            builds.display(),
            go_on.display(),
        );
        program(&self.dir("path").join("go"), &script)
    }

    pub(crate) fn let_go_build(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.dir("go-on"), "")?)
    }

    pub(crate) fn builds(&self) -> usize {
        fs::read_to_string(self.dir("builds")).unwrap_or_default().lines().count()
    }

    fn finder(&self) -> Finder {
        Finder {
            assets_dir: Some(self.dir("assets")),
            search_path: OsString::from(self.dir("path")),
            cache: self.dir("cache"),
            release: None,
            show_progress: false,
        }
    }

    /// The only entry of the cache.
    fn entry(&self) -> anyhow::Result<PathBuf> {
        let entries = fs::read_dir(self.dir("cache"))?.collect::<Result<Vec<_>, _>>()?;
        let dirs: Vec<PathBuf> =
            entries.iter().map(fs::DirEntry::path).filter(|path| path.is_dir()).collect();
        anyhow::ensure!(dirs.len() == 1, "one entry and nothing left over: {dirs:?}");
        Ok(dirs[0].clone())
    }
}

fn program(path: &Path, script: &str) -> anyhow::Result<()> {
    fs::write(path, format!("#!/bin/sh\n{script}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// The directories of the three programs, in order.
fn dirs(binaries: &Binaries) -> [Option<&Path>; 3] {
    [&binaries.etcd, &binaries.api_server, &binaries.controller_manager].map(|path| path.parent())
}

const ALL: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];

#[test]
fn kubebuilder_assets_come_before_path() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put("assets", &ALL)?;
    machine.put("path", &ALL)?;
    assert_eq!(dirs(&machine.finder().find()?), [Some(machine.dir("assets").as_path()); 3]);
    Ok(())
}

#[test]
fn a_controller_manager_that_the_assets_lack_comes_from_a_later_place() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put("assets", &ALL[..2])?;
    machine.put("path", &ALL)?;
    let (assets, path) = (machine.dir("assets"), machine.dir("path"));
    assert_eq!(dirs(&machine.finder().find()?), [&assets, &assets, &path].map(|dir| Some(dir.as_path())));
    Ok(())
}

#[test]
fn a_path_without_all_that_is_missing_does_not_count() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put("path", &ALL[..2])?;
    machine.put_go()?;
    machine.let_go_build()?;
    let found = machine.finder().find()?;
    assert_eq!(dirs(&found), [Some(machine.entry()?.as_path()); 3]);
    Ok(())
}

#[test]
fn what_was_built_once_is_found_in_the_cache() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put_go()?;
    machine.let_go_build()?;
    let first = machine.finder().find()?;
    assert_eq!(machine.finder().find()?, first);
    assert_eq!(machine.builds(), 1);
    Ok(())
}

#[test]
fn two_that_look_at_the_same_time_build_once() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put_go()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| machine.finder().find());
        let building = async || {
            if machine.builds() > 0 { Ok(()) } else { Err("no build yet".to_owned()) }
        };
        let seen = runtime.block_on(poll(Duration::from_secs(30), building));
        // From here on the first one is inside the build, which does not end before the second one is on its way.
        let second = scope.spawn(|| machine.finder().find());
        let released = machine.let_go_build();
        seen.map_err(anyhow::Error::msg).and(released).map(|()| (first.join(), second.join()))
    })?;
    let first = first.map_err(|_| anyhow::anyhow!("panicked"))??;
    let second = second.map_err(|_| anyhow::anyhow!("panicked"))??;
    assert_eq!(first, second);
    assert_eq!(machine.builds(), 1);
    Ok(())
}

#[test]
fn a_broken_cache_is_noticed_and_redone() -> anyhow::Result<()> {
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [(&str, Damage); 5] = [
        ("a truncated program", |entry| fs::write(entry.join("controlplane"), "#!")),
        ("other content of the same size", |entry| {
            let file = entry.join("controlplane");
            let garbage = "x".repeat(fs::read(&file)?.len());
            fs::write(&file, garbage)?;
            // As a copy would: with another time. An equal time spares reading 136 MB at each start.
            fs::File::options().write(true).open(&file)?.set_modified(std::time::UNIX_EPOCH)
        }),
        ("a missing program", |entry| fs::remove_file(entry.join("etcd"))),
        ("a missing manifest", |entry| fs::remove_file(entry.join("manifest.json"))),
        ("half a manifest", |entry| fs::write(entry.join("manifest.json"), "{\"files\": {")),
    ];
    for (what, damage) in damages {
        let machine = Machine::new()?;
        machine.put_go()?;
        machine.let_go_build()?;
        machine.finder().find()?;
        let entry = machine.entry()?;
        let before = fs::read(entry.join("controlplane"))?;
        damage(&entry)?;
        machine.finder().find()?;
        assert_eq!(machine.builds(), 2, "{what}");
        assert_eq!(fs::read(entry.join("controlplane"))?, before, "{what}");
    }
    Ok(())
}

#[test]
fn what_a_killed_installer_left_is_cleaned_up() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let left = machine.dir("cache").join(".staging-left");
    fs::create_dir(&left)?;
    machine.put_go()?;
    machine.let_go_build()?;
    machine.finder().find()?;
    assert!(!left.exists());
    Ok(())
}

#[test]
fn nothing_is_installed_when_the_installer_leaves_it_incomplete() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let cache = Cache::new(machine.dir("cache"));
    let _lock = cache.lock(false)?;
    let outcome = cache.install("one", &["etcd", "kube-apiserver"], |dir| {
        program(&dir.join("etcd"), "").map_err(|error| error.to_string())
    })?;
    assert_eq!(outcome.unwrap_err(), "it left no program kube-apiserver");
    assert_eq!(cache.entry("one", &["etcd"]).unwrap_err(), "is not there");
    Ok(())
}

#[test]
fn when_nothing_works_the_error_says_what_was_tried_and_what_to_do() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put("assets", &ALL[..1])?;
    let error = machine.finder().find().unwrap_err();
    let AssetsError::Nothing { tried } = &error else { anyhow::bail!("another error: {error}") };
    assert_eq!(tried.len(), 5, "{tried:?}");
    let text = error.to_string();
    let expected = [
        "lacks kube-apiserver, kube-controller-manager",
        "PATH: lacks",
        "is not there",
        "download: ",
        "no `go` on PATH",
        "install Go 1.26 or later",
        "set KUBEBUILDER_ASSETS",
        "github.com and dl.k8s.io",
    ];
    for part in expected {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    Ok(())
}

#[test]
fn a_build_that_fails_shows_what_go_said() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    program(&machine.dir("path").join("go"), "echo no space left on device >&2; exit 1")?;
    let text = machine.finder().find().unwrap_err().to_string();
    assert!(text.contains("no space left on device"), "{text}");
    Ok(())
}

/// What a download site holds, and the release that points to it.
struct Site {
    release: Release,
    runtime: tokio::runtime::Runtime,
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// An archive like the official one: the programs in a directory, and one that nobody needs.
fn archive() -> anyhow::Result<Vec<u8>> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        let content = format!("#!/bin/sh\necho {name}\n");
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, format!("controller-tools/envtest/{name}"), content.as_bytes())?;
    }
    Ok(tar.into_inner()?.finish()?)
}

impl Site {
    fn open(published: impl Fn(&[u8]) -> String) -> anyhow::Result<Self> {
        let (archive, manager) = (archive()?, b"#!/bin/sh\necho manager\n".to_vec());
        let digest = hex(&Sha512::digest(&archive));
        let beside = published(&manager);
        let routes = Router::new()
            .route("/envtest.tar.gz", get(async || archive))
            .route("/manager", get(async || manager))
            .route("/manager.sha256", get(async || beside));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        runtime.spawn(async { axum::serve(listener, routes).await });
        let artifact = |path: &str, checksum| Artifact { url: format!("{url}/{path}"), checksum };
        let release = Release {
            name: "envtest-fake".into(),
            archive: artifact("envtest.tar.gz", Checksum::Sha512(digest)),
            controller_manager: artifact("manager", Checksum::PublishedSha256),
        };
        Ok(Self { release, runtime })
    }
}

#[test]
fn a_download_is_unpacked_checked_and_kept() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let site = Site::open(|file| format!("{}  manager\n", hex(&Sha256::digest(file))))?;
    let finder = Finder { release: Some(site.release), ..machine.finder() };
    let found = finder.find()?;
    let entry = machine.entry()?;
    assert_eq!(entry.file_name().and_then(|name| name.to_str()), Some("envtest-fake"));
    for (program, says) in [(&found.etcd, "etcd\n"), (&found.controller_manager, "manager\n")] {
        let output = std::process::Command::new(program).output()?;
        assert_eq!(String::from_utf8(output.stdout)?, says);
    }
    assert!(!entry.join("kubectl").exists());
    site.runtime.shutdown_background();
    assert_eq!(finder.find()?, found, "the second time without the network");
    Ok(())
}

#[test]
fn a_download_with_a_wrong_digest_is_not_used_and_the_build_comes_next() -> anyhow::Result<()> {
    let wrong_published = |_: &[u8]| "0".repeat(64);
    let right = |file: &[u8]| hex(&Sha256::digest(file));
    for pinned_is_wrong in [true, false] {
        let machine = Machine::new()?;
        let mut site = if pinned_is_wrong { Site::open(right)? } else { Site::open(wrong_published)? };
        if pinned_is_wrong {
            site.release.archive.checksum = Checksum::Sha512("0".repeat(128));
        }
        let finder = Finder { release: Some(site.release.clone()), ..machine.finder() };
        let text = finder.find().unwrap_err().to_string();
        assert!(text.contains("is not what it should be: its digest is"), "{text}");
        machine.put_go()?;
        machine.let_go_build()?;
        assert_eq!(dirs(&finder.find()?), [Some(machine.entry()?.as_path()); 3]);
        assert_eq!(machine.builds(), 1);
    }
    Ok(())
}

#[test]
fn the_names_of_the_programs_are_those_of_the_field() {
    assert_eq!(Part::ALL.map(Part::name), ALL);
}
