//! A directory of one's own, and a server that receives into it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serve_forever::Endpoint;
use serve_forever::services::Upload;
use tempfile::TempDir;

use crate::util::{Client, Server, eventually};

/// See the module. Beside the directory there is room that nobody may reach.
pub(crate) struct Place {
    server: Option<Server<Upload>>,
    outer: TempDir,
}

impl Place {
    /// A server as it is by default.
    pub(crate) fn new() -> Self {
        Self::with(|upload| upload)
    }

    /// A server made by this.
    pub(crate) fn with(make: impl FnOnce(Upload) -> Upload) -> Self {
        let outer = tempfile::tempdir().expect("a directory");
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).expect("a directory");
        let upload = make(Upload::into(&inner).expect("it was just made"));
        Self { server: Some(Server::start(upload, Upload::limits())), outer }
    }

    pub(crate) fn server(&self) -> &Server<Upload> {
        self.server.as_ref().expect("it is taken in the end only")
    }

    pub(crate) fn at(&self) -> &Endpoint {
        self.server().at()
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        self.server().connect()
    }

    /// Ends the server at once, and leaves the directory.
    pub(crate) fn stop(&mut self) {
        self.server.take().expect("it is taken once").stop();
    }

    /// The directory that is received into.
    pub(crate) fn directory(&self) -> PathBuf {
        self.outer.path().join("inner")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// A path beside the directory.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.outer.path().join(name)
    }

    /// Puts a file into the directory, by other ways than an upload.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file");
    }

    pub(crate) fn link(&self, name: &str, to: impl AsRef<Path>) {
        symlink(to, self.path(name)).expect("a link");
    }

    /// All that is in the directory: files that are under way, too.
    pub(crate) fn names(&self) -> Vec<String> {
        names_in(&self.directory())
    }

    /// The directory has these files and nothing else.
    #[track_caller]
    pub(crate) fn assert_names<const N: usize>(&self, names: [&str; N]) {
        assert_eq!(self.names(), names);
    }

    /// The same, once what the server still does is done.
    #[track_caller]
    pub(crate) fn until_names<const N: usize>(&self, names: [&str; N]) {
        eventually(&format!("there is {names:?} and nothing else"), || self.names() == names);
    }

    /// Waits until so many files are under way: their headers have been taken.
    #[track_caller]
    pub(crate) fn until_under_way(&self, count: usize) {
        let under_way = || self.names().iter().filter(|name| name.starts_with(".upload-")).count();
        eventually(&format!("{count} files are under way"), || under_way() == count);
    }

    #[track_caller]
    pub(crate) fn assert_file(&self, name: &str, content: impl AsRef<[u8]>) {
        let found = fs::read(self.path(name)).expect("the file is there");
        assert!(found == content.as_ref(), "{name} has {} bytes, and not the right ones", found.len());
    }

    /// What is sent on a connection of its own is answered like this, and the
    /// connection is then closed.
    #[track_caller]
    pub(crate) fn assert_answer(&self, sent: impl AsRef<[u8]>, answer: &str) {
        let client = self.connect();
        client.send(&sent);
        client.finish();
        let got = client.rest();
        let sent = sent.as_ref();
        let shown = sent[..sent.len().min(100)].escape_ascii();
        assert_eq!(String::from_utf8_lossy(&got), answer, "to {shown}");
    }
}

/// All that is in a directory, sorted.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be listed").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A header and the file behind it.
pub(crate) fn post(name: &str, content: &[u8]) -> Vec<u8> {
    [format!("post|{}|{name}\n", content.len()).as_bytes(), content].concat()
}
